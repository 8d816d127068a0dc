"""UDP ports: what answers is open, what an ICMP error says is closed, and of silence nothing can be said.

A datagram of the service that is usual there is sent to each port, in several rounds. Most kernels send few ICMP errors
(Linux: six in a row to one host, then one a second), so that of many closed ports most are silent, too.
"""

from __future__ import annotations

import asyncio
import socket
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from .probe_sockets import ProbeSocket
from .service_probes import Service, udp_answer, udp_probe
from .targets import key_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from .targets import Target


class Answered(NamedTuple):
    """A port that answered; `target` is its place among the targets."""

    target: int
    port: int
    service: Service
    rtt_seconds: float


class UdpScan:
    """Probes `ports` of all targets. `closed` has those that an ICMP error was for, by target."""

    def __init__(self, targets: Sequence[Target], ports: Sequence[int], rate_per_second: float) -> None:
        self.closed: list[set[int]] = [set() for _ in targets]
        self.prohibited: list[set[int]] = [set() for _ in targets]
        self.open: list[set[int]] = [set() for _ in targets]
        self.sent = 0
        self.round = 0
        self._targets, self._ports = targets, ports
        self._rate = rate_per_second
        self._places = {target.key: place for place, target in enumerate(targets)}
        self._sockets: dict[int, ProbeSocket] = {}
        self._sent_at: dict[tuple[int, int], float] = {}

    @property
    def planned(self) -> int:
        """How many probes it has at most."""
        return len(self._targets) * len(self._ports) * ROUNDS

    async def answers(self) -> AsyncIterator[Answered]:
        """The ports that answer, as they do; closes its sockets at the end."""
        try:
            for family in {target.family for target in self._targets}:
                self._sockets[family] = ProbeSocket(family, socket.SOCK_DGRAM)
            for self.round in range(1, ROUNDS + 1):
                async for answered in self._one_round():
                    yield answered
        finally:
            for opened in self._sockets.values():
                opened.close()

    async def _one_round(self) -> AsyncIterator[Answered]:
        waiting = [
            (place, port)
            for port in self._ports
            for place in range(len(self._targets))
            if not any(port in known[place] for known in (self.open, self.closed, self.prohibited))
        ]
        begun = time.monotonic()
        position = 0
        while position < len(waiting):
            due = int((time.monotonic() - begun) * self._rate) + 1
            for place, port in waiting[position:due]:
                self._send(place, port)
            position = max(position, min(due, len(waiting)))
            await asyncio.sleep(TURN_SECONDS)
            for answered in self._arrived():
                yield answered
        until = time.monotonic() + (WAIT_SECONDS if waiting else 0)
        while (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(left, TURN_SECONDS * 4))
            for answered in self._arrived():
                yield answered

    def _send(self, place: int, port: int) -> None:
        target = self._targets[place]
        address: tuple[Any, ...] = (target.sockaddr[0], port, *target.sockaddr[2:])
        self._sent_at[place, port] = time.monotonic()
        self._sockets[target.family].send(udp_probe(port), address)
        self.sent += 1

    def _arrived(self) -> list[Answered]:
        found = []
        for opened in self._sockets.values():
            for complaint in opened.complaints():
                place = self._places.get(key_of(complaint.destination))
                if place is None or complaint.refusal is None:
                    continue
                port = complaint.destination[1]
                # From the host itself it is closed; from another one a filter says so.
                own = complaint.source is not None and key_of(complaint.source) == self._targets[place].key
                refused = complaint.refusal.port_unreachable
                (self.closed if own and refused else self.prohibited)[place].add(port)
            for arrival in opened.arrivals():
                place = self._places.get(key_of(arrival.source))
                port = arrival.source[1]
                sent_at = None if place is None else self._sent_at.get((place, port))
                if place is None or sent_at is None or port in self.open[place]:
                    continue
                self.open[place].add(port)
                self.closed[place].discard(port)
                self.prohibited[place].discard(port)
                rtt_seconds = max(0.0, time.monotonic() - sent_at)
                found.append(Answered(place, port, udp_answer(port, arrival.data[:MAX_ANSWER_BYTES]), rtt_seconds))
        return found


ROUNDS = 3
WAIT_SECONDS = 0.7
TURN_SECONDS = 0.005
MAX_ANSWER_BYTES = 2_048
