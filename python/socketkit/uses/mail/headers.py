"""The few headers that a list shows, found without parsing the mail: this is done for every mail, at once.

What a person reads is decoded (RFC 2047) and moves no cursor; what cannot be read stays as it is.
"""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple


class Summary(NamedTuple):
    """What a list shows of a mail."""

    subject: str = ""
    author: str = ""
    """The header From, which says what the sender likes."""
    to: str = ""
    message_id: str = ""


def summary(content: bytes) -> Summary:
    """The first header of each name counts."""
    if content.startswith(b"\r\n"):
        return Summary()  # no headers at all
    end = content.find(b"\r\n\r\n", 0, MOST_HEAD)
    found = [b"", b"", b"", b""]
    unseen = WANTED.copy()
    place: int | None = None
    for line in content[: end if end >= 0 else MOST_HEAD].split(b"\r\n"):
        if line.startswith(FOLDED):
            if place is not None and len(found[place]) < MOST_VALUE:
                found[place] += line
            continue
        name, colon, value = line.partition(b":")
        place = unseen.pop(name.lower(), None) if colon else None
        if place is not None:
            found[place] = value
    return Summary(*map(decoded, found))


def decoded(value: bytes) -> str:
    """A header's value on one line."""
    if not value:
        return ""
    text = value[:MOST_VALUE].decode("utf-8", "replace").strip()
    # What can be printed has no white space but spaces.
    if text.isprintable() and "=?" not in text and "  " not in text:
        return text
    text = " ".join(text.split())
    if "=?" in text:
        from binascii import Error as BinasciiError
        from email.errors import HeaderParseError
        from email.header import decode_header, make_header

        with suppress(HeaderParseError, LookupError, ValueError, BinasciiError):
            text = str(make_header(decode_header(text)))
    return printable(text)


def printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


WANTED = {b"subject": 0, b"from": 1, b"to": 2, b"message-id": 3}
FOLDED = (b" ", b"\t")
MOST_HEAD = 65_536
MOST_VALUE = 2_000
