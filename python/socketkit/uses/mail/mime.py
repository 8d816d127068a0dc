"""A mail as a tree of its parts with the exact bytes of each, as IMAP counts and numbers them (RFC 3501 §6.4.5).

Apart from parsed.py, which decodes: here nothing is changed, and what is written badly is one part less.
"""

from __future__ import annotations

import re
from email.message import Message
from email.parser import BytesHeaderParser
from functools import cached_property

from .bounded import BOUNDED, cut_head


class Entity:
    """A mail, or a part of one."""

    def __init__(self, raw: bytes, depth: int = 0) -> None:
        self.raw = raw
        self._depth = depth
        if raw.startswith(b"\r\n"):
            self.head, self.body = b"\r\n", raw[2:]
        else:
            head, blank, self.body = raw.partition(b"\r\n\r\n")
            self.head = head + blank

    @cached_property
    def headers(self) -> Message:
        return BytesHeaderParser(policy=BOUNDED).parsebytes(cut_head(self.head))

    @property
    def type(self) -> str:
        return self.headers.get_content_type()

    @cached_property
    def parts(self) -> list[Entity]:
        """Of a multipart; [] for others, and for one without a boundary."""
        boundary = self.headers.get_boundary()
        if not self.type.startswith("multipart/") or not boundary or self._depth >= DEEPEST:
            return []
        mark = boundary.encode("utf-8", "surrogateescape")
        pieces = re.split(
            rb"(?:^|\r\n)--" + re.escape(mark) + rb"(--)?[ \t]*(?:\r\n|$)", self.body, maxsplit=MOST_PARTS
        )
        found = []
        # Text, mark, text, mark ...: what stands before the first and behind the last is for old readers.
        for closing, text in zip(pieces[1::2], pieces[2::2], strict=True):
            if closing is not None:
                break
            found.append(Entity(text, self._depth + 1))
        return found

    @cached_property
    def inner(self) -> Entity | None:
        """The mail inside, of a message/rfc822."""
        if self.type != "message/rfc822" or self._depth >= DEEPEST:
            return None
        return Entity(self.body, self._depth + 1)

    def part(self, number: int) -> Entity | None:
        """By IMAP's number: a mail that is no multipart is its own part 1, and a mail inside has its parts' numbers."""
        holder = self.inner if self.inner is not None else self
        if holder.parts:
            return holder.parts[number - 1] if number <= len(holder.parts) else None
        return holder if number == 1 else None

    def fields(self, names: frozenset[str], *, without: bool = False) -> bytes:
        """The header lines with these names (lower case), or all others, and the blank line."""
        found = []
        taken = False
        # Line by line and not by one expression: a line that never ends must not be looked at from each of its bytes.
        for line in self.head.split(b"\r\n"):
            if not line.startswith((b" ", b"\t")):
                taken = b":" in line and (_name(line) in names) is not without
            if taken:
                found.append(line + b"\r\n")
        return b"".join(found) + b"\r\n"

    def header(self, name: str) -> str | None:
        """The first of the name, unfolded, with what is no ASCII as surrogates."""
        value = self.headers.get(name)
        return None if value is None else " ".join(str(value).split())


def _name(line: bytes) -> str:
    return line.partition(b":")[0].strip().lower().decode("utf-8", "replace")


DEEPEST = 20
MOST_PARTS = 1_000
