"""The few headers that a list shows, found without parsing the mail: this is done for every mail, at once.

What a person reads is decoded (RFC 2047) and moves no cursor; what cannot be read stays as it is.
"""

from __future__ import annotations

import re
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
    found = dict.fromkeys(WANTED, "")
    for match in HEADER.finditer(head):
        name = match[1].lower()
        if not found[name]:
            found[name] = decoded(match[2])
    return Summary(found[b"subject"], found[b"from"], found[b"to"], found[b"message-id"])


def decoded(value: bytes) -> str:
    """A header's value on one line."""
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


WANTED = (b"subject", b"from", b"to", b"message-id")
# A line that goes on begins with a space (RFC 5322 §2.2.3).
HEADER = re.compile(rb"^(subject|from|to|message-id)[ \t]*:[ \t]*([^\r\n]*(?:\r\n[ \t][^\r\n]*)*)", re.I | re.M)
MOST_HEAD = 65_536
MOST_VALUE = 2_000
