"""The mailbox that a client of IMAP has open: numbers and ids of its mails, and what FETCH, STORE and SEARCH do.

Without I/O: each is a generator that asks by `yield` and is sent the answer; what is to be said lies in `out`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from .access import Content, Delete, Flag
from .imap_fetch import items, said
from .imap_search import Candidate, parse
from .imap_syntax import Atom, SyntaxFault, numbers, text_of
from .mime import Entity
from .parsed import Parsed

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from .access import Question
    from .database import Caught
    from .imap_fetch import Item

    # Gives what the tagged reply says.
    Asking = Generator[Question, object, str]


class Mailbox:
    """`mails` are all, the oldest first: their numbers count from 1."""

    def __init__(self, mails: list[Caught], *, read_only: bool) -> None:
        self.mails = mails
        self.read_only = read_only
        self.out: list[bytes] = []

    def update(self, mails: list[Caught]) -> list[bytes]:
        """Take these for what is there now; gives what the client must be told."""
        there = {mail.id for mail in mails}
        told = []
        for number in range(len(self.mails), 0, -1):  # from behind, so that a number still means what it meant
            if self.mails[number - 1].id not in there:
                told.append(b"* %d EXPUNGE\r\n" % number)
        if len(mails) != len(self.mails) - len(told):
            told.append(b"* %d EXISTS\r\n" % len(mails))
        self.mails = mails
        return told

    def fetch(self, arguments: Sequence[object], *, by_id: bool) -> Asking:
        wanted = self._wanted(arguments, by_id=by_id)
        asked = items(arguments[1:])
        if by_id and all(item.name != "UID" for item in asked):
            asked = [*UID, *asked]
        reads = any(item.needs_content for item in asked)
        marks = not self.read_only and any(not item.peek for item in asked)
        for number, mail in wanted:
            content = None
            if reads:
                raw = cast("bytes | None", (yield Content(mail.id)))
                if raw is None:
                    continue  # it was deleted meanwhile; the next NOOP says so
                content = Entity(raw)
            if marks and not mail.seen:
                marked = cast("Caught | None", (yield Flag(mail.id, mail.flags | {SEEN}))) or mail
                self._replace(number, marked)
                self._tell(number, [*asked, *SHOWN_FLAGS], marked, content)
            else:
                self._tell(number, asked, mail, content)
        return "OK done"

    def store(self, arguments: Sequence[object], *, by_id: bool) -> Asking:
        if self.read_only:
            return READ_ONLY
        wanted = self._wanted(arguments, by_id=by_id)
        if len(arguments) < 3 or not isinstance(arguments[1], Atom):
            raise SyntaxFault("STORE takes a set, FLAGS, and flags")
        how = arguments[1].upper()
        if how.removesuffix(".SILENT") not in ("FLAGS", "+FLAGS", "-FLAGS"):
            raise SyntaxFault("STORE changes FLAGS, +FLAGS or -FLAGS")
        flags = _flags(arguments[2] if isinstance(arguments[2], list) else arguments[2:])
        shown = [*UID, *SHOWN_FLAGS] if by_id else SHOWN_FLAGS
        for number, mail in wanted:
            new = flags if how[0] == "F" else mail.flags | flags if how[0] == "+" else mail.flags - flags
            stored = cast("Caught | None", (yield Flag(mail.id, frozenset(new))))
            if stored is None:
                continue
            self._replace(number, stored)
            if not how.endswith(".SILENT"):
                self._tell(number, shown, stored, None)
        return "OK done"

    def search(self, arguments: Sequence[object], *, by_id: bool) -> Asking:
        mails = self.mails
        search = parse(arguments, range(1, len(mails) + 1), [mail.id for mail in mails])
        found = []
        for number, mail in enumerate(mails, 1):
            parsed = None
            if search.reads_content:
                raw = cast("bytes | None", (yield Content(mail.id)))
                if raw is None:
                    continue
                parsed = Parsed(raw[:SEARCHED_BYTES])  # all others wait meanwhile
            if search.test(Candidate(number, mail, parsed)):
                found.append(mail.id if by_id else number)
        self.out.append(" ".join(["* SEARCH", *map(str, found)]).encode() + b"\r\n")
        return "OK done"

    def expunge(self, arguments: Sequence[object] | None) -> Asking:
        """Delete what is marked so; with arguments only what they name by id."""
        if self.read_only:
            return READ_ONLY
        named = None if arguments is None else {mail.id for _, mail in self._wanted(arguments, by_id=True)}
        gone = {mail.id for mail in self.mails if DELETED in mail.flags and (named is None or mail.id in named)}
        if gone:
            yield Delete(tuple(sorted(gone)))
            self.out += self.update([mail for mail in self.mails if mail.id not in gone])
        return "OK done"

    def _wanted(self, arguments: Sequence[object], *, by_id: bool) -> list[tuple[int, Caught]]:
        if not arguments or not isinstance(arguments[0], Atom):
            raise SyntaxFault("a set of numbers: 1:3,7,*")
        mails = self.mails
        if by_id:
            ids = frozenset(numbers(arguments[0], [mail.id for mail in mails]))
            return [(number, mail) for number, mail in enumerate(mails, 1) if mail.id in ids]
        return [(number, mails[number - 1]) for number in numbers(arguments[0], range(1, len(mails) + 1))]

    def _replace(self, number: int, mail: Caught) -> None:
        self.mails[number - 1] = mail

    def _tell(self, number: int, asked: Sequence[Item], mail: Caught, content: Entity | None) -> None:
        told: list[bytes] = []
        most = SAID_BYTES + SAID_TIMES * mail.size
        for item in asked:
            told.append(said(item, mail, content))
            most -= len(told[-1])
            if most < 0:  # a short command names one large mail thousands of times
                raise SyntaxFault(f"that is mail {mail.id} more than {SAID_TIMES} times over: fetch it once")
        self.out.append(b"* %d FETCH (%s)\r\n" % (number, b" ".join(told)))


def _flags(given: Sequence[object]) -> frozenset[str]:
    flags = frozenset(KNOWN.get(text_of(flag).upper(), "") for flag in given)
    if "" in flags:
        raise SyntaxFault(f"there are {' '.join(FLAGS)}")
    return flags


SEEN = "\\Seen"
DELETED = "\\Deleted"
FLAGS = ("\\Answered", "\\Flagged", DELETED, SEEN, "\\Draft")
KNOWN = {flag.upper(): flag for flag in FLAGS}
UID = items([Atom("UID")])
SHOWN_FLAGS = items([Atom("FLAGS")])
SEARCHED_BYTES = 524_288
SAID_BYTES = 1_000_000
SAID_TIMES = 4
READ_ONLY = "NO the mailbox is open to read only"
