"""A caught mail taken apart: headers, text, HTML, attachments and links, by the standard library's parser.

Anything may have been sent, so nothing here raises for what is in it: a charset that does not exist is read as UTF-8
with replacements, a part that cannot be decoded is given as it came.
"""

from __future__ import annotations

import re
from contextlib import suppress
from email import policy
from email.message import EmailMessage, Message
from email.parser import BytesHeaderParser, BytesParser
from functools import cached_property
from html.parser import HTMLParser
from typing import TYPE_CHECKING, NamedTuple

from .bounded import BOUNDED, cut_head, has_too_many_parts, read_html
from .headers import decoded, printable

if TYPE_CHECKING:
    from collections.abc import Iterator


class Part(NamedTuple):
    """One part of a mail that is no container. `number` counts them from 0, as `Parsed.content(number)` takes it."""

    number: int
    type: str
    name: str
    """The file name that was given, without a folder; "" if there was none."""
    content_id: str
    attachment: bool
    size: int


class Parsed:
    """One mail, taken apart when something of it is asked for."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    @cached_property
    def message(self) -> Message:
        """The standard library's. Old-style: the new policy raises for some headers that are written badly."""
        raw = cut_head(self.raw)
        if not has_too_many_parts(raw):
            with suppress(RecursionError):
                return BytesParser(policy=BOUNDED).parsebytes(raw)
        # Parts in parts in parts: its headers, and all else as text.
        return BytesHeaderParser(policy=BOUNDED).parsebytes(b"X-Too-Deep: yes\r\n" + _unlabelled(raw))

    @cached_property
    def email(self) -> EmailMessage:
        """The same by the modern policy, for who knows what it wrote; it may raise for headers that are no good."""
        parsed = BytesParser(policy=policy.default).parsebytes(self.raw)
        assert isinstance(parsed, EmailMessage)
        return parsed

    @cached_property
    def headers(self) -> list[tuple[str, str]]:
        """In order, decoded."""
        return [(printable(name), decoded(_bytes(value))) for name, value in self.message.raw_items()]

    def header(self, name: str) -> str:
        """The first of this name; "" if there is none."""
        return next((value for found, value in self.headers if found.lower() == name.lower()), "")

    @cached_property
    def text(self) -> str:
        """The first plain text that is no attachment; "" if there is none."""
        return self._first("text/plain")

    @cached_property
    def html(self) -> str:
        """The first HTML that is no attachment, as it was sent: show it in a sandbox only."""
        return self._first("text/html")

    @cached_property
    def readable(self) -> str:
        """What a person would read: the text, or what is left of the HTML without its tags."""
        return self.text or without_tags(self.html)

    @cached_property
    def parts(self) -> list[Part]:
        return [_described(number, leaf, self.content(number)) for number, leaf in enumerate(self._leaves)]

    @property
    def attachments(self) -> list[Part]:
        return [part for part in self.parts if part.attachment]

    def content(self, number: int) -> bytes:
        """The decoded content of a part. Raises IndexError if there is none."""
        leaf = self._leaves[number]
        payload = leaf.get_payload(decode=True)
        return payload if isinstance(payload, bytes) else leaf.as_bytes()

    @cached_property
    def links(self) -> list[str]:
        """The addresses of web pages in it, each once, in order: a reset mail's link, for a test to follow."""
        found = [*LINK.findall(self.text), *_Links.of(self.html)]
        return list(dict.fromkeys(link.rstrip(".,;:!?)'\"") for link in found))

    @cached_property
    def _leaves(self) -> list[Message]:
        return list(_leaves(self.message))

    def _first(self, kind: str) -> str:
        for number, leaf in enumerate(self._leaves):
            if leaf.get_content_type() == kind and leaf.get_content_disposition() != "attachment":
                return _text(self.content(number), leaf.get_content_charset())
        return ""


def _unlabelled(raw: bytes) -> bytes:
    """A mail without its type, so that its body is text."""
    return re.sub(rb"(?im)^content-type[ \t]*:", b"X-Content-Type:", raw, count=1)


def _leaves(message: Message) -> Iterator[Message]:
    """The parts that are no containers; a mail inside a mail is one. Without recursion: depth is others' choice."""
    waiting = [message]
    count = 0
    while waiting and count < MOST_PARTS:
        part = waiting.pop()
        payload = part.get_payload()
        if part.get_content_maintype() == "multipart" and isinstance(payload, list):
            waiting += [inner for inner in reversed(payload) if isinstance(inner, Message)]
        else:
            count += 1
            yield part


def _described(number: int, leaf: Message, content: bytes) -> Part:
    disposition = leaf.get_content_disposition()
    name = leaf.get_filename() or ""
    name = printable(decoded(_bytes(name)).replace("\\", "/").rpartition("/")[2])
    kind = leaf.get_content_type()
    attachment = disposition == "attachment" or bool(name) or not kind.startswith(("text/", "multipart/"))
    content_id = decoded(_bytes(leaf.get("Content-ID", ""))).strip("<>")
    return Part(number, kind, name, content_id, attachment, len(content))


def _bytes(value: object) -> bytes:
    """The standard library keeps bytes that are no ASCII as surrogates."""
    return str(value).encode("utf-8", "surrogateescape")


def _text(content: bytes, charset: str | None) -> str:
    try:
        return content.decode(charset or "utf-8", "replace")
    except LookupError:
        return content.decode("utf-8", "replace")


def without_tags(html: str) -> str:
    reader = _Text()
    _read(reader, html)
    return " ".join("".join(reader.found).split())


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._hidden = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "style") and not self._hidden:
            self._hidden = tag
        self.found.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._hidden:
            self._hidden = ""

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.found.append(data)


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found += [value for name, value in attrs if name == "href" and value and LINK.fullmatch(value)]

    @classmethod
    def of(cls, html: str) -> list[str]:
        reader = cls()
        _read(reader, html)
        return reader.found


def _read(reader: HTMLParser, html: str) -> None:
    read_html(reader, html[:MOST_HTML])
    if "<" not in reader.rawdata:  # what is left is text, and no tag that never ends
        reader.close()


LINK = re.compile(r"https?://[^\s<>\"]+")
MOST_PARTS = 1_000
MOST_HTML = 1_000_000  # letters that are looked at for words and links
