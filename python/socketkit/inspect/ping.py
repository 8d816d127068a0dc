"""`ping`: echo requests to many hosts at once, names and whole networks too.

The driver of `RoundTrips`. It has sockets of its own instead of `bind("icmp://...")`, for what makes a ping worth
reading is known per packet: the kernel's timestamp, the hops left, who refused which request (from the error queue).
"""

from __future__ import annotations

import errno
import os
import socket
import time
from random import Random
from typing import TYPE_CHECKING

from . import targets
from .icmp import ECHO_REPLY, ECHO_REQUEST, parse_echo
from .probe_sockets import EchoSocket, explained
from .probing import Probing
from .round_trips import Event, HostStatistics, Lost, Plan, Refused, Reply, RoundTrips, Unsent
from .targets import Target, TargetError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

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


class Pinging(Probing[Event]):
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
        super().__init__(known, names, family)
        random = Random(os.urandom(16) if seed is None else seed)
        self.core = RoundTrips(plan, random.randbytes(8), random.randbytes(FILLING_BYTES), time.monotonic_ns())
        self._hops = hops
        self._sockets: dict[int, EchoSocket] = {}

    @property
    def hosts(self) -> list[HostStatistics]:
        """The statistics so far: names come in when they are resolved."""
        return self.core.hosts

    def __await__(self) -> Generator[object, None, list[HostStatistics]]:
        return self._whole().__await__()

    async def _whole(self) -> list[HostStatistics]:
        async with self as pinging:
            async for _ in pinging:
                pass
        return self.hosts

    def _begin(self, target: Target) -> None:
        if target.family not in self._sockets:
            opened = self._sockets[target.family] = EchoSocket(target.family)
            self.core.identifiers[target.family] = opened.identifier
            if self._hops is not None:
                opened.limit_hops(self._hops)
        if (alike := self.core.add(target, time.monotonic_ns())) is not None:
            self._events.append(alike)

    def _without_address(self, host: str, reason: str) -> Event:
        return self.core.unresolved(host, reason)

    def _stop(self) -> None:
        self.core.stop()

    def _finished(self) -> bool:
        return self.core.finished

    def _descriptors(self) -> Iterator[tuple[int, bool]]:
        return ((opened.fileno(), False) for opened in self._sockets.values())

    def _close(self) -> None:
        for opened in self._sockets.values():
            opened.close()
        self._sockets.clear()

    def _step(self) -> int | None:
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


FILLING_BYTES = 1024
REQUESTS_PER_TURN = 64
# Queues are full: of the socket (with requests whose neighbours are being looked for), of the interface.
BUSY = frozenset({errno.EAGAIN, errno.ENOBUFS})
