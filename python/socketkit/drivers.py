"""Who drives the engine's operations: an event loop (`LoopDriver`) or the calling thread (`ThreadDriver`).

The verbs are written once, as coroutines that wait for nothing but operations and what a driver offers here.
"""

from __future__ import annotations

import sys
from _thread import _local as local
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from weakref import WeakKeyDictionary

from . import _core

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine, Sequence

    from .race import Race

_T = TypeVar("_T")


class Driver(Protocol):
    """What the verbs need from whoever runs them."""

    @property
    def reactor(self) -> _core.Reactor | None: ...

    async def resolve(self, host: str, port: int, family: int) -> Sequence[tuple[int, tuple[Any, ...]]]:
        """The stream addresses of a name as (family, sockaddr), best first (RFC 6724).

        Raises OSError (socket.gaierror).
        """

    async def sleep(self, seconds: float) -> None: ...

    async def within(self, seconds: float, work: Coroutine[Any, Any, _T]) -> _T:
        """`work`'s result; TimeLimit when it takes longer.

        A time limit that the caller has around it remains what it is.
        """

    async def run(self, race: Race[_T]) -> _T:
        """Run the attempts of `race` until one wins; raises its `defeat()` if none does."""


class TimeLimit(TimeoutError):
    """The limit of `Driver.within` is over."""


class LoopDriver:
    """Operations are awaited by tasks of a running event loop: asyncio's own, or uvloop's."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # Not the loop itself: the loop holds this (by its reader), and it must be free to go.
        self.reactor = _core.Reactor(loop)
        loop.add_reader(self.reactor.fileno(), self.reactor.poll)

    @staticmethod
    def current() -> LoopDriver:
        """The driver of the running loop; made on first use, gone with the loop."""
        from asyncio import get_running_loop

        loop = get_running_loop()
        driver = _drivers.get(loop)
        if driver is None:
            _adopted_by_anyio()
            driver = _drivers[loop] = LoopDriver(loop)
        return driver

    async def resolve(self, host: str, port: int, family: int) -> Sequence[tuple[int, tuple[Any, ...]]]:
        import socket
        from asyncio import get_running_loop

        found = await get_running_loop().getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
        return [(entry[0], entry[4]) for entry in found]

    async def sleep(self, seconds: float) -> None:
        import asyncio

        await asyncio.sleep(seconds)

    async def within(self, seconds: float, work: Coroutine[Any, Any, _T]) -> _T:
        import asyncio

        try:
            async with asyncio.timeout(seconds):
                return await work
        except TimeoutError as late:
            raise TimeLimit(str(late)) from late

    async def run(self, race: Race[_T]) -> _T:
        import asyncio

        loop = asyncio.get_running_loop()
        running: dict[asyncio.Task[_T], int] = {}
        try:
            while True:
                while (index := race.due(loop.time())) is not None:
                    running[loop.create_task(race.attempt(index))] = index
                if not running:
                    raise race.defeat()
                done, _ = await asyncio.wait(
                    running, timeout=race.patience(loop.time()), return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    if (failure := task.exception()) is None:
                        del running[task]
                        return task.result()
                    race.failed(running.pop(task), failure, loop.time())
        finally:
            for task in running:
                task.cancel()
            for outcome in await asyncio.gather(*running, return_exceptions=True):
                if not isinstance(outcome, BaseException):
                    race.discard(outcome)


class ThreadDriver:
    """Operations are done by the thread that calls; nothing runs behind its back."""

    reactor = None

    async def resolve(self, host: str, port: int, family: int) -> Sequence[tuple[int, tuple[Any, ...]]]:
        import socket

        return [(entry[0], entry[4]) for entry in socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)]

    async def sleep(self, seconds: float) -> None:
        import time

        left = remaining()
        time.sleep(seconds if left is None else min(seconds, left))  # noqa: ASYNC251  # no loop is behind this driver
        if left is not None and left <= seconds:
            raise TimeoutError("no answer in time")

    async def within(self, seconds: float, work: Coroutine[Any, Any, _T]) -> _T:
        try:
            with deadline(seconds):
                return await work
        except TimeoutError as late:
            if remaining() == 0.0:
                raise
            raise TimeLimit(str(late)) from late

    async def run(self, race: Race[_T]) -> _T:
        import time

        running: dict[Coroutine[Any, Any, _T], tuple[int, _core.Operation[Any]]] = {}
        try:
            while True:
                while (index := race.due(time.monotonic())) is not None:
                    attempt = race.attempt(index)
                    if (won := _step(attempt, index, running, race)) is not None:
                        return won[0]
                if not running:
                    raise race.defeat()
                patience = _least(race.patience(time.monotonic()), remaining())
                ready = _core.wait([operation for _, operation in running.values()], patience)
                if ready is None and remaining() == 0.0:
                    raise TimeoutError("no answer in time")
                if ready is not None:
                    attempt = list(running)[ready]
                    index, _ = running.pop(attempt)
                    if (won := _step(attempt, index, running, race)) is not None:
                        return won[0]
        finally:
            for attempt in running:
                attempt.close()


def _step(
    attempt: Coroutine[Any, Any, _T],
    index: int,
    running: dict[Coroutine[Any, Any, _T], tuple[int, _core.Operation[Any]]],
    race: Race[_T],
) -> tuple[_T] | None:
    """Let `attempt` go on until it waits (it joins `running`), fails (the race is told) or wins (its result)."""
    import time

    try:
        running[attempt] = index, attempt.send(None)
    except StopIteration as end:
        return (end.value,)
    except OSError as failure:
        race.failed(index, failure, time.monotonic())
    return None


def block(work: Coroutine[Any, Any, _T]) -> _T:
    """Run `work`, which awaits operations of a ThreadDriver only, in this thread."""
    if remaining() == 0.0:
        work.close()  # Without this, work that never has to wait would never notice that its time is over.
        raise TimeoutError("no time is left")
    try:
        operation = work.send(None)
        while True:
            try:
                if _core.wait([operation], remaining()) is None:
                    raise TimeoutError("no answer in time")
            except BaseException as failure:
                operation = work.throw(failure)
            else:
                operation = work.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def do(operation: _core.Operation[_T]) -> _T:
    """Do one operation in this thread."""
    return _core.block(operation, remaining())


class deadline:  # noqa: N801  # used as asyncio.timeout is, and named like it
    """What blocks in this thread inside raises TimeoutError once `seconds` (None: no bound) have passed.

    Of nested ones the earliest counts. Closing goes on after it, without waiting. Its public name is `sync.timeout`.
    """

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds

    def __enter__(self) -> None:
        import time

        self._outer = _thread.deadline
        end = None if self.seconds is None else time.monotonic() + self.seconds
        _thread.deadline = _least(end, self._outer)

    def __exit__(self, *_: object) -> None:
        _thread.deadline = self._outer


def remaining() -> float | None:
    """Seconds until this thread's deadline, at least 0; None without one."""
    end = _thread.deadline
    if end is None:
        return None
    import time

    return max(0.0, end - time.monotonic())


def _least(a: float | None, b: float | None) -> float | None:
    if a is None or b is None:
        return a if b is None else b
    return min(a, b)


def _adopted_by_anyio() -> None:
    """Make `isinstance(stream, anyio.abc.ByteStream)` true where anyio is in use.

    Importing it just for that would be too dear.
    """
    if "anyio" in sys.modules:
        from anyio.abc import ByteStream

        from .connection import Stream

        ByteStream.register(Stream)


_drivers: WeakKeyDictionary[asyncio.AbstractEventLoop, LoopDriver] = WeakKeyDictionary()


class _Thread(local):
    # Of the class, so that a thread without one finds it as fast as one that has one.
    deadline: float | None = None


_thread = _Thread()
