"""How the standard library is to read what anybody may have sent, so that a mail cannot keep it busy.

It takes the parameters of Content-Type and its like apart in a time that grows with the square of their length: 200 kB
of semicolons in quotes keep it busy for minutes, and that in the thread that stores mail; so do tags of HTML that never
end, and containers in containers. Nobody's program writes more than a handful, so what goes on is left out.
"""

from __future__ import annotations

import re
from contextlib import suppress
from email import policy
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from email.policy import Compat32
    from html.parser import HTMLParser

    _Base = Compat32
else:
    _Base = policy.Compat32


class Bounded(_Base):
    """The old policy, which raises for nothing, with headers of a bounded size."""

    def header_source_parse(self, sourcelines: list[str]) -> tuple[str, str]:
        lines = sourcelines[:MOST_LINES]
        name, value = super().header_source_parse([line[:MOST_LETTERS] for line in lines])
        if name[:8].lower() == "content-":
            value = ";".join(value[:MOST_CONTENT_LETTERS].split(";")[:MOST_PARAMETERS])
        return name, value[:MOST_LETTERS]


def cut_head(raw: bytes) -> bytes:
    """A mail, or the head of one, with no more headers than anybody needs: each of them costs time."""
    end = raw.find(b"\r\n\r\n", 0, MOST_HEAD)
    if end >= 0 or len(raw) <= MOST_HEAD or raw.startswith(b"\r\n"):
        return raw
    last = raw.rfind(b"\r\n", 0, MOST_HEAD)
    body = raw.find(b"\r\n\r\n", MOST_HEAD - 4)
    return raw[: last if last >= 0 else MOST_HEAD] + (raw[body:] if body >= 0 else b"\r\n\r\n")


def has_too_many_parts(raw: bytes) -> bool:
    """Whether there are more containers than a person's mail has: each line is looked at for each that is open."""
    count = len(CONTAINER.findall(raw))
    return count > MOST_CONTAINERS or count * raw.count(b"\n") > MOST_LOOKS


def read_html(reader: HTMLParser, html: str) -> None:
    """As far as it can be read, without `close`, and in pieces: else it takes the square of what never ends.

    What has no end yet is read again with each piece, so the next one is as long as that.
    """
    at = 0
    with suppress(AssertionError):  # which is raised at some declarations that are no good
        while at < len(html):
            piece = html[at : at + max(PIECE, len(reader.rawdata))]
            at += len(piece)
            reader.feed(piece)


PIECE = 16_384
MOST_HEAD = 262_144
MOST_CONTAINERS = 200
MOST_LOOKS = 20_000_000
CONTAINER = re.compile(rb"(?im)^content-type[ \t]*:[ \t]*(?:\r\n[ \t]+)?multipart/")
MOST_LINES = 10_000
MOST_LETTERS = 100_000  # of a header, such as To with very many people
MOST_CONTENT_LETTERS = 4_000
MOST_PARAMETERS = 50
BOUNDED = Bounded()
