"""The file that history is kept in: what is in it, who may open it, and how large and old it may become.

It is an SQLite database, for this user alone (0600), with a log beside it (`FILE-wal`) so that it can be read while it
is written. Rules:

- A killed writer leaves a file that opens. What a power cut can cost are the last transactions, never the file.
- One writer: it holds a lock on `FILE.lock` as long as it lives. Not on the file: whoever closes any descriptor of that
  would take away SQLite's own locks (POSIX).
- A file of a later version is not touched, and one that is no history is not overwritten.
- No payload: no bytes, no names that bytes told.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import stat
import struct
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import quote

from .. import home
from ..errors import HistoryError, IdentityError, explain

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSION = 1
APPLICATION = 0x534B6869  # "SKhi"


# --- opening


def open_to_write(path: str) -> sqlite3.Connection:
    """The file, made if there is none. Whoever opens it holds its lock (`hold`)."""
    path = os.path.realpath(path)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    _check_owner(path)
    os.chmod(path, 0o600)
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    with _closed_if_it_fails(path, connection):
        if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            # Both before the first table: later they would need the whole file to be written anew.
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.executescript(f"BEGIN; {SCHEMA} COMMIT;")
        _check_version(path, connection)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")  # no wait for the disk at each transaction
        connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
        connection.execute("SELECT count(*) FROM span").fetchone()
    return connection


def open_to_read(path: str) -> sqlite3.Connection:
    """HistoryError for what is no file of history, OSError if it cannot be opened."""
    path = os.path.realpath(path)
    os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))  # SQLite would not say why
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise HistoryError(f"{path} is no regular file: `socketkit watch --record` makes one")
    # On a disk that nobody writes to, SQLite could not make the file that its readers and writers share.
    fixed = not os.path.exists(f"{path}-wal") and not os.access(os.path.dirname(path), os.W_OK)
    address = f"file:{quote(path)}?mode=ro" + ("&immutable=1" if fixed else "")
    try:
        connection = sqlite3.connect(
            address, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
    except sqlite3.Error as failure:
        raise explained(path, failure) from failure
    with _closed_if_it_fails(path, connection):
        _check_version(path, connection)
    return connection


@contextmanager
def _closed_if_it_fails(path: str, connection: sqlite3.Connection) -> Iterator[None]:
    """And what SQLite says is explained."""
    try:
        yield
    except BaseException as failure:
        connection.close()
        if isinstance(failure, sqlite3.Error):
            raise explained(path, failure) from failure
        raise


def explained(path: str, failure: sqlite3.Error) -> HistoryError:
    """What SQLite says, with what helps."""
    name = getattr(failure, "sqlite_errorname", "") or ""
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) or (not name and "malformed" in str(failure)):
        return HistoryError(
            f"{path} is damaged or no history ({failure}): move it away, and a new one is begun; "
            f"`sqlite3 {path} .recover` gives what can still be read"
        )
    if name.startswith("SQLITE_FULL"):
        return HistoryError(f"{path}: the disk is full: make room, or record less (--max-size)")
    if name.startswith("SQLITE_BUSY"):
        return HistoryError(f"{path} is locked by another program: `lslocks` tells which")
    return HistoryError(f"{path}: {failure}")


def is_fatal(failure: sqlite3.Error) -> bool:
    """Whether trying again cannot help: the file itself is broken."""
    name = getattr(failure, "sqlite_errorname", "") or ""
    return name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) or not isinstance(failure, sqlite3.OperationalError)


def _check_owner(path: str) -> None:
    """What another user could replace is not written to: root's sockets would be told to him."""
    try:
        home.check(path)
    except IdentityError as failure:
        raise HistoryError(str(failure).replace(" with SOCKETKIT_HOME=/path", "")) from None
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode):
        raise HistoryError(f"{path} is no regular file: name another")
    if status.st_uid != os.geteuid():
        raise HistoryError(f"{path} belongs to another user: name a file of your own, or chown it")


def _check_version(path: str, connection: sqlite3.Connection) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION:
        raise HistoryError(f"{path} is no history of socketkit: name another file, or move this one away")
    if version > VERSION:
        raise HistoryError(
            f"{path} was written by a later socketkit (its version is {version}, this one knows {VERSION}): "
            "update socketkit, or record into another file"
        )


# --- the lock of the one writer


def hold(path: str) -> int:
    """The descriptor that holds the lock until it is closed. HistoryError if another recorder has it."""
    lock = f"{os.path.realpath(path)}.lock"
    try:
        # Not removed afterwards: somebody may have opened it, and a second file would be a second lock.
        fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    except OSError as failure:
        raise HistoryError(
            f"{lock}: {explain(failure.errno or 0, 'file')}: name a file in a folder of your own"
        ) from failure
    try:
        fcntl.fcntl(fd, F_OFD_SETLK, _whole(fcntl.F_WRLCK))
    except OSError:
        os.close(fd)
        raise HistoryError(
            f"{path} is being recorded by another program (`lslocks` tells which): end that, or name another file"
        ) from None
    return fd


def is_held(path: str) -> bool:
    """Whether somebody records into it now."""
    try:
        fd = os.open(f"{os.path.realpath(path)}.lock", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        answer = fcntl.fcntl(fd, F_OFD_GETLK, _whole(fcntl.F_WRLCK))
    finally:
        os.close(fd)
    return bool(struct.unpack_from("h", answer)[0] != fcntl.F_UNLCK)


def _whole(kind: int) -> bytes:
    return struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 0, 0)


# Locks of an open file, not of a process (man 2 fcntl): a reader in the same process sees the writer's.
F_OFD_GETLK, F_OFD_SETLK = 36, 37


# --- bounds


class Bounds:
    """Keeps the file below its size, and without what is too old. Called within a transaction."""

    def __init__(self, connection: sqlite3.Connection, max_bytes: int, max_age_ms: int) -> None:
        self._connection = connection
        self._most_pages = max_bytes // PAGE_BYTES
        self._max_age_ms = max_age_ms
        # SQLite itself refuses one page more; `make_room` is there so that it does not come to that.
        connection.execute(f"PRAGMA max_page_count = {self._most_pages}").fetchall()

    def make_room(self, share: float = 15 / 16) -> None:
        """Delete the oldest rows that have ended until so large a share of the file is in use at most."""
        wanted = int(self._most_pages * share)
        while self._used_pages() > wanted:
            oldest = "SELECT id FROM socket WHERE until IS NOT NULL ORDER BY until LIMIT ?"
            cut = self._connection.execute(
                f"DELETE FROM socket WHERE id IN ({oldest}) RETURNING until", (ROWS_AT_ONCE,)
            ).fetchall()
            if not cut:
                break  # what is left is open
            self._forget_before(max(until for (until,) in cut))
        self._connection.execute("PRAGMA incremental_vacuum").fetchall()

    def forget_old(self, now_ms: int) -> None:
        before = now_ms - self._max_age_ms
        self._connection.execute("DELETE FROM socket WHERE until < ?", (before,))
        self._forget_before(before)
        self._connection.execute("PRAGMA incremental_vacuum").fetchall()

    def _used_pages(self) -> int:
        (pages,) = self._connection.execute("PRAGMA page_count").fetchone()
        (free,) = self._connection.execute("PRAGMA freelist_count").fetchone()
        return int(pages) - int(free)

    def _forget_before(self, moment: int) -> None:
        """Nothing before this moment is known any more: it must not be told as recorded."""
        run = self._connection.execute
        run("DELETE FROM gap WHERE until <= ?", (moment,))
        run("DELETE FROM span WHERE until <= ? AND id < (SELECT max(id) FROM span)", (moment,))
        run("UPDATE span SET since = min(?, until) WHERE since < ?", (moment, moment))
        # What is open may have been written long ago, and so have its holders.
        run(
            "UPDATE process SET last = max(last, ?) WHERE id IN (SELECT value FROM socket, "
            "json_each('[' || holders || ']') WHERE until IS NULL AND holders IS NOT NULL)",
            (moment,),
        )
        run("DELETE FROM process WHERE last < ?", (moment - HOLDER_MS,))


ROWS_AT_ONCE = 2_000
HOLDER_MS = 3_600_000  # how old `process.last` may be while a newer row names the process
PAGE_BYTES = 4_096
LOG_BYTES = 4_194_304
BUSY_SECONDS = 10.0

# Times are milliseconds since 1970. `until` of a socket is None as long as it is open in the last span; `known`: its
# end was told, else it was last seen then. `holders`: numbers of processes, None if nobody may know them. `port` is
# that of `local`. `lost` of a gap is how many changes could not be written.
SCHEMA = f"""
CREATE TABLE span (
    id INTEGER PRIMARY KEY, boot TEXT, since INTEGER, until INTEGER, selection TEXT, ended INTEGER DEFAULT 0
);
CREATE TABLE gap (since INTEGER, until INTEGER, lost INTEGER);
CREATE TABLE process (
    id INTEGER PRIMARY KEY, pid INTEGER, started REAL, name TEXT, executable TEXT, uid INTEGER, user TEXT,
    unit TEXT, container TEXT, last INTEGER
);
CREATE TABLE socket (
    id INTEGER PRIMARY KEY, opened INTEGER, before INTEGER, until INTEGER, known INTEGER,
    scheme TEXT, state TEXT, local TEXT, peer TEXT, port INTEGER, exposure TEXT, interface TEXT,
    namespace INTEGER, namespace_name TEXT, cookie INTEGER, inode INTEGER, uid INTEGER, user TEXT, holders TEXT,
    use TEXT, protocol TEXT, confidence REAL, encrypted TEXT,
    received INTEGER, sent INTEGER, retransmits INTEGER, round_trip REAL, dropped INTEGER
);
CREATE INDEX socket_until ON socket (until);
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {VERSION};
"""
