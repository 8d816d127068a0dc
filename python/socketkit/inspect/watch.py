"""Watching the sockets of this machine: what opens, moves and closes, as it happens.

    async with watch("state=established !loopback") as watching:
        async for change in watching:
            print(change.kind, change.row.entry.local, change.row.use.name)

The table is looked at again and again; what ends in between the kernel tells at once, so that no connection is too
short to be seen. Where BPF is permitted, whose it was is noted in time (births.py). Where first bytes can be collected
(CAP_NET_RAW), they say what a connection is for.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from ..errors import SocketError, explain, raisable
from .ledger import SPARK_SECONDS, Change, Ledger, Spark, Totals, Watched
from .selection import Selection
from .table import EndedSockets, SocketTable
from .uses import use_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from types import TracebackType
    from typing import Literal, Self

    from .._core import SocketEntry
    from .births import Births
    from .collecting import Collecting
    from .first_bytes import FirstBytes
    from .processes import Process
    from .uses import Use

__all__ = ["SPARK_SECONDS", "Change", "Spark", "Totals", "Watched", "Watching", "watch"]


def watch(
    select: str = "",
    *,
    interval_seconds: float = 1.0,
    namespaces: Literal["all", "own"] = "all",
    first_bytes: bool = True,
    births: bool = True,
    keep_seconds: float = 10.0,
) -> Watching:
    """Watch the sockets that are selected (`Selection`), of every network namespace or of our own only.

    A socket is watched from when it first is what is selected until its end; closed ones stay among the rows for
    `keep_seconds`. The table is looked at every `interval_seconds`, and less often where a look takes long.
    Raises SelectionError for what selects nothing that is known.
    """
    if not interval_seconds > 0:
        raise ValueError("interval_seconds is the time between two looks: more than 0")
    return Watching(Selection(select), interval_seconds, namespaces, first_bytes, births, keep_seconds)


class Watching:
    """What is watched: `async with` begins and ends it, `async for` gives every `Change`, `rows` is the table now.

    What was there when it began is in `rows` and is told of only when it changes. Changes wait for whoever reads them:
    of a row that moved again only the last, and of all of them the first 65,536; `missed` counts those that found no
    room. The end of the block gives everything back; then the changes end, too.
    """

    def __init__(
        self,
        selection: Selection,
        interval_seconds: float,
        namespaces: Literal["all", "own"],
        first_bytes: bool,
        births: bool,
        keep_seconds: float,
    ) -> None:
        self.selection = selection
        self.missed = 0
        self.first_bytes = False  # whether they are collected
        self.why_no_first_bytes = "" if first_bytes else "not asked for"
        self.births = False  # whether it is noted whose a socket is that no look sees
        self.why_no_births = "" if births else "not asked for"
        self._interval_seconds = interval_seconds
        self._namespaces = namespaces
        self._with_first_bytes = first_bytes
        self._with_births = births
        self._ledger = Ledger(
            purpose=self._purpose,
            owner=self._owner,
            wanted=self._wanted if selection else None,
            keep_seconds=keep_seconds,
            patience_seconds=PATIENCE_SECONDS,
        )
        self._pending: dict[tuple[int, str], Change] = {}
        self._hearers: list[Callable[[Sequence[Change]], None]] = []
        self._news = asyncio.Event()
        self._table: SocketTable | None = None
        self._ended: EndedSockets | None = None
        self._collector: Collecting | None = None
        self._births: Births | None = None
        self._took = LONG_SECONDS  # by the last look; of the first one nobody knows
        self._later: asyncio.TimerHandle | None = None
        self._looking: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._closed = False

    # --- what is known

    @property
    def rows(self) -> list[Watched]:
        """What is open, then what was closed a short while ago."""
        return self._ledger.rows

    @property
    def totals(self) -> Totals:
        return self._ledger.totals

    @property
    def now(self) -> float:
        """Seconds since 1970; the clock of the rows, which nobody sets back."""
        return _now()

    @property
    def complete(self) -> bool:
        """Whether every namespace and process could be looked into, every end heard, and no note of an owner lost."""
        heard = self._ended is None or self._ended.complete
        noted = self._births is None or not self._births.lost
        return (self._table is None or self._table.complete) and heard and noted and not self.lost

    @property
    def lost(self) -> int:
        """How many ends the kernel could not tell of, because they came faster than they were read."""
        return 0 if self._ended is None else self._ended.lost

    @property
    def collector(self) -> FirstBytes | None:
        """What collects first bytes in our own namespace, for others that ask it; it is closed with the block."""
        return None if self._collector is None else self._collector.own

    def names(self, row: Watched) -> tuple[str, ...]:
        """Which names led to the peer's address, the latest last, by the answers of DNS that passed meanwhile."""
        return () if self._collector is None else self._collector.names(row.entry)

    # --- the block

    async def __aenter__(self) -> Self:
        if self._table is not None or self._closed:
            raise RuntimeError("a Watching is entered once: call watch() again")
        loop = asyncio.get_running_loop()
        self._table = SocketTable(namespaces=self._namespaces)
        try:
            if self._with_births:
                await self._note_births()
            self._ended = _listening_for_ends(self._namespaces)
            if self._with_first_bytes:
                self._collect()
                self._follow()
            await self._look()
        except BaseException:
            self._release()
            raise
        loop.add_reader(self._ended.fileno(), self._told)
        if self._births is not None:
            loop.add_reader(self._births.fileno(), self._noted)  # at once: a process may be there no longer
        self._looking = asyncio.create_task(self._look_again_and_again())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        looking, self._looking = self._looking, None
        try:
            if looking is not None:
                looking.cancel()
                await asyncio.wait([looking])
        finally:
            self._release()

    def _release(self) -> None:
        self._closed = True
        self._news.set()
        if self._later is not None:
            self._later.cancel()
        for heard in (self._ended, self._births):
            if heard is not None:
                with suppress(RuntimeError, ValueError):  # the loop or the descriptor has gone before
                    asyncio.get_running_loop().remove_reader(heard.fileno())
                heard.close()
        self._ended = self._births = None
        self.births = False
        if self._collector is not None:
            self._collector.close()
            self._collector = None
            self.first_bytes = False
        self._table = None

    async def __aiter__(self) -> AsyncIterator[Change]:
        while True:
            while self._pending:
                yield self._pending.pop(next(iter(self._pending)))
            if self._failure is not None:
                raise self._failure
            if self._closed:
                return
            self._news.clear()
            await self._news.wait()

    def take(self) -> list[Change]:
        """The changes since the last ones that were taken, without waiting."""
        taken = list(self._pending.values())
        self._pending.clear()
        if not taken and self._failure is not None:
            raise self._failure
        return taken

    @contextmanager
    def telling(self, hear: Callable[[Sequence[Change]], None]) -> Iterator[None]:
        """In the block `hear` is called with the changes as they come, all of them, whoever reads them here."""
        self._hearers.append(hear)
        try:
            yield
        finally:
            self._hearers.remove(hear)

    # --- looks and ends

    async def _look_again_and_again(self) -> None:
        try:
            while True:
                # Where a look takes long, most of the time still goes to others.
                await asyncio.sleep(max(self._interval_seconds, self._took * PAUSES_PER_LOOK))
                await self._look()
        except Exception as failure:
            self._failure = failure
            self._news.set()

    async def _look(self) -> None:
        assert self._table is not None
        began = time.monotonic()
        entries = await _looked_at(self._table, in_a_thread=self._took > QUICK_SECONDS)
        if self._later is None:
            self._hear()  # if nothing has ended: this also finds namespaces that are new
        self._follow()
        self._put(self._ledger.seen(entries, _now()))
        self._took = time.monotonic() - began

    def _told(self) -> None:
        """Something has ended. Its packets come a moment after that, and only they say what it was for."""
        if self._collector is None:
            self._hear()
        elif self._ended is not None and self._later is None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._ended.fileno())
            self._later = loop.call_later(PACKETS_SECONDS, self._hear_now)

    def _hear_now(self) -> None:
        self._later = None
        if self._ended is not None:
            self._hear()
            if self._failure is None:
                asyncio.get_running_loop().add_reader(self._ended.fileno(), self._told)

    def _hear(self) -> None:
        """Some of what ended; the loop comes back as long as there is more."""
        if self._ended is None:
            return
        try:
            entries = self._ended.read()
        except OSError as failure:
            number = failure.errno or 0
            self._failure = raisable(SocketError)("watch", None, f"ends of sockets: {explain(number)}", number)
            asyncio.get_running_loop().remove_reader(self._ended.fileno())
            self._news.set()
            return
        self._noted()  # after the ends: whatever has ended was noted before
        if entries:
            self._put(self._ledger.ended(entries, _now()))

    def _put(self, changes: Sequence[Change]) -> None:
        for hear in self._hearers:
            hear(changes)
        for change in changes:
            key = (id(change.row), change.kind)  # its row is held by the change that waits
            if key not in self._pending and len(self._pending) >= MOST_WAITING:
                self.missed += 1
                continue
            self._pending[key] = change
        if self._pending:
            self._news.set()

    # --- whose a socket is, and what it is for

    async def _note_births(self) -> None:
        from .births import Births

        try:
            self._births = await _loaded(Births)
        except OSError as failure:
            self.why_no_births = str(failure)
        else:
            self.births = True
            if self._births.unheard:
                self.why_no_births = "no control groups of version 2: of connections that are begun alone"

    def _noted(self) -> None:
        """Take the notes. What cannot be read is not worth an end of all: from then on owners are not known."""
        if self._births is None:
            return
        try:
            self._births.read()
        except OSError as failure:
            births, self._births, self.births = self._births, None, False
            self.why_no_births = str(failure)
            asyncio.get_running_loop().remove_reader(births.fileno())
            births.close()

    def _owner(self, entry: SocketEntry) -> Process | None:
        note = None if self._births is None else self._births.take(entry.cookie)
        return None if note is None else note.process

    def _collect(self) -> None:
        from .collecting import Collecting

        try:
            self._collector = Collecting(flows=MOST_FLOWS)
        except OSError as failure:
            self.why_no_first_bytes = str(failure)
        else:
            self.first_bytes = True

    def _follow(self) -> None:
        """Begin where a namespace is new, end where one is left."""
        if self._collector is not None and self._ended is not None:
            self._collector.follow(self._ended.namespaces)

    def _purpose(self, entry: SocketEntry) -> Use:
        return use_of(entry, None if self._collector is None else self._collector.lookup(entry))

    def _wanted(self, row: Watched) -> bool:
        return self.selection.holds(row)


def _listening_for_ends(namespaces: Literal["all", "own"]) -> EndedSockets:
    try:
        return EndedSockets(namespaces=namespaces)
    except OSError as failure:
        number = failure.errno or 0
        raise raisable(SocketError)("watch", None, f"ends of sockets: {explain(number)}", number) from failure


async def _loaded(births: type[Births]) -> Births:
    """In a thread: the kernel proves the programs harmless first, which takes a tenth of a second."""
    loading = asyncio.ensure_future(asyncio.to_thread(births))
    try:
        return await asyncio.shield(loading)
    except asyncio.CancelledError:
        await asyncio.wait([loading])  # it cannot be cancelled, and nothing of it stays behind
        if not loading.exception():
            loading.result().close()
        raise


async def _looked_at(table: SocketTable, *, in_a_thread: bool) -> Sequence[SocketEntry]:
    if not in_a_thread:
        return table.refresh()
    look = asyncio.ensure_future(asyncio.to_thread(table.refresh))
    try:
        return await asyncio.shield(look)
    except asyncio.CancelledError:
        await asyncio.wait([look])  # it cannot be cancelled, and nothing of it stays behind
        raise


def _now() -> float:
    """Seconds since 1970, as they were when this was loaded and have gone on since: nobody sets it back."""
    return _BEGAN + time.monotonic()


_BEGAN = time.time() - time.monotonic()
MOST_WAITING = 65_536
MOST_FLOWS = 65_536
PAUSES_PER_LOOK = 3
# Longer than the kernel keeps a packet until it hands over a block that is not full.
PACKETS_SECONDS = 0.15
PATIENCE_SECONDS = 1.0
# A look that is as quick as this does not hold up a loop; a thread would cost more.
QUICK_SECONDS = 0.005
LONG_SECONDS = 1.0
