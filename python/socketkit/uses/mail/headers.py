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
    end = content.find(b"\r\n\r\n")
    if content.startswith(b"\r\n"):
        return Summary()  # no headers at all
    head = content[: end + 2 if 0 <= end < MOST_HEAD else MOST_HEAD]
    lowered = b"\r\n" + head.lower()
    return Summary(*(decoded(_value(head, lowered.find(name))) for name in WANTED))


def _value(head: bytes, at: int) -> bytes:
    """What stands behind the colon of the header that begins there, with the lines that go on with a space."""
    if at < 0:
        return b""
    start = head.find(b":", at) + 1
    end = head.find(b"\r\n", start)
    while end >= 0 and head[end + 2 : end + 3] in (b" ", b"\t"):
        end = head.find(b"\r\n", end + 2)
    return head[start : end if end >= 0 else len(head)]


def decoded(value: bytes) -> str:
    """A header's value on one line."""
    if not value:
        return ""
    text = " ".join(value[:MOST_VALUE].decode("utf-8", "replace").split())
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


WANTED = (b"\r\nsubject:", b"\r\nfrom:", b"\r\nto:", b"\r\nmessage-id:")
MOST_HEAD = 65_536
MOST_VALUE = 2_000
