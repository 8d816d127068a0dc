"""`Store`: caught mail, for the loop: every call is done by one thread, so that a disk stalls nobody.

A mail that `add` has returned for is committed. Mails that come while the thread works stand in one transaction
together: that is what makes many clients fast, and none of them is answered before.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from .database import KEEP, SEEN, Caught, Database, Incoming, Keep
from .parsed import Parsed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
    from types import TracebackType
    from typing import Literal, Self

_T = TypeVar("_T")


class Change(NamedTuple):
    """What happened to the store. `lost`: the subscriber was too slow for some of it, and must list anew."""

    kind: Literal["added", "deleted", "marked", "lost"]
    mails: tuple[Caught, ...] = ()
    """Those that were added or marked."""
    ids: tuple[int, ...] = ()
    """Of all that this is about."""


class Store:
    """`async with Store(path) as store`; without a path it is in memory and ends with the process.

    - `await newest(limit, before=, after=)`: a list, the newest first, in pages by id; so `await search(words, limit)`.
    - `await get(id)`, `await raw(id)`, `await parsed(id)`: None when it is gone. The parts and attachments of a mail
      are `Parsed.parts`, `Parsed.content(number)`.
    - `await mark(id, seen=True)`, `await flag(id, flags)`, `await delete(ids)`, `await clear()`.
    - `async for change in store.changes()`: what is added, deleted and marked from now on.
    - `count`, `bytes`: what it holds; `keep`: how much that may be.
    """

    def __init__(self, path: str | None = None, *, keep: Keep = KEEP, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self.keep = keep
        self._clock = clock
        self._jobs: SimpleQueue[list[_Job | None]] = SimpleQueue()
        self._waiting: list[_Job | None] = []
        """Handed over together when the thread has done what it had: it is woken once for all of them."""
        self._busy = False
        self._together = 1
        """How many were handed over the last time."""
        self._timer: asyncio.TimerHandle | None = None
        self._told: list[Callable[[], None]] = []
        """The thread's: what it has to say."""
        self._thread: Thread | None = None
        self._subscribers: set[asyncio.Queue[Change]] = set()
        self.count = 0
        self.bytes = 0
        self.made = 0
        """When it was made, in Unix time: IMAP's UIDVALIDITY."""

    async def __aenter__(self) -> Self:
        """Raises OSError when the file cannot be used."""
        self._loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = self._loop.create_future()
        self._thread = Thread(target=self._work, args=(opened,), name="mail store", daemon=True)
        self._thread.start()
        await opened
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """What was handed over before is stored. Idempotent."""
        thread, self._thread = self._thread, None
        if thread is not None:
            closed = self._loop.create_future()
            self._waiting += [_Job(closed, None), None]
            self._hand_over()
            with suppress(asyncio.CancelledError):
                await asyncio.shield(closed)

    # ---- in ----

    async def add(self, mail: Incoming) -> Caught:
        """Store it; returns when it is committed. Raises OSError when it cannot be."""
        return cast("Caught", await self._asked(mail))

    async def mark(self, number: int, *, seen: bool = True) -> Caught | None:
        mail = await self.get(number)
        if mail is None:
            return None
        return await self.flag(number, mail.flags | {SEEN} if seen else mail.flags - {SEEN})

    async def flag(self, number: int, flags: Iterable[str]) -> Caught | None:
        """Give it just these flags; None if it is gone."""
        wanted = frozenset(flags)
        mail = await self._done(lambda database: database.mark(number, wanted))
        if mail is not None:
            self._publish(Change("marked", (mail,), (number,)))
        return mail

    async def delete(self, numbers: Iterable[int]) -> list[int]:
        """Which of them there were."""
        wanted = list(numbers)
        return await self._removed(lambda database: database.delete(wanted))

    async def clear(self) -> list[int]:
        """Delete everything."""
        return await self._removed(lambda database: database.delete())

    # ---- out ----

    async def newest(self, limit: int = 50, *, before: int | None = None, after: int | None = None) -> list[Caught]:
        return await self._done(lambda database: database.newest(limit, before, after))

    async def search(self, words: str, limit: int = 50, *, before: int | None = None) -> list[Caught]:
        """`invoice from:ann to:bob subject:"two words" is:unseen`; in pages as `newest`. Raises SearchError."""
        return await self._done(lambda database: database.search(words, limit, before))

    async def get(self, number: int) -> Caught | None:
        return await self._done(lambda database: database.get(number))

    async def raw(self, number: int) -> bytes | None:
        """As it was sent, byte for byte."""
        return await self._done(lambda database: database.raw(number))

    async def parsed(self, number: int) -> Parsed | None:
        raw = await self.raw(number)
        return None if raw is None else Parsed(raw)

    async def changes(self) -> AsyncGenerator[Change]:
        """From the first `anext` on; ends with the block that iterates."""
        queue: asyncio.Queue[Change] = asyncio.Queue(CHANGES_KEPT)
        self._subscribers.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._subscribers.discard(queue)

    # ---- the thread ----

    async def _done(self, call: Callable[[Database], _T]) -> _T:
        return cast("_T", await self._asked(call))

    async def _removed(self, call: Callable[[Database], list[int]]) -> list[int]:
        gone = await self._done(call)
        if gone:
            self._publish(Change("deleted", (), tuple(gone)))
        return gone

    def _asked(self, work: Incoming | Callable[[Database], Any]) -> asyncio.Future[Any]:
        if self._thread is None:
            raise RuntimeError("the store is not open: use `async with Store() as store`")
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.append(_Job(answer, work))
        if not self._busy:
            self._plan()
        return answer

    def _plan(self) -> None:
        """Hand over what waits: now, or in a moment if many came together before and these are fewer.

        Each transaction costs a change of threads both ways, and that is more than storing a mail does.
        """
        if len(self._waiting) >= self._together:
            self._busy = True
            self._loop.call_soon(self._hand_over)
        elif self._timer is None:
            self._timer = self._loop.call_later(LINGER_SECONDS, self._hand_over)

    def _hand_over(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting:
            jobs, self._waiting = self._waiting, []
            self._busy = True
            self._together = min(len(jobs), MOST_TOGETHER)
            self._jobs.put(jobs)

    def _work(self, opened: asyncio.Future[None]) -> None:
        try:
            database = Database(self._path, self.keep)
        except BaseException as failure:
            self._tell([(opened, None, failure)])
            self._wake(None)
            return
        self.made = database.made
        self._tell([(opened, None, None)])
        self._wake(database)
        indexed = False
        while True:
            try:
                jobs = self._jobs.get(timeout=None if indexed else IDLE_SECONDS)
            except Empty:
                # Nobody waits: some of the words are indexed, so that a search need not do all.
                try:
                    indexed = not database.index(INDEXED_AT_ONCE)
                except Exception:  # such as a full disk: a search tries again, and says so
                    indexed = True
                continue
            going_on = self._do(jobs, database)
            self._wake(database)
            if not going_on:
                database.close()
                return
            indexed = False

    def _do(self, jobs: list[_Job | None], database: Database) -> bool:
        """In their order, mails that follow each other together; False when the last of all was among them."""
        mails: list[_Job] = []
        for job in jobs:
            if job is not None and isinstance(job.work, Incoming):
                mails.append(job)
                continue
            self._add(mails, database)
            mails = []
            if job is None:
                return False
            self._call(job, database)
        self._add(mails, database)
        return True

    def _add(self, jobs: list[_Job], database: Database) -> None:
        if not jobs:
            return
        try:
            caught, gone = database.add([cast("Incoming", job.work) for job in jobs], self._clock())
        except Exception as failure:
            wrapped = OSError(f"the mail cannot be stored: {failure}")
            self._tell([(job.answer, None, wrapped) for job in jobs])
            return
        changes = [Change("added", tuple(caught), tuple(mail.id for mail in caught))]
        if gone:
            changes.append(Change("deleted", (), tuple(gone)))
        answers = [(job.answer, mail, None) for job, mail in zip(jobs, caught, strict=True)]
        self._tell(answers, changes)

    def _call(self, job: _Job, database: Database) -> None:
        try:
            result = job.work(database) if job.work is not None else None  # type: ignore[operator]  # no Incoming
        except Exception as failure:
            self._tell([(job.answer, None, failure)])
        else:
            self._tell([(job.answer, result, None)])

    def _tell(
        self,
        answers: Sequence[tuple[asyncio.Future[Any], Any, BaseException | None]],
        changes: Iterable[Change] = (),
    ) -> None:
        """Called in the thread; said in the loop by the next `_wake`, so that the loop is woken once for all."""

        def tell() -> None:
            for answer, result, failure in answers:
                if answer.done():  # whoever asked has been cancelled
                    continue
                if failure is not None:
                    answer.set_exception(failure)
                else:
                    answer.set_result(result)
            for change in changes:
                self._publish(change)

        self._told.append(tell)

    def _wake(self, database: Database | None) -> None:
        told, self._told = self._told, []
        held = (database.count, database.bytes) if database is not None else (0, 0)

        def wake() -> None:
            self.count, self.bytes = held
            for tell in told:
                tell()
            self._busy = False
            if self._waiting:
                self._plan()

        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(wake)

    def _publish(self, change: Change) -> None:
        for queue in self._subscribers:
            if queue.full():
                while not queue.empty():
                    queue.get_nowait()
                change = Change("lost")
            queue.put_nowait(change)


class _Job(NamedTuple):
    answer: asyncio.Future[Any]
    work: Incoming | Callable[[Database], Any] | None


CHANGES_KEPT = 1_000
IDLE_SECONDS = 0.5
LINGER_SECONDS = 0.0005
INDEXED_AT_ONCE = 20
MOST_TOGETHER = 512
