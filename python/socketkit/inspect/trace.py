"""`trace`: the routes to many hosts at once, all their hops probed at once.

The driver of `Route`, with sockets of its own: who answered which probe is known from their error queues only.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from typing import TYPE_CHECKING

from . import targets
from .probe_sockets import explained
from .probing import Probing
from .route import (
    Answer,
    Hop,
    Round,
    Route,
    RouteEvent,
    RoutePlan,
    Shrunk,
    Silence,
    Untraced,
)
from .route_probes import TCP_WAIT_NS, open_probes
from .targets import Target, TargetError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from .route_probes import Probes

__all__ = [
    "Answer",
    "Hop",
    "Round",
    "Route",
    "RouteEvent",
    "Shrunk",
    "Silence",
    "TargetError",
    "Tracing",
    "Untraced",
    "trace",
]


def trace(
    hosts: str | Iterable[str],
    *,
    kind: str = "udp",
    rounds: int | None = 1,
    interval_seconds: float = 1.0,
    wait_seconds: float = 2.0,
    max_hops: int = 30,
    port: int | None = None,
    find_mtu: bool = False,
    names: bool = False,
    family: int | None = None,
) -> Tracing:
    """Trace the routes to hosts: names or addresses.

    Await it for the routes, or enter it and iterate over what comes:

        async with trace("example.org", rounds=10) as tracing:
            async for event in tracing: ...

    `kind` is udp, icmp or tcp; an answer to TCP is waited for 0.95 s at most, for then the kernel asks again by itself.
    `port` is the one that UDP (33434) or TCP (80) probes go to; `names` looks for the names of hops meanwhile, which
    `Tracing.names` has. Raises TargetError for what cannot be traced, and SocketError, which says how to be permitted,
    if this user may open no socket for it.
    """
    if kind == "tcp":
        wait_seconds = min(wait_seconds, TCP_WAIT_NS / 1e9)
    plan = RoutePlan(kind, rounds, interval_seconds, wait_seconds, max_hops, find_mtu).checked()
    if port is not None and not 1 <= port <= 65_535:
        raise TargetError("the port must be 1 to 65535")
    if port is not None and kind == "icmp":
        raise TargetError("ICMP has no ports")
    wanted = {None: None, 4: socket.AF_INET, 6: socket.AF_INET6}[family]
    hosts = [hosts] if isinstance(hosts, str) else list(hosts)
    if len(hosts) > MAX_ROUTES:
        raise TargetError(f"more than {MAX_ROUTES} routes at once: trace them in parts")
    if swept := [host for host in hosts if "/" in host]:
        raise TargetError(f"{swept[0]} is a network: trace one address of it")
    known, unknown = targets.read(hosts, wanted)
    return Tracing(plan, known, unknown, wanted, port, names=names)


class Tracing(Probing[RouteEvent]):
    """A trace that goes on: made by `trace()`. It sends and receives while someone iterates over it."""

    def __init__(
        self,
        plan: RoutePlan,
        known: list[Target],
        unknown: list[str],
        family: int | None = None,
        port: int | None = None,
        *,
        names: bool = False,
    ) -> None:
        super().__init__(known, unknown, family)
        self.plan = plan
        self.routes: list[Route] = []
        self.names: dict[str, str] = {}
        """The names of hops by their addresses, as far as they were found."""
        self._port = port
        self._probes: list[Probes | None] = []
        self._wants_names = names
        self._asked: set[str] = set()
        self._asking: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Semaphore(NAMES_AT_ONCE)

    def __await__(self) -> Generator[object, None, list[Route]]:
        return self._whole().__await__()

    async def _whole(self) -> list[Route]:
        async with self as tracing:
            async for _ in tracing:
                pass
            await self.named()
        return self.routes

    async def named(self) -> None:
        """Wait, for a moment, for the names that are still looked for."""
        if self._asking:
            await asyncio.wait(self._asking, timeout=NAMES_SECONDS)

    # --- probes

    def _begin(self, target: Target) -> None:
        probes = open_probes(self.plan.kind, target, self._port, find_mtu=self.plan.find_mtu)
        self._probes.append(probes)
        self.routes.append(Route(target.host, target.address, self.plan, time.monotonic_ns()))

    def _without_address(self, host: str, reason: str) -> RouteEvent:
        route = Route(host, "", self.plan, 0)
        route.stop()
        route.remark = reason
        self.routes.append(route)
        self._probes.append(None)
        return Untraced(host, reason)

    def _step(self) -> int | None:
        due = []
        for route, probes in zip(self.routes, self._probes, strict=True):
            if probes is None:
                continue
            self._send(route, probes)
            for number, source, refusal, at_ns in probes.found():
                if number is not None:
                    self._events += route.answered(number, source, refusal, at_ns)
                elif refusal is not None:
                    self._events += route.anonymous(source, refusal, at_ns)
                self._ask(source)
            self._events += route.expire(time.monotonic_ns())
            if (due_ns := route.due_ns()) is not None:
                due.append(due_ns)
        return min(due, default=None)

    def _send(self, route: Route, probes: Probes) -> None:
        for _ in range(PROBES_PER_TURN):
            probe = route.take(time.monotonic_ns())
            if probe is None:
                return
            route.sent(probe, time.monotonic_ns())
            failure = probes.send(probe, varied=route.varied)
            if not failure:
                continue
            mtu_bytes = probes.local_mtu() if failure == errno.EMSGSIZE else 0
            if mtu_bytes:
                self._events += route.too_large(probe.number, "", mtu_bytes)
            else:
                self._events += route.unsent(probe, explained(failure), time.monotonic_ns())

    def _stop(self) -> None:
        for route in self.routes:
            route.stop()

    def _finished(self) -> bool:
        return all(route.finished for route in self.routes)

    def _descriptors(self) -> Iterator[tuple[int, bool]]:
        return (each for probes in self._probes if probes is not None for each in probes.descriptors())

    def _close(self) -> None:
        for probes in self._probes:
            if probes is not None:
                probes.close()
        self._probes = [None] * len(self._probes)
        for task in self._asking:
            task.cancel()

    # --- names

    def _ask(self, address: str) -> None:
        if self._wants_names and address not in self._asked and len(self._asked) < MAX_NAMES:
            self._asked.add(address)
            task = asyncio.get_running_loop().create_task(self._name(address))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)

    async def _name(self, address: str) -> None:
        async with self._turn:
            try:
                name, _ = await asyncio.get_running_loop().getnameinfo((address, 0), socket.NI_NAMEREQD)
            except (OSError, UnicodeError):
                return  # it has none, or nobody knows
        # Whoever owns the address chooses its name, and a terminal obeys more than letters.
        self.names[address] = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in name)


MAX_ROUTES = 64
# Few, so that answers are not kept waiting: those to TCP have no timestamp of the kernel's.
PROBES_PER_TURN = 8
NAMES_AT_ONCE = 8
NAMES_SECONDS = 2.0
MAX_NAMES = 1_024
