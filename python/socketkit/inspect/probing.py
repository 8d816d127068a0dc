"""What the drivers of `ping` and `trace` have in common: names, sockets and the clock, waited for all at once.

Nothing runs behind the caller's back but the resolving of names: it sends and receives while someone asks for the next
event. Whoever does not ask leaves what comes in the kernel, where it is bounded.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from ..errors import EndOfStream
from . import targets

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from .targets import Target

_Event = TypeVar("_Event")


class Probing(ABC, Generic[_Event]):
    """A run over hosts, entered and iterated over; subclasses say what is sent and what it means."""

    def __init__(self, known: list[Target], names: list[str], family: int | None) -> None:
        self._known, self._names, self._family = known, names, family
        self._events: deque[_Event] = deque()
        self._resolving: dict[asyncio.Task[Target], str] = {}
        self._woken: asyncio.Future[None] | None = None
        self._started_ns = self._ended_ns = 0

    # --- what subclasses have

    @abstractmethod
    def _begin(self, target: Target) -> None:
        """Open what it needs, and probe it from now on."""

    @abstractmethod
    def _without_address(self, host: str, reason: str) -> _Event: ...

    @abstractmethod
    def _step(self) -> int | None:
        """Receive what is there, send what is due; returns when something is due again."""

    @abstractmethod
    def _stop(self) -> None:
        """Send nothing more."""

    @abstractmethod
    def _finished(self) -> bool: ...

    @abstractmethod
    def _descriptors(self) -> Iterator[tuple[int, bool]]:
        """What may become readable; True: or writable."""

    @abstractmethod
    def _close(self) -> None: ...

    # --- what callers use

    @property
    def seconds(self) -> float:
        """How long it has been going on."""
        return ((self._ended_ns or time.monotonic_ns()) - self._started_ns) / 1e9 if self._started_ns else 0.0

    def stop(self) -> None:
        """Send no more, and wait for nothing: iteration ends with what is here."""
        self._stop()
        self._stop_resolving()
        self._ended_ns = self._ended_ns or time.monotonic_ns()
        self._wake()

    async def __aenter__(self) -> Self:
        self._started_ns = time.monotonic_ns()
        try:
            for target in self._known:
                self._begin(target)
        except BaseException:
            self._close()
            raise
        # Not all at once: each takes a thread.
        turn = asyncio.Semaphore(RESOLVED_AT_ONCE)
        for name in self._names:
            task = asyncio.get_running_loop().create_task(self._resolve(name, turn))
            self._resolving[task] = name
            task.add_done_callback(self._wake)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended_ns = self._ended_ns or time.monotonic_ns()
        unfinished = list(self._resolving)
        self._stop_resolving()
        self._close()
        await asyncio.gather(*unfinished, return_exceptions=True)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> _Event:
        try:
            return await self.receive()
        except EndOfStream:
            raise StopAsyncIteration from None

    async def receive(self) -> _Event:
        """The next event; EndOfStream after the last one."""
        while not self._events:
            if self._ended_ns:
                raise EndOfStream("it is over")
            self._take_resolved()
            due_ns = self._step()
            if self._events:
                break
            if self._finished() and not self._resolving:
                self._ended_ns = time.monotonic_ns()
            else:
                await self._wait(due_ns)
        return self._events.popleft()

    # --- names

    async def _resolve(self, name: str, turn: asyncio.Semaphore) -> Target:
        async with turn, asyncio.timeout(RESOLVE_SECONDS):
            return await targets.resolve(name, self._family)

    def _take_resolved(self) -> None:
        for task in [task for task in self._resolving if task.done()]:
            name = self._resolving.pop(task)
            try:
                target = task.result()
            except TimeoutError:
                reason = f"no name server answered in {RESOLVE_SECONDS:.0f} s"
                self._events.append(self._without_address(name, reason))
            except (OSError, UnicodeError) as failure:
                reason = getattr(failure, "strerror", None) or str(failure)
                self._events.append(self._without_address(name, reason[:1].lower() + reason[1:]))
            else:
                self._begin(target)

    def _stop_resolving(self) -> None:
        for task in self._resolving:
            task.cancel()
        self._resolving.clear()

    # --- waiting

    async def _wait(self, due_ns: int | None) -> None:
        """Until a socket has something, something is due, or a name is resolved."""
        loop = asyncio.get_running_loop()
        self._woken = loop.create_future()
        watched = list(self._descriptors())
        timer = None
        if due_ns is not None:
            timer = loop.call_later(max(0, due_ns - time.monotonic_ns()) / 1e9, self._wake)
        for fd, writable in watched:
            loop.add_reader(fd, self._wake)
            if writable:
                loop.add_writer(fd, self._wake)
        try:
            if not any(task.done() for task in self._resolving):
                await self._woken
        finally:
            for fd, writable in watched:
                loop.remove_reader(fd)
                if writable:
                    loop.remove_writer(fd)
            if timer is not None:
                timer.cancel()
            self._woken = None

    def _wake(self, _: object = None) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)


RESOLVED_AT_ONCE = 32
RESOLVE_SECONDS = 15.0
