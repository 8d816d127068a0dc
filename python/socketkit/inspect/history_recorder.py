"""Recording: what watching tells, written into a file by a thread of its own.

    async with watch() as watching:
        with Recorder("history.db") as recorder:
            await recorder.record(watching)

- What is told is put into words at once (its processes may end) and waits in memory; the thread writes once a second,
  all of it in one transaction. Watching never waits for the disk.
- What waits is bounded. What finds no room is counted and stands in the file as a gap.
- A socket is one row, whatever happens to it: written when it opens and when it ends, its figures once a minute.
- Times are those of the wall clock. When it jumps, or the machine has slept, the recorded span ends and another begins.
- A socket that outlives the recorder goes on in its row when the next one finds it again.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import suppress
from datetime import timedelta
from threading import Condition, Thread
from typing import TYPE_CHECKING

from ..errors import HistoryError
from .history_store import explained, hold, is_fatal
from .history_writer import Batch, Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence
    from types import TracebackType
    from typing import Self

    from .processes import Process
    from .watch import Change, Watched, Watching

    Fields = tuple[object, ...]


class _Kept:
    """A socket that is open, and its row in the file."""

    __slots__ = ("before", "number", "opened", "row", "state")

    def __init__(self, row: Watched, number: int, opened: int, before: bool) -> None:
        self.row = row
        self.number = number
        self.opened = opened
        self.before = before  # it was open by then
        self.state = ""


class Recorder:
    """Writes history into a file; `with` ends it. HistoryError where the file is not to be used, or another records.

    The file stays below `max_bytes`, and what ended longer than `max_age` ago is forgotten; what is still open is not.
    `clock` gives seconds since 1970. `dropped` counts what found no room, `failure` is what is wrong with the file now.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_bytes: int = 256 * 1_048_576,
        max_age: timedelta = timedelta(days=30),
        clock: Callable[[], float] = time.time,
    ) -> None:
        if max_bytes < LEAST_BYTES:
            raise ValueError(f"max_bytes is at least {LEAST_BYTES:,}: less holds no history")
        if max_age <= timedelta(0):
            raise ValueError("max_age is how long history is kept: more than 0")
        self.path = os.fspath(path)
        self.dropped = 0
        self.overrun = False  # some of what is open found no room, and is looked for at the next beat
        self.failure: HistoryError | None = None
        self._clock = clock
        self._now_ms = round(clock() * 1000)
        self._condition = Condition()
        self._kept: dict[int, _Kept] = {}  # by the identity of the row, which is held here
        self._moved: dict[int, _Kept] = {}
        self._moved_at = self._now_ms
        self._rows: dict[int, Fields] = {}
        self._holders: dict[int, Fields] = {}
        self._used: dict[int, int] = {}
        self._known: dict[Process, tuple[int, int]] = {}
        self._gap: tuple[int, int, int] | None = None
        self._asked = self._served = 0
        self._closing = self._stopped = False
        self._thread: Thread | None = None
        self._span: tuple[int, int, int, str] | None = None
        lock = hold(self.path)
        try:
            self._writer = Writer(self.path, max_bytes, round(max_age.total_seconds() * 1000))
        except BaseException:
            os.close(lock)
            raise
        self._lock_fd = lock
        self._next_row, self._next_process = self._writer.last_row + 1, self._writer.last_process + 1
        self._boot = _boot()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def record(
        self, watching: Watching, *, alone: bool = True, told: Callable[[str], None] | None = None
    ) -> None:
        """Record what is watched, until that ends or this is cancelled.

        `alone`: nobody else reads the changes. Raises HistoryError for a file that is broken; what may pass, such as a
        full disk, is waited for: `told` is called with what is wrong, each time that something else is.
        """
        import asyncio

        self.begin(watching.rows, now=watching.now, selection=str(watching.selection))
        lost, said = 0, ""
        with watching.telling(lambda changes: self.put(changes, now=watching.now)):
            while True:
                await asyncio.sleep(BEAT_SECONDS)
                if alone:
                    watching.take()
                if watching.lost > lost:
                    self.lose(watching.lost - lost)
                    lost = watching.lost
                self.beat(watching.rows if self.overrun else (), now=watching.now)
                if self._stopped and self.failure is not None:
                    raise self.failure
                trouble = "" if self.failure is None else str(self.failure)
                if trouble and trouble != said and told is not None:
                    told(trouble)
                said = trouble

    # --- what is told

    def begin(self, rows: Iterable[Watched], *, now: float, selection: str = "") -> None:
        """A span begins with what is open; `now` is the time on the rows' clock, `selection` what is watched at all."""
        if self._span is not None:
            raise RuntimeError("a Recorder begins once: make another")
        moment = self._now_ms = round(self._clock() * 1000)
        try:
            before, gone = self._writer.open_before(self._boot)
            with self._condition:
                self._span = (self._writer.last_span + 1, moment, moment, selection)
                for row in rows:
                    if row.closed_at is None:
                        known = before.pop(_identity(row), None)
                        gone -= {known[0]} if known is not None else set()
                        self._put(row, moment, now, goes_on=known, anyway=True)
            self._writer.begin_span(self._boot, self._span, gone)
        except sqlite3.Error as failure:
            raise explained(self.path, failure) from failure
        self._thread = Thread(target=self._write_again_and_again, name="socketkit history", daemon=True)
        self._thread.start()

    def put(self, changes: Iterable[Change], *, now: float) -> None:
        """What happened; `now` is the time on the rows' clock. Never waits."""
        with self._condition:
            moment = self._advance()
            for kind, row in changes:
                if kind == "moved" and (kept := self._kept.get(id(row))) is not None:
                    self._moved[kept.number] = kept
                elif kind == "closed" or row.closed_at is None:  # else its end is told in the same breath
                    self._put(row, moment, now)

    def lose(self, count: int) -> None:
        """So many changes could not be told: they stand in the file as a gap."""
        with self._condition:
            self._lose(count)

    def beat(self, rows: Sequence[Watched] = (), *, now: float) -> None:
        """Time goes on, whatever happens. `rows` is what is open: looked through after some of it found no room."""
        with self._condition:
            moment = self._advance()
            if moment - self._moved_at >= MOVES_MS:
                self._moved_at = moment
                for kept in self._moved.values():
                    self._put(kept.row, moment, now)
                self._moved.clear()
            if self.overrun and len(self._rows) < MOST_WAITING // 2:
                self.overrun = False
                for kept in list(self._kept.values()):
                    if kept.row.closed_at is not None:
                        self._put(kept.row, moment, now)
                for row in rows:
                    if row.closed_at is None and id(row) not in self._kept:
                        self._put(row, moment, now)

    def flush(self) -> None:
        """Wait until everything that was told is in the file; HistoryError if it cannot be."""
        with self._condition:
            self._asked += 1
            wanted = self._asked
            self._condition.notify_all()
            while self._served < wanted and not self._stopped and self._thread is not None:
                self._condition.wait()
            if self.failure is not None:
                raise self.failure

    def close(self) -> None:
        """Write what waits, and end the span. Idempotent; what cannot be written is left."""
        if self._lock_fd < 0:
            return
        try:
            if self._thread is not None:
                with self._condition:
                    self._advance()
                    for kept in self._moved.values():
                        self._rows[kept.number] = self._fields(kept, None)
                    self._moved.clear()
                with suppress(HistoryError):  # it stands in `failure`
                    self.flush()
                with self._condition:
                    self._closing = True
                    self._condition.notify_all()
                self._thread.join()
            with suppress(sqlite3.Error):  # the same
                self._writer.close(ended=self._span is not None)
        finally:
            os.close(self._lock_fd)
            self._lock_fd = -1

    # --- putting into words; the condition is held

    def _advance(self) -> int:
        """The time in milliseconds. It stands still while a clock is set back a little; a jump begins a new span."""
        assert self._span is not None, "begin() comes first"
        wall = round(self._clock() * 1000)
        number, since, until, selection = self._span
        if wall - until > SLEPT_MS or until - wall > JUMP_MS:
            self._span = (number + 1, wall, wall, selection)
            self._now_ms = wall
        else:
            self._now_ms = max(wall, until)
            self._span = (number, since, self._now_ms, selection)
        return self._now_ms

    def _put(
        self,
        row: Watched,
        moment: int,
        now: float,
        *,
        goes_on: tuple[int, int, bool] | None = None,
        anyway: bool = False,
    ) -> None:
        """`goes_on`: the row in which an earlier recorder had it. `anyway`: even where there is no room."""
        kept = self._kept.get(id(row))
        until = None if row.closed_at is None else moment - round((now - row.closed_at) * 1000)
        if kept is None:
            began = moment if row.there_before and goes_on is None else moment - round((now - row.first_seen) * 1000)
            kept = _Kept(row, *(goes_on or (self._next_row, began, row.there_before)))
        if kept.number not in self._rows and len(self._rows) >= MOST_WAITING and not anyway:
            self.overrun = True
            self._lose(1)
            return
        if until is None:
            self._kept[id(row)] = kept
        else:
            self._kept.pop(id(row), None)
            self._moved.pop(kept.number, None)
        if kept.number == self._next_row:
            self._next_row += 1
        self._rows[kept.number] = self._fields(kept, until)

    def _fields(self, kept: _Kept, until: int | None) -> Fields:
        """The row in words, in the order of the table's columns."""
        row, entry = kept.row, kept.row.entry
        use, local, processes = row.use, entry.local, row.processes
        if not kept.state or entry.state not in ENDING:
            kept.state = entry.state
        return (
            kept.number,
            kept.opened if until is None else min(kept.opened, until),
            kept.before,
            until,
            until is not None,
            entry.scheme,
            kept.state,
            None if local is None else _text(str(local)),
            None if entry.peer is None else _text(str(entry.peer)),
            None if local is None else local.port,
            entry.exposure,
            _text(entry.interface),
            entry.namespace,
            _text(entry.namespace_name),
            _integer(entry.cookie),
            entry.inode,
            entry.uid,
            _text(entry.user),
            None if processes is None else ",".join(str(self._number_of(one)) for one in processes[:MOST_HOLDERS]),
            use.name,
            _text(use.protocol[:LONGEST]),
            use.confidence,
            use.encrypted,
            _integer(row.received_bytes),
            _integer(row.sent_bytes),
            entry.retransmits,
            entry.round_trip_ms,
            entry.dropped,
        )

    def _number_of(self, process: Process) -> int:
        """That of its row, which is made the first time."""
        known = self._known.get(process)
        if known is not None:
            number, last = known
            if self._now_ms - last > USED_MS:
                self._known[process] = number, self._now_ms
                self._used[number] = self._now_ms
            return number
        number, self._next_process = self._next_process, self._next_process + 1
        if len(self._known) >= MOST_PROCESSES:
            del self._known[next(iter(self._known))]
        self._known[process] = number, self._now_ms
        self._holders[number] = (
            number,
            process.pid,
            process.started,
            _text(process.name),
            _text(process.executable),
            process.uid,
            _text(process.user),
            _text(process.unit),
            _text(process.container),
            self._now_ms,
        )
        return number

    def _lose(self, count: int) -> None:
        self.dropped += count
        since, until, lost = self._gap or (self._now_ms, self._now_ms, 0)
        # What was lost came since the look before; nobody knows when.
        self._gap = min(since, self._now_ms - GAP_MS), max(until, self._now_ms), lost + count

    # --- the thread

    def _write_again_and_again(self) -> None:
        written = 0
        while True:
            with self._condition:
                if not self._closing and self._served >= self._asked:
                    self._condition.wait(WRITE_SECONDS)
                if self._closing:
                    break
                batch = self._taken()
            if batch.rows or batch.gap or batch.asked > self._served or abs(batch.span[2] - written) >= IDLE_MS:
                failure = self._written(batch)
                written = batch.span[2] if failure is None else written
            else:
                continue
            with self._condition:
                self.failure = failure
                self._served = batch.asked
                self._condition.notify_all()
                if self._stopped:
                    break

    def _taken(self) -> Batch:
        assert self._span is not None
        batch = Batch(self._rows, self._holders, self._used, self._gap, self._boot, self._span, self._asked)
        self._rows, self._holders, self._used, self._gap = {}, {}, {}, None
        return batch

    def _written(self, batch: Batch) -> HistoryError | None:
        """What cannot be written now waits again, as far as there is room."""
        try:
            lost = self._writer.write(batch)
            if lost:
                with self._condition:
                    self.dropped += lost
        except sqlite3.Error as failure:
            with self._condition:
                self._stopped = is_fatal(failure)
                self._take_back(batch)
            return explained(self.path, failure)
        return None

    def _take_back(self, batch: Batch) -> None:
        """What came since is newer; beyond the bound nothing is kept."""
        for number, fields in batch.rows.items():
            if len(self._rows) < MOST_WAITING or number in self._rows:
                self._rows.setdefault(number, fields)
            else:
                self._lose(1)
        self._holders = batch.holders | self._holders
        self._used = batch.used | self._used
        if batch.gap is not None:
            since, until, lost = self._gap or batch.gap
            if self._gap is not None:
                since, until, lost = min(since, batch.gap[0]), max(until, batch.gap[1]), lost + batch.gap[2]
            self._gap = since, until, lost


def _identity(row: Watched) -> Hashable:
    entry = row.entry
    local, peer = (None if end is None else _text(str(end)) for end in (entry.local, entry.peer))
    return entry.namespace, _integer(entry.cookie), entry.inode, entry.scheme, local, peer


def _text(text: str | None) -> str | None:
    """A path may hold bytes that are no text, which no file of text can."""
    if text is None or text.isascii():
        return text
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _integer(number: int | None) -> int | None:
    """Of 64 bits with a sign: what SQLite has."""
    return None if number is None else (number + (1 << 63)) % (1 << 64) - (1 << 63)


def _boot() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


LEAST_BYTES = 1_048_576
MOST_WAITING = 65_536
MOST_HOLDERS = 64
MOST_PROCESSES = 65_536
LONGEST = 64
WRITE_SECONDS = 1.0
BEAT_SECONDS = 1.0
IDLE_MS = 5_000
MOVES_MS = 60_000
GAP_MS = 1_000
USED_MS = 1_800_000
# Beats come every second: after so long without one the machine has slept, or this program was stopped.
SLEPT_MS = 15_000
JUMP_MS = 60_000
# What says less of a connection than what it was before.
ENDING = frozenset(
    {"fin-wait-1", "fin-wait-2", "close-wait", "closing", "last-ack", "time-wait", "closed", "unconnected"}
)
