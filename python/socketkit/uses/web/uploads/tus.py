"""What the requests of tus 1.0 say (https://tus.io/protocols/resumable-upload), read and refused here."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as NotBase64
from typing import TYPE_CHECKING, NamedTuple

from .refusals import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CONTENT", "RESUMABLE", "VERSION", "Creation", "creation_of", "number", "part_of", "require_version"]


class Creation(NamedTuple):
    """A file that is to come."""

    name: str | None
    length: int


def require_version(headers: Mapping[bytes, bytes]) -> None:
    """Raises Refused for another version than ours."""
    if headers.get(b"tus-resumable") != VERSION:
        raise Refused(412, "this is tus 1.0.0: say so by Tus-Resumable", [(b"tus-version", VERSION)])


def creation_of(headers: Mapping[bytes, bytes]) -> Creation:
    """What a POST wants to begin."""
    if b"upload-length" not in headers:
        raise Refused(400, "Upload-Length is missing: how long the file is has to be known at its beginning")
    return Creation(_name(headers.get(b"upload-metadata", b"")), number(headers, b"upload-length"))


def number(headers: Mapping[bytes, bytes], field: bytes) -> int:
    """The field's, which must be there."""
    text = headers.get(field, b"")
    if not text.isdigit() or len(text) > MOST_DIGITS:
        raise Refused(400, f"{field.decode().title()} is a number of bytes")
    return int(text)


def part_of(query: bytes) -> tuple[str, int] | None:
    """The token and the length in the address of an upload, `?upload=TOKEN-LENGTH`."""
    for item in query.decode("latin-1").split("&"):
        key, _, value = item.partition("=")
        token, dash, length = value.partition("-")
        if key != "upload" or not dash or len(token) != TOKEN_LETTERS or len(length) > MOST_DIGITS:
            continue
        if token.isascii() and token.isalnum() and length.isascii() and length.isdigit():
            return token, int(length)
    return None


def _name(field: bytes) -> str | None:
    """`filename` (or `name`) of the metadata: pairs of a key and a value in base64, between commas."""
    found = {}
    for pair in field.decode("latin-1").split(","):
        key, _, value = pair.strip().partition(" ")
        if key in ("filename", "name"):
            try:
                found[key] = b64decode(value, validate=True).decode()
            except (NotBase64, ValueError):
                raise Refused(400, "Upload-Metadata: a value is base64 of UTF-8") from None
    return found.get("filename", found.get("name"))


VERSION = b"1.0.0"
CONTENT = b"application/offset+octet-stream"
RESUMABLE = (b"tus-resumable", VERSION)
TOKEN_LETTERS = 26
MOST_DIGITS = 18
