"""`ping`: echo requests to many hosts at once, names and whole networks too.

The driver of `RoundTrips`. It has sockets of its own instead of `bind("icmp://...")`, for what makes a ping worth
reading is known per packet: the kernel's timestamp, the hops left, who refused which request (from the error queue).
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import time
from collections import deque
from random import Random
from typing import TYPE_CHECKING, Self

from ..errors import EndOfStream
from . import targets
from .icmp import ECHO_REPLY, ECHO_REQUEST, parse_echo
from .probe_sockets import EchoSocket, explained
from .round_trips import Event, HostStatistics, Lost, Plan, Refused, Reply, RoundTrips, Unsent
from .targets import Target, TargetError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from types import TracebackType

__all__ = [
    "Event",
    "HostStatistics",
    "Lost",
    "Pinging",
    "Refused",
    "Reply",
    "TargetError",
    "Unsent",
    "ping",
]


def ping(
    hosts: str | Iterable[str],
    *,
    count: int | None = 1,
    interval_seconds: float = 1.0,
    wait_seconds: float = 2.0,
    payload_bytes: int = 56,
    hops: int | None = None,
    family: int | None = None,
    flood: bool = False,
    seed: int | None = None,
) -> Pinging:
    """Ping hosts: names, addresses, and networks such as 192.0.2.0/24, of which each address is asked.

    Await it for the statistics of each host, or enter it and iterate over what comes:

        async with ping(["192.0.2.1", "example.org"], count=3) as pinging:
            async for event in pinging: ...

    `count` None goes on until `stop()`; `family` 4 or 6 takes addresses of that kind only; `hops` is the TTL of the
    requests. Names are resolved meanwhile; one without an address is an `Unsent` event. Raises TargetError for what
    cannot be pinged, and SocketError, which says how to be permitted, if this user may open no socket for it.
    """
    plan = Plan(count, interval_seconds, wait_seconds, payload_bytes, flood).checked()
    if hops is not None and not 1 <= hops <= 255:
        raise TargetError("the hops must be 1 to 255")
    kind = {None: None, 4: socket.AF_INET, 6: socket.AF_INET6}[family]
    known, names = targets.read([hosts] if isinstance(hosts, str) else hosts, kind)
    return Pinging(plan, known, names, hops, kind, seed)


class Pinging:
    """A ping that goes on: made by `ping()`. It sends and receives while someone iterates over it."""

    def __init__(
        self,
        plan: Plan,
        known: list[Target],
        names: list[str],
        hops: int | None = None,
        family: int | None = None,
        seed: int | None = None,
    ) -> None:
        random = Random(os.urandom(16) if seed is None else seed)
        self.core = RoundTrips(plan, random.randbytes(8), random.randbytes(FILLING_BYTES), time.monotonic_ns())
        self._known, self._names = known, names
        self._hops, self._family = hops, family
        self._sockets: dict[int, EchoSocket] = {}
        self._events: deque[Event] = deque()
        self._resolving: dict[asyncio.Task[Target], str] = {}
        self._woken: asyncio.Future[None] | None = None
        self._started_ns = self._ended_ns = 0

    @property
    def hosts(self) -> list[HostStatistics]:
        """The statistics so far: names come in when they are resolved."""
        return self.core.hosts

    @property
    def seconds(self) -> float:
        """How long it has been going on."""
        return ((self._ended_ns or time.monotonic_ns()) - self._started_ns) / 1e9 if self._started_ns else 0.0

    def stop(self) -> None:
        """Send no more, and wait for nothing: iteration ends with what is here."""
        self.core.stop()
        self._stop_resolving()
        self._ended_ns = self._ended_ns or time.monotonic_ns()
        self._wake()

    def __await__(self) -> Generator[object, None, list[HostStatistics]]:
        return self._whole().__await__()

    async def _whole(self) -> list[HostStatistics]:
        async with self as pinging:
            async for _ in pinging:
                pass
        return self.hosts

    async def __aenter__(self) -> Self:
        self._started_ns = time.monotonic_ns()
        try:
            for family in {target.family for target in self._known}:
                self._open(family)
        except BaseException:
            self._close()
            raise
        for target in self._known:
            self._add(target)
        if self._names:
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

    async def __anext__(self) -> Event:
        try:
            return await self.receive()
        except EndOfStream:
            raise StopAsyncIteration from None

    async def receive(self) -> Event:
        """The next event; EndOfStream after the last one."""
        while not self._events:
            if self._ended_ns:
                raise EndOfStream("the ping is over")
            if self._resolving:
                self._take_resolved()
            due_ns = self._step()
            if self._events:
                break
            if self.core.finished and not self._resolving:
                self._ended_ns = time.monotonic_ns()
                continue
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
                self._events.append(self.core.unresolved(name, f"no name server answered in {RESOLVE_SECONDS:.0f} s"))
            except (OSError, UnicodeError) as failure:
                reason = getattr(failure, "strerror", None) or str(failure)
                self._events.append(self.core.unresolved(name, reason[:1].lower() + reason[1:]))
            else:
                self._open(target.family)
                self._add(target)

    def _add(self, target: Target) -> None:
        if (alike := self.core.add(target, time.monotonic_ns())) is not None:
            self._events.append(alike)

    def _stop_resolving(self) -> None:
        for task in self._resolving:
            task.cancel()
        self._resolving.clear()

    # --- sockets

    def _open(self, family: int) -> None:
        if family not in self._sockets:
            opened = self._sockets[family] = EchoSocket(family)
            self.core.identifiers[family] = opened.identifier
            if self._hops is not None:
                opened.limit_hops(self._hops)

    def _close(self) -> None:
        for opened in self._sockets.values():
            opened.close()
        self._sockets.clear()

    def _step(self) -> int | None:
        """Receive what is there, send what is due; returns when something is due again."""
        for _ in range(REQUESTS_PER_TURN):
            request = self.core.take(time.monotonic_ns())
            if request is None:
                break
            target = self.core.target(request)
            self.core.sent(request, time.monotonic_ns())
            failure = self._sockets[target.family].send(request.message, target.sockaddr)
            if failure in BUSY:
                self.core.postpone(request, time.monotonic_ns())
            elif failure:
                self._events.append(self.core.unsent(request, explained(failure)))
        self._receive()
        self._events += self.core.expire(time.monotonic_ns())
        return self.core.due_ns()

    def _receive(self) -> None:
        for family, opened in self._sockets.items():
            # First the errors: while one is pending, receiving fails.
            for complaint in opened.complaints():
                quoted = parse_echo(complaint.quoted)
                if quoted is None or quoted.kind != ECHO_REQUEST[family] or complaint.refusal is None:
                    continue
                refused = self.core.refused(quoted, complaint.destination, complaint.source, complaint.refusal)
                if refused is not None:
                    self._events.append(refused)
            for arrival in opened.arrivals():
                echo = parse_echo(arrival.data)
                if echo is None or echo.kind != ECHO_REPLY[family]:
                    continue
                reply = self.core.replied(family, echo, arrival.source, arrival.hops_left, arrival.at_ns)
                if reply is not None:
                    self._events.append(reply)

    # --- waiting

    async def _wait(self, due_ns: int | None) -> None:
        """Until a socket has something, something is due, or a name is resolved."""
        loop = asyncio.get_running_loop()
        self._woken = loop.create_future()
        timer = None
        if due_ns is not None:
            timer = loop.call_later(max(0, due_ns - time.monotonic_ns()) / 1e9, self._wake)
        # Only now: whoever does not ask for events leaves them in the kernel, where they are bounded.
        for opened in self._sockets.values():
            loop.add_reader(opened.fileno(), self._wake)
        try:
            if not any(task.done() for task in self._resolving):
                await self._woken
        finally:
            for opened in self._sockets.values():
                loop.remove_reader(opened.fileno())
            if timer is not None:
                timer.cancel()
            self._woken = None

    def _wake(self, _: object = None) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)


FILLING_BYTES = 1024
REQUESTS_PER_TURN = 64
RESOLVED_AT_ONCE = 32
RESOLVE_SECONDS = 15.0
# Queues are full: of the socket (with requests whose neighbours are being looked for), of the interface.
BUSY = frozenset({errno.EAGAIN, errno.ENOBUFS})
