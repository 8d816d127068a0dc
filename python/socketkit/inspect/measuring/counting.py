"""What one side of a bench counts: `Incoming` and `Outgoing` for each flow, `Side` for all of them. No I/O.

The engine counts messages, a batch by one call (`_core.Arrivals`): loss, order and copies by their numbers, jitter by
RFC 3550 section 6.4.1.

Messages say themselves whether they belong to the measured phase. A stream's bytes cannot: there the counters of its
connection are read when that phase begins, and again when it ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ... import _core
from .protocol import MEASURED, WARM_UP

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Counter = Callable[[], int]


class Incoming:
    """A flow as its receiver counts it."""

    def __init__(self) -> None:
        self.arrivals = _core.Arrivals()
        self._stream_bytes: int | None = None
        self._read: Counter | None = None
        self._before = 0

    def count_by(self, read: Counter) -> None:
        """A stream's bytes are counted by its connection."""
        self._read, self._before = read, read()

    def begin(self) -> None:
        if self._read:
            self._before = self._read()

    def end(self) -> None:
        if self._read:
            self._stream_bytes, self._read = self.bytes, None

    @property
    def bytes(self) -> int:
        if self._read:
            return self._read() - self._before
        return self.arrivals.bytes if self._stream_bytes is None else self._stream_bytes


class Outgoing:
    """A flow as its sender counts it."""

    def __init__(self) -> None:
        self.phase = WARM_UP
        self.number = 0
        self._bytes = 0
        self._read: Counter | None = None
        self._before = 0
        self._read_retransmits: Counter = _none
        self._retransmits = 0

    def count_by(self, read: Counter, retransmits: Counter) -> None:
        """A stream's bytes are counted by its connection."""
        self._read, self._before = read, read()
        self._read_retransmits, self._retransmits = retransmits, -retransmits()

    def sent(self, phase: int, messages: int, size: int) -> None:
        """These were taken; the phase is the one that is in them."""
        if phase == self.phase:
            self.number += messages
            self._bytes += size

    def begin(self) -> None:
        self.phase, self.number, self._bytes = MEASURED, 0, 0
        if self._read:
            self._before = self._read()
            self._retransmits = -self._read_retransmits()

    def end(self) -> None:
        self._retransmits = self.retransmits
        self._read_retransmits = _none
        if self._read:
            self._bytes, self._read = self.bytes, None

    @property
    def bytes(self) -> int:
        return self._read() - self._before if self._read else self._bytes

    @property
    def retransmits(self) -> int:
        return self._retransmits + self._read_retransmits()


class Side:
    """All flows of one end, and its clock: what is measured lies between `begin` and `end`."""

    def __init__(self, incoming: int, outgoing: int) -> None:
        self.incoming = [Incoming() for _ in range(incoming)]
        self.outgoing = [Outgoing() for _ in range(outgoing)]
        self._began: tuple[int, int] | None = None
        self._ended: tuple[int, int] | None = None

    def begin(self, now_ns: int, cpu_ns: int) -> None:
        """The measured phase begins. Idempotent."""
        if self._began is None:
            self._began = now_ns, cpu_ns
            self._each(lambda flow: flow.begin())

    def end(self, now_ns: int, cpu_ns: int) -> None:
        """It ends; messages that are still on their way count. Idempotent."""
        if self._ended is None:
            self._ended = now_ns, cpu_ns
            self._each(lambda flow: flow.end())

    def _each(self, act: Callable[[Incoming | Outgoing], None]) -> None:
        for incoming in self.incoming:
            act(incoming)
        for outgoing in self.outgoing:
            act(outgoing)

    def report(self, now_ns: int, cpu_ns: int, sent: list[int] | None = None) -> dict[str, Any]:
        """What was counted so far; `sent`: how many messages were sent to each incoming flow, if that is known."""
        began, ended = self._began or (now_ns, cpu_ns), self._ended or (now_ns, cpu_ns)
        arrivals = [flow.arrivals for flow in self.incoming]
        told: Sequence[int | None] = sent or [None] * len(arrivals)
        return {
            "ended": self._ended is not None,
            "elapsed_ns": ended[0] - began[0],
            "cpu_ns": ended[1] - began[1],
            "received": {
                "bytes": sum(flow.bytes for flow in self.incoming),
                "messages": sum(each.received for each in arrivals),
                "lost": sum(each.lost(count) for each, count in zip(arrivals, told, strict=True)),
                "reordered": sum(each.reordered for each in arrivals),
                "duplicates": sum(each.duplicates for each in arrivals),
                "jitter_ns": sum(each.jitter_ns for each in arrivals) / max(1, len(arrivals)),
            },
            "sent": {
                "bytes": sum(flow.bytes for flow in self.outgoing),
                "messages": [flow.number for flow in self.outgoing],
                "retransmits": sum(flow.retransmits for flow in self.outgoing),
            },
        }


def _none() -> int:
    return 0
