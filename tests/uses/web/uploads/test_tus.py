from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socketkit.uses.web.uploads import tus
from socketkit.uses.web.uploads.refusals import Refused


@given(
    st.text(st.characters(exclude_categories=["Cs"])), st.integers(0, 10**18 - 1), st.sampled_from(["filename", "name"])
)
def test_what_is_written_is_read(name: str, length: int, key: str) -> None:
    metadata = f"type dGV4dA==, {key} {b64encode(name.encode()).decode()},empty"
    headers = {b"upload-length": str(length).encode(), b"upload-metadata": metadata.encode()}
    assert tus.creation_of(headers) == tus.Creation(name, length)


@given(st.text("abc789", min_size=26, max_size=26), st.integers(0, 10**18 - 1))
def test_an_address_is_read_back(token: str, length: int) -> None:
    assert tus.part_of(f"a=b&upload={token}-{length}&c".encode()) == (token, length)


ODD = st.lists(st.sampled_from([b"upload", b"=", b"-", b"&", b"x" * 26, b"1" * 18, b"filename ", b"=", b",", b"\xff"]))


@given(st.one_of(st.binary(), ODD.map(b"".join)))
def test_any_bytes(text: bytes) -> None:
    known = tus.part_of(text)
    assert known is None or (len(known[0]) == 26 and known[1] >= 0)
    for headers in ({b"upload-length": text}, {b"upload-length": b"1", b"upload-metadata": text}):
        try:
            assert 0 <= tus.creation_of(headers).length < 10**18
        except Refused as refused:
            assert refused.status == 400


@pytest.mark.parametrize("text", [b"", b"-1", b"+1", b" 1", b"1.0", b"0x1", "²".encode(), b"1" * 19])
def test_what_is_no_number(text: bytes) -> None:
    with pytest.raises(Refused, match="Upload-Offset is a number"):
        tus.number({b"upload-offset": text}, b"upload-offset")
