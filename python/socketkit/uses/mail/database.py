"""Caught mail in SQLite, used by one thread: what is kept, for how long, and how it is searched.

A file is made for this user alone, and refused if others can read it: mail has passwords in it. Without a file it is in
memory. Bounds are kept at each `add`: by count, bytes and age the oldest go first. Words are indexed (FTS5) later than
the mail is stored, because taking a mail apart costs several times what storing it does: `index` does some, `search`
what is left.
"""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import contextmanager
from json.encoder import encode_basestring_ascii as quoted
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from .headers import Summary, summary
from .parsed import Parsed
from .search import parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


class Keep(NamedTuple):
    """The bounds of a store: the oldest mail goes for a new one."""

    most_mails: int = 10_000
    most_bytes: int = 268_435_456
    seconds: float = 7 * 86_400.0


KEEP = Keep()


class Incoming(NamedTuple):
    """A mail to be stored. `client` is what was seen of who sent it, as JSON can say it; `client_text` is that JSON."""

    received: float
    sender: str
    recipients: tuple[str, ...]
    raw: bytes
    client: dict[str, Any]
    client_text: str = ""
    """Made of `client` if there is none."""


class Caught(NamedTuple):
    """A mail that is stored; its content is asked for by `id`. `flags` are IMAP's: \\Seen, \\Deleted ..."""

    id: int
    received: float
    sender: str
    recipients: tuple[str, ...]
    size: int
    summary: Summary
    client: dict[str, Any]
    flags: frozenset[str]

    @property
    def seen(self) -> bool:
        return SEEN in self.flags


class Database:
    """For one thread. Raises OSError when the file cannot be used."""

    def __init__(self, path: str | None = None, keep: Keep = KEEP) -> None:
        self.keep = keep
        if path is not None:
            _prepare(path)
        try:
            # Commits are ours: many mails stand in one.
            self._sql = sqlite3.connect(path or ":memory:", isolation_level=None)
            try:
                self._open()
            except BaseException:
                self._sql.close()
                raise
        except sqlite3.Error as failure:
            raise OSError(f"{path or 'memory'}: mail cannot be kept there: {failure}") from failure

    def _open(self) -> None:
        sql = self._sql
        known = sql.execute("PRAGMA application_id").fetchone()[0]
        if known not in (0, APPLICATION) or (known == 0 and sql.execute("SELECT 1 FROM sqlite_master").fetchone()):
            raise sqlite3.DatabaseError("it is a database of something else")
        sql.execute("PRAGMA auto_vacuum = INCREMENTAL")
        sql.execute("PRAGMA journal_mode = WAL")
        # What is committed survives this process; the last of it may not survive a power cut.
        sql.execute("PRAGMA synchronous = NORMAL")
        sql.execute(f"PRAGMA application_id = {APPLICATION}")
        sql.executescript(SCHEMA)
        sql.execute("INSERT OR IGNORE INTO fact VALUES ('next', 1), ('indexed', 0)")
        (last,) = sql.execute("SELECT coalesce(max(id), 0) FROM mail").fetchone()
        self._next: int = max(last + 1, self._fact("next"))
        self._indexed = self._fact("indexed")
        self.count, self.bytes = sql.execute("SELECT count(*), coalesce(sum(size), 0) FROM mail").fetchone()
        sql.execute("INSERT OR IGNORE INTO fact VALUES ('made', CAST(strftime('%s') AS INTEGER))")
        self.made = self._fact("made")

    def _fact(self, name: str) -> int:
        return cast("int", self._sql.execute("SELECT value FROM fact WHERE name = ?", (name,)).fetchone()[0])

    def close(self) -> None:
        self._sql.close()

    def add(self, mails: Sequence[Incoming], now: float) -> tuple[list[Caught], list[int]]:
        """Store them in one transaction; what went for them is in the second list. All or none."""
        caught, rows = [], []
        for number, mail in enumerate(mails, self._next):
            short = summary(mail.raw)
            caught.append(
                Caught(
                    number, mail.received, mail.sender, mail.recipients, len(mail.raw), short, mail.client, frozenset()
                )
            )
            rows.append((number, mail.received, len(mail.raw), mail.raw, _facts(mail, short)))
        with self._transaction():
            self._sql.executemany("INSERT INTO mail (id, received, size, raw, facts) VALUES (?, ?, ?, ?, ?)", rows)
            added = sum(mail.size for mail in caught)
            gone, freed = self._surplus(self.count + len(caught), self.bytes + added, now)
            self._delete(gone, self._next + len(caught))
        self._next += len(caught)
        self.count += len(caught) - len(gone)
        self.bytes += added - freed
        return caught, gone

    def _surplus(self, count: int, size: int, now: float) -> tuple[list[int], int]:
        """Which mails must go, and their bytes."""
        oldest = now - self.keep.seconds
        gone: list[int] = []
        freed = 0
        for number, received, mail_bytes in self._sql.execute("SELECT id, received, size FROM mail ORDER BY id"):
            if count <= self.keep.most_mails and size <= self.keep.most_bytes and received >= oldest:
                break
            gone.append(number)
            freed += mail_bytes
            count -= 1
            size -= mail_bytes
        return gone, freed

    def delete(self, numbers: Iterable[int] | None = None) -> list[int]:
        """Delete these, or all; which there were."""
        wanted = None if numbers is None else set(numbers)
        there = [
            (number, size)
            for number, size in self._sql.execute("SELECT id, size FROM mail ORDER BY id")
            if wanted is None or number in wanted
        ]
        gone = [number for number, _ in there]
        with self._transaction():
            self._delete(gone, self._next)
        self._sql.execute("PRAGMA incremental_vacuum").fetchall()
        self.count -= len(gone)
        self.bytes -= sum(size for _, size in there)
        return gone

    def _delete(self, numbers: Sequence[int], following: int) -> None:
        if numbers:
            # No number is used again, even if the newest mail goes: here it is kept, so that `add` need not.
            self._sql.execute("UPDATE fact SET value = ? WHERE name = 'next'", (following,))
            self._sql.executemany("DELETE FROM words WHERE rowid = ?", [(number,) for number in numbers])
            self._sql.executemany("DELETE FROM mail WHERE id = ?", [(number,) for number in numbers])

    def newest(self, limit: int, before: int | None = None, after: int | None = None) -> list[Caught]:
        """The newest first; only those with an id below `before`, and above `after`."""
        found = self._sql.execute(
            f"SELECT {COLUMNS} FROM mail WHERE id < ? AND id > ? ORDER BY id DESC LIMIT ?",
            (MOST if before is None else before, -1 if after is None else after, limit),
        )
        return [_caught(row) for row in found]

    def get(self, number: int) -> Caught | None:
        row = self._sql.execute(f"SELECT {COLUMNS} FROM mail WHERE id = ?", (number,)).fetchone()
        return _caught(row) if row else None

    def raw(self, number: int) -> bytes | None:
        row = self._sql.execute("SELECT raw FROM mail WHERE id = ?", (number,)).fetchone()
        return row[0] if row else None

    def mark(self, number: int, flags: frozenset[str]) -> Caught | None:
        """Set its flags; None if it is gone."""
        self._sql.execute("UPDATE mail SET flags = ? WHERE id = ?", (" ".join(sorted(flags)), number))
        return self.get(number)

    def search(self, words: str, limit: int, before: int | None = None) -> list[Caught]:
        """The newest first, only those with an id below `before`. Raises SearchError."""
        wanted = parse(words)
        while self.index(1_000):
            pass
        terms: list[str] = ["id < ?"]
        values: list[int | str] = [MOST if before is None else before]
        if wanted.match:
            terms.append("id IN (SELECT rowid FROM words WHERE words MATCH ?)")
            values.append(wanted.match)
        if wanted.seen is not None:
            terms.append(f"(' ' || flags || ' ') {'' if wanted.seen else 'NOT '}LIKE ?")
            values.append(f"% {SEEN} %")
        where = " AND ".join(terms)
        found = self._sql.execute(
            f"SELECT {COLUMNS} FROM mail WHERE {where} ORDER BY id DESC LIMIT ?", (*values, limit)
        )
        return [_caught(row) for row in found]

    def index(self, most: int) -> bool:
        """Index the words of some mails that are not yet; whether there may be more."""
        found = self._sql.execute(
            "SELECT id, raw, facts FROM mail WHERE id > ? ORDER BY id LIMIT ?", (self._indexed, most)
        )
        rows = []
        left = INDEXED_BYTES
        for number, raw, facts in found:
            rows.append((number, *_words(raw[:INDEXED_BYTES], *json.loads(facts)[:2])))
            left -= len(raw)
            if left < 0:  # others wait for this thread
                break
        if rows:
            with self._transaction():
                columns = "rowid, subject, author, receiver, body"
                self._sql.executemany(f"INSERT INTO words ({columns}) VALUES (?, ?, ?, ?, ?)", rows)
                self._sql.execute("UPDATE fact SET value = ? WHERE name = 'indexed'", (rows[-1][0],))
            self._indexed = rows[-1][0]
        return len(rows) == most or left < 0

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All of the block, or nothing of it."""
        self._sql.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._sql.execute("COMMIT")
        except BaseException:
            if self._sql.in_transaction:  # a full disk has ended it already
                self._sql.execute("ROLLBACK")
            raise


def _prepare(path: str) -> None:
    """Make the file for this user alone, or check that it is so."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        status = os.stat(path)
        if status.st_mode & 0o077:
            raise OSError(f"{path}: others can read it, and mail has secrets: chmod 600 {path}") from None


def _facts(mail: Incoming, short: Summary) -> str:
    """One JSON and not four: to take them apart costs more than what SQLite does."""
    recipients = ", ".join(map(quoted, mail.recipients))
    client = mail.client_text or json.dumps(mail.client)
    return f"[{quoted(mail.sender)}, [{recipients}], [{', '.join(map(quoted, short))}], {client}]"


def _caught(row: tuple[Any, ...]) -> Caught:
    number, received, size, facts, flags = row
    sender, recipients, short, client = json.loads(facts)
    return Caught(number, received, sender, tuple(recipients), size, Summary(*short), client, frozenset(flags.split()))


def _words(raw: bytes, sender: str, recipients: Iterable[str]) -> tuple[str, str, str, str]:
    """What is found of a mail. One that the standard library cannot take apart is found by its envelope."""
    try:
        return _taken_apart(Parsed(raw), sender, recipients)
    except Exception:  # whatever somebody sent: it must not keep the others from being found
        return "", sender, " ".join(recipients), ""


def _taken_apart(mail: Parsed, sender: str, recipients: Iterable[str]) -> tuple[str, str, str, str]:
    to = [mail.header(name) for name in ("To", "Cc", "Reply-To")]
    names = " ".join(part.name for part in mail.parts if part.name)
    return (
        mail.header("Subject"),
        f"{mail.header('From')} {sender}",
        " ".join([*to, *recipients]),
        f"{mail.readable[:MOST_INDEXED]} {names}",
    )


SEEN = "\\Seen"
COLUMNS = "id, received, size, facts, flags"
SCHEMA = """
CREATE TABLE IF NOT EXISTS mail (
    id INTEGER PRIMARY KEY,
    received REAL NOT NULL,
    size INTEGER NOT NULL,
    facts TEXT NOT NULL,  -- sender, recipients, summary, client
    flags TEXT NOT NULL DEFAULT '',
    raw BLOB NOT NULL
);
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5 (subject, author, receiver, body);
-- next: no mail had this id or one above; indexed: words has all mails up to this id; made: when the store was
CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value);
"""
APPLICATION = 0x736B6D6C  # "skml"
MOST = 1 << 62
MOST_INDEXED = 262_144
# Of a mail; and so many of several are taken apart before whoever waits has his turn.
INDEXED_BYTES = 524_288
