"""The transactions of a recorder: each batch is one, and what an earlier recorder left is taken up by the first."""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING, NamedTuple

from .history_store import LOG_BYTES, Bounds, explained, open_to_write

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    Fields = tuple[object, ...]


class Batch(NamedTuple):
    """What has to be written; `asked` is the number of the last call that waits for it."""

    rows: dict[int, Fields]  # by their numbers, in the order of the table's columns
    holders: dict[int, Fields]
    used: dict[int, int]  # processes that are named again, and when
    gap: tuple[int, int, int] | None
    boot: str
    span: tuple[int, int, int, str]
    asked: int

    def without_rows(self, now_ms: int) -> Batch:
        """They are lost, and the gap says so."""
        since, until, lost = self.gap or (now_ms, now_ms, 0)
        gap = since, until, lost + len(self.rows)
        return self._replace(rows={}, holders={}, used={}, gap=gap)


class Writer:
    """The file, opened to be written. Used by one thread at a time."""

    def __init__(self, path: str, max_bytes: int, max_age_ms: int) -> None:
        self._path = path
        self._forgot_at = 0
        self._connection = open_to_write(path)
        try:
            self._bounds = Bounds(self._connection, max_bytes, max_age_ms)
            self.last_row, self.last_process = self._greatest("socket"), self._greatest("process")
            self.last_span = self._greatest("span")
        except sqlite3.Error as failure:
            self._connection.close()
            raise explained(path, failure) from failure

    def write(self, batch: Batch) -> int:
        """One transaction; how many rows found no place, because the file is full of what is open."""
        try:
            self._transact(batch)
        except sqlite3.OperationalError as failure:
            if not self._is_full(failure):
                raise
        else:
            return 0
        try:
            self._transact(batch, share=1 / 4)
        except sqlite3.OperationalError as failure:
            if not self._is_full(failure):
                raise
            self._transact(batch.without_rows(batch.span[2]), share=3 / 4)
            return len(batch.rows)
        return 0

    def close(self, *, ended: bool) -> None:
        """`ended`: the span ends here, as it should."""
        try:
            if ended:
                self._connection.execute("UPDATE span SET ended = 1 WHERE id = (SELECT max(id) FROM span)")
        finally:
            self._connection.close()

    def open_before(self, boot: str) -> tuple[dict[Hashable, tuple[int, int, bool]], set[int]]:
        """What was open when the last span ended: by what tells a socket from others, and the numbers of all rows.

        Nothing tells them apart once the machine has been started anew.
        """
        last = self._connection.execute("SELECT boot FROM span ORDER BY id DESC LIMIT 1").fetchone()
        columns = "id, opened, before, namespace, cookie, inode, scheme, local, peer"
        found = self._connection.execute(f"SELECT {columns} FROM socket WHERE until IS NULL").fetchall()
        same = last is not None and last[0] == boot
        known = ((tuple(row[3:]), (row[0], row[1], bool(row[2]))) for row in found if same)
        return dict(known), {number for number, *_ in found}

    def begin_span(self, boot: str, span: tuple[int, int, int, str], gone: Iterable[int]) -> None:
        """`gone`: rows that nobody sees any more; they were last seen when the span before ended."""
        number, since, until, selection = span
        run = self._connection
        run.execute("BEGIN IMMEDIATE")
        try:
            last = "(SELECT until FROM span ORDER BY id DESC LIMIT 1)"
            run.executemany(
                f"UPDATE socket SET until = max(opened, coalesce({last}, opened)), known = 0 WHERE id = ?",
                ((one,) for one in gone),
            )
            run.execute(NEW_SPAN, (number, boot, since, until, selection))
            self._bounds.forget_old(since)
            self._forgot_at = since
            run.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise

    def _transact(self, batch: Batch, *, share: float | None = None) -> None:
        """`share`: how much of the file may be in use before anything is written."""
        run = self._connection
        run.execute("BEGIN IMMEDIATE")
        try:
            if share is not None:
                self._bounds.make_room(share)
            run.executemany(f"INSERT OR REPLACE INTO process VALUES ({_marks(10)})", batch.holders.values())
            again = ((at, number) for number, at in batch.used.items())
            run.executemany("UPDATE process SET last = ? WHERE id = ?", again)
            run.executemany(f"INSERT OR REPLACE INTO socket VALUES ({_marks(28)})", batch.rows.values())
            if batch.gap is not None:
                run.execute("INSERT INTO gap VALUES (?, ?, ?)", batch.gap)
            number, since, until, selection = batch.span
            run.execute(
                f"{NEW_SPAN} ON CONFLICT (id) DO UPDATE SET until = excluded.until",
                (number, batch.boot, since, until, selection),
            )
            if until - self._forgot_at >= FORGET_MS:
                self._bounds.forget_old(until)
                self._forgot_at = until
            self._bounds.make_room()
            run.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        if self._connection.in_transaction:  # a full disk may have undone it already
            self._connection.execute("ROLLBACK")

    def _is_full(self, failure: sqlite3.Error) -> bool:
        """By our own bound, and not the disk's."""
        name = str(getattr(failure, "sqlite_errorname", ""))
        if not name.startswith("SQLITE_FULL"):
            return False
        disk = os.statvfs(os.path.dirname(os.path.realpath(self._path)))
        return disk.f_bavail * disk.f_frsize > LOG_BYTES

    def _greatest(self, table: str) -> int:
        (found,) = self._connection.execute(f"SELECT max(id) FROM {table}").fetchone()
        return int(found or 0)


def _marks(count: int) -> str:
    return ", ".join("?" * count)


NEW_SPAN = "INSERT INTO span (id, boot, since, until, selection) VALUES (?, ?, ?, ?, ?)"
FORGET_MS = 3_600_000
