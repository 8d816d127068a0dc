"""What a client says that his bytes hash to: Content-Digest and Repr-Digest (RFC 9530), Upload-Checksum (tus)."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode
from binascii import Error as NotBase64
from typing import TYPE_CHECKING

from .refusals import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Digest", "content_digests", "file_digests"]


class Digest:
    """A hash that is being made, and what it is to be in the end."""

    __slots__ = ("_expected", "_hash", "field", "mismatch")

    def __init__(self, field: str, algorithm: str, expected: bytes, mismatch: int = 400) -> None:
        self.field = field
        self.mismatch = mismatch
        self._hash = hashlib.new(algorithm)
        self._expected = expected

    def update(self, data: bytes | bytearray | memoryview) -> None:
        self._hash.update(data)

    def check(self) -> None:
        """Raises Refused if the bytes were others."""
        if not hmac.compare_digest(self._hash.digest(), self._expected):
            words = f"what came is not what {self.field} says: nothing of it was kept, send it again"
            raise Refused(self.mismatch, words)


def content_digests(headers: Mapping[bytes, bytes]) -> list[Digest]:
    """Of the bytes of this request."""
    found = _digests("Content-Digest", headers.get(b"content-digest"))
    if (field := headers.get(b"upload-checksum")) is not None:
        algorithm, _, value = field.decode("latin-1").partition(" ")
        if algorithm not in TUS_ALGORITHMS:
            raise Refused(400, f"Upload-Checksum: {', '.join(TUS_ALGORITHMS)} are understood")
        found.append(Digest("Upload-Checksum", algorithm, _decoded("Upload-Checksum", value), 460))
    return found


def file_digests(headers: Mapping[bytes, bytes]) -> list[Digest]:
    """Of the file when it is whole."""
    return _digests("Repr-Digest", headers.get(b"repr-digest"))


def _digests(name: str, field: bytes | None) -> list[Digest]:
    """Those of algorithms that are known here; others say nothing (RFC 9530 section 5)."""
    found = []
    for item in (field or b"").decode("latin-1").split(","):
        algorithm, equals, value = item.strip().partition("=")
        if algorithm not in ALGORITHMS:
            continue
        if not equals or len(value) < 2 or value[0] != ":" or value[-1] != ":":
            raise Refused(400, f"{name} is written {algorithm}=:BASE64:")
        found.append(Digest(name, ALGORITHMS[algorithm], _decoded(name, value[1:-1])))
    return found


def _decoded(name: str, value: str) -> bytes:
    try:
        return b64decode(value, validate=True)
    except (NotBase64, ValueError):
        raise Refused(400, f"{name} is not base64") from None


ALGORITHMS = {"sha-256": "sha256", "sha-512": "sha512"}
TUS_ALGORITHMS = ("sha1", "sha256", "sha512")
