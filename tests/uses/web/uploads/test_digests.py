from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socketkit.uses.web.uploads.digests import content_digests, file_digests
from socketkit.uses.web.uploads.refusals import Refused


def field(data: bytes, algorithm: str = "sha256") -> bytes:
    return base64.b64encode(hashlib.new(algorithm, data).digest())


def test_several_of_one_field() -> None:
    text = b"unixsum=:AA==:, sha-512=:" + field(b"x", "sha512") + b":,sha-256=:" + field(b"x") + b":"
    found = file_digests({b"repr-digest": text})
    assert len(found) == 2
    for digest in found:
        digest.update(b"x")
        digest.check()
        digest.update(b"y")
        with pytest.raises(Refused, match="Repr-Digest"):
            digest.check()


def test_the_field_of_tus() -> None:
    (digest,) = content_digests({b"upload-checksum": b"sha1 " + field(b"x", "sha1")})
    with pytest.raises(Refused) as refused:
        digest.check()
    assert refused.value.status == 460


@pytest.mark.parametrize(
    "headers",
    [
        {b"upload-checksum": b"crc32 AAAA"},
        {b"upload-checksum": b"sha1 ???"},
        {b"content-digest": b"sha-256"},
        {b"content-digest": b"sha-256=:"},
        {b"content-digest": b"sha-256=abc"},
        {b"content-digest": b"sha-256=:a:"},
    ],
)
def test_what_is_none(headers: dict[bytes, bytes]) -> None:
    with pytest.raises(Refused) as refused:
        content_digests(headers)
    assert refused.value.status == 400


@given(st.lists(st.binary(max_size=20)), st.sampled_from(["sha-256", "sha-512"]))
def test_what_is_written_is_checked(chunks: list[bytes], algorithm: str) -> None:
    data = b"".join(chunks)
    text = b"%s=:%s:" % (algorithm.encode(), field(data, algorithm.replace("-", "")))
    (digest,) = content_digests({b"content-digest": text})
    for chunk in chunks:
        digest.update(chunk)
    digest.check()


ODD = st.lists(st.sampled_from([b"sha-256", b"sha-512", b"sha1 ", b"=", b":", b",", b"AAAA", b"\xff", b" "])).map(
    b"".join
)


@given(st.one_of(ODD, st.binary(max_size=60)))
def test_any_field(text: bytes) -> None:
    for name, read in (
        (b"content-digest", content_digests),
        (b"upload-checksum", content_digests),
        (b"repr-digest", file_digests),
    ):
        try:
            for digest in read({name: text}):
                digest.update(b"x")
        except Refused as refused:
            assert refused.status == 400
