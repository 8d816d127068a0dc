from __future__ import annotations

import base64
import hashlib

import pytest

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
