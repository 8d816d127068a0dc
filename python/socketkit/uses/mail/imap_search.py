"""SEARCH of IMAP (RFC 3501 §6.4.4): whether a mail is one of those that are looked for.

A key is a test on a `Candidate`; `parse` makes the one test of all keys together, and says whether it reads the
content.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NamedTuple

from .headers import decoded
from .imap_fetch import date_of
from .imap_syntax import RANGE, Atom, SyntaxFault, numbers, text_of
from .parsed import Parsed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .database import Caught

    Test = Callable[["Candidate"], bool]


class Candidate(NamedTuple):
    """A mail with its number. `parsed` is there if the search reads the content."""

    number: int
    mail: Caught
    parsed: Parsed | None


class Search(NamedTuple):
    test: Test
    reads_content: bool


def parse(keys: Sequence[object], numbers_there: Sequence[int], ids_there: Sequence[int]) -> Search:
    """Raises SyntaxFault."""
    reader = _Reader(list(keys), numbers_there, ids_there)
    test = reader.all()
    return Search(test, reader.reads_content)


class _Reader:
    def __init__(
        self, keys: list[object], numbers_there: Sequence[int], ids_there: Sequence[int], depth: int = 0
    ) -> None:
        self.keys = keys
        self.depth = depth
        self.numbers_there = numbers_there
        self.ids_there = ids_there
        self.reads_content = False

    def all(self) -> Test:
        if self.keys[:1] and str(self.keys[0]).upper() == "CHARSET":
            charset = text_of(self.keys[1]).upper() if len(self.keys) > 1 else ""
            if charset not in ("US-ASCII", "UTF-8"):
                raise SyntaxFault("BADCHARSET (US-ASCII UTF-8)")
            del self.keys[:2]
        if not self.keys:
            raise SyntaxFault("what to look for")
        tests = []
        while self.keys:
            tests.append(self.one())
        return lambda mail: all(test(mail) for test in tests)

    def next(self) -> object:
        if not self.keys:
            raise SyntaxFault("the search ends too early")
        return self.keys.pop(0)

    def one(self) -> Test:
        # A line has room for thousands of NOT, each a call within a call: the interpreter has not.
        if self.depth > DEEPEST:
            raise SyntaxFault("keys stand too deep in each other")
        self.depth += 1
        try:
            return self.key(self.next())
        finally:
            self.depth -= 1

    def key(self, key: object) -> Test:
        if isinstance(key, list):
            inner = _Reader(key, self.numbers_there, self.ids_there, self.depth)
            test = inner.all()
            self.reads_content |= inner.reads_content
            return test
        if not isinstance(key, Atom):
            raise SyntaxFault("a key of a search")
        name = key.upper()
        if name in FLAGGED:
            flag, there = FLAGGED[name]
            return lambda mail: (flag in mail.mail.flags) is there
        if name in ("ALL", "OLD"):
            return lambda mail: True
        if name in ("RECENT", "NEW"):
            return lambda mail: False
        if name == "NOT":
            other = self.one()
            return lambda mail: not other(mail)
        if name == "OR":
            first, second = self.one(), self.one()
            return lambda mail: first(mail) or second(mail)
        if name == "UID":
            ids = frozenset(numbers(text_of(self.next()), self.ids_there))
            return lambda mail: mail.mail.id in ids
        if RANGE.fullmatch(name.partition(",")[0]):
            wanted = frozenset(numbers(name, self.numbers_there))
            return lambda mail: mail.number in wanted
        return self.valued(name)

    def valued(self, name: str) -> Test:
        """A key with a value behind it."""
        if name in ("LARGER", "SMALLER"):
            text = text_of(self.next())
            if not text.isdecimal() or not text.isascii() or len(text) > 12:
                raise SyntaxFault(f"{name} takes a number of bytes")
            size = int(text)
            return (lambda mail: mail.mail.size > size) if name == "LARGER" else (lambda mail: mail.mail.size < size)
        if name in ("KEYWORD", "UNKEYWORD"):
            flag = text_of(self.next())
            return lambda mail: (flag in mail.mail.flags) is (name == "KEYWORD")
        if name.removeprefix("SENT") in ("BEFORE", "ON", "SINCE"):
            return self.dated(name)
        if name == "HEADER":
            field = text_of(self.next())
            return self.worded(lambda parsed: _header(parsed, field))
        if name in ("FROM", "TO", "CC", "BCC", "SUBJECT"):
            return self.worded(lambda parsed: _header(parsed, name))
        if name == "BODY":
            return self.worded(lambda parsed: parsed.readable)
        if name == "TEXT":
            return self.worded(lambda parsed: _all_headers(parsed) + "\n" + parsed.readable)
        raise SyntaxFault(f"no such key: {name[:40]}")

    def worded(self, where: Callable[[Parsed], str | None]) -> Test:
        word = text_of(self.next()).casefold()
        self.reads_content = True

        def test(mail: Candidate) -> bool:
            text = where(mail.parsed) if mail.parsed is not None else None
            return text is not None and word in text.casefold()

        return test

    def dated(self, name: str) -> Test:
        day = date_of(self.next()).toordinal()
        sent = name.startswith("SENT")
        self.reads_content |= sent
        compare = COMPARED[name.removeprefix("SENT")]

        def test(mail: Candidate) -> bool:
            when = _sent(mail.parsed) if sent else datetime.fromtimestamp(mail.mail.received, UTC)
            return when is not None and compare(when.toordinal(), day)

        return test


def _header(parsed: Parsed, name: str) -> str | None:
    """All of this name; None if there is none: an empty word finds those that have it."""
    found = [value for field, value in parsed.headers if field.lower() == name.lower()]
    return "\n".join(found) if found else None


def _all_headers(parsed: Parsed) -> str:
    return "\n".join(f"{name}: {value}" for name, value in parsed.headers)


def _sent(parsed: Parsed | None) -> datetime | None:
    try:
        return parsedate_to_datetime(decoded(parsed.header("Date").encode())) if parsed is not None else None
    except (TypeError, ValueError, OverflowError):  # a year of twenty digits is the last one
        return None


FLAGGED = {
    f"{prefix}{flag}": (f"\\{flag.title()}", not prefix)
    for flag in ("SEEN", "DELETED", "FLAGGED", "ANSWERED", "DRAFT")
    for prefix in ("", "UN")
}
DEEPEST = 100  # a client that looks for one of many writes OR as often
COMPARED: dict[str, Callable[[int, int], bool]] = {
    "BEFORE": lambda when, day: when < day,
    "ON": lambda when, day: when == day,
    "SINCE": lambda when, day: when >= day,
}
