"""What came of a test: `Interval` for each second of it, `Report` for the whole. Values and sums, no I/O.

What a direction is said to carry is what its receiver got, by the receiver's clock: what a sender has handed to its
kernel may still be waiting there.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from .histogram import Histogram

if TYPE_CHECKING:
    from .carriers import Shape
    from .plan import Plan


@dataclass(frozen=True)
class Direction:
    """One direction, in an interval or the whole test. Messages are None on a stream, which has none."""

    seconds: float
    sent_bytes: int
    received_bytes: int
    bits_per_second: float
    messages: int | None
    messages_per_second: float | None
    lost: int | None
    lost_fraction: float | None
    reordered: int | None
    duplicates: int | None
    jitter_seconds: float | None
    retransmits: int


@dataclass(frozen=True)
class Interval:
    start_seconds: float
    end_seconds: float
    up: Direction | None
    down: Direction | None
    latency: dict[str, float]


@dataclass
class Report:
    """All that is known, also in the middle of a test."""

    plan: Plan
    shape: Shape
    endpoint: str = ""
    peer: str = ""
    encrypted: bool | None = None
    ciphers: tuple[str, str] | None = None
    idle: Histogram = field(default_factory=Histogram)
    loaded: Histogram = field(default_factory=Histogram)
    probes_sent: int = 0
    intervals: list[Interval] = field(default_factory=list)
    ours: dict[str, Any] = field(default_factory=dict)
    """What this side has counted (`Side.report`)."""
    theirs: dict[str, Any] = field(default_factory=dict)
    complete: bool = False

    @property
    def up(self) -> Direction | None:
        return _direction(self.theirs, self.ours, None, self.shape) if self.plan.up and self.begun else None

    @property
    def down(self) -> Direction | None:
        return _direction(self.ours, self.theirs, None, self.shape) if self.plan.down and self.begun else None

    @property
    def begun(self) -> bool:
        """Whether there is anything to report."""
        return bool(self.ours and self.theirs)

    @property
    def cpu(self) -> tuple[float, float]:
        """Shares of a core that this side and the other have used."""
        return _cpu(self.ours), _cpu(self.theirs)

    @staticmethod
    def latency_of(times: Histogram) -> dict[str, float]:
        return latency(times)

    @property
    def seconds(self) -> float:
        return float(self.ours.get("elapsed_ns", 0)) / 1e9

    def add_interval(self, before: Counted, recent: Histogram) -> Counted:
        """What has happened since `before`; gives what to pass the next time."""
        up = _direction(self.theirs, self.ours, before, self.shape) if self.plan.up else None
        down = _direction(self.ours, self.theirs, (before[1], before[0]), self.shape) if self.plan.down else None
        start = before[0].get("elapsed_ns", 0) / 1e9
        self.intervals.append(Interval(start, self.seconds, up, down, latency(recent)))
        return self.ours, self.theirs

    def to_json(self) -> dict[str, Any]:
        """In bytes, bits per second and seconds."""
        return {
            "endpoint": self.endpoint,
            "peer": self.peer,
            "encrypted": self.encrypted,
            "ciphers": self.ciphers,
            "plan": self.plan.to_json(),
            "complete": self.complete,
            "seconds": self.seconds,
            "up": asdict(self.up) if self.up else None,
            "down": asdict(self.down) if self.down else None,
            "latency": {"idle": latency(self.idle), "loaded": latency(self.loaded), "probes_sent": self.probes_sent},
            "cpu": dict(zip(("here", "there"), self.cpu, strict=True)),
            "intervals": [asdict(interval) for interval in self.intervals],
        }


Counted = tuple[dict[str, Any], dict[str, Any]]
"""Ours and theirs."""


def latency(times: Histogram) -> dict[str, float]:
    """In seconds, with how many they are."""
    found: dict[str, float] = {"count": times.count, "least": times.smallest / 1e9, "mean": times.mean / 1e9}
    for percent in PERCENTILES:
        found[f"p{percent:g}"] = times.percentile(percent) / 1e9
    return found | {"most": times.largest / 1e9}


def _direction(receiver: dict[str, Any], sender: dict[str, Any], before: Counted | None, shape: Shape) -> Direction:
    """From what both ends have counted; `before`: what the sender's and the receiver's counts were at its beginning."""
    earlier_sender, earlier_receiver = before or ({}, {})
    got, had = receiver["received"], earlier_receiver.get("received", NOTHING)
    sent, had_sent = sender["sent"], earlier_sender.get("sent", NOTHING)
    seconds = (receiver["elapsed_ns"] - earlier_receiver.get("elapsed_ns", 0)) / 1e9
    received_bytes, messages = got["bytes"] - had["bytes"], got["messages"] - had["messages"]
    lost = max(0, got["lost"] - had["lost"])
    counted = shape != "stream"
    return Direction(
        seconds=seconds,
        sent_bytes=sent["bytes"] - had_sent["bytes"],
        received_bytes=received_bytes,
        bits_per_second=8 * received_bytes / seconds if seconds else 0.0,
        messages=messages if counted else None,
        messages_per_second=(messages / seconds if seconds else 0.0) if counted else None,
        lost=lost if counted else None,
        lost_fraction=(lost / (lost + messages) if lost else 0.0) if counted else None,
        reordered=got["reordered"] - had["reordered"] if counted else None,
        duplicates=got["duplicates"] - had["duplicates"] if counted else None,
        jitter_seconds=got["jitter_ns"] / 1e9 if counted else None,
        retransmits=sent["retransmits"] - had_sent["retransmits"],
    )


def _cpu(counted: dict[str, Any]) -> float:
    """Share of one core."""
    return counted["cpu_ns"] / counted["elapsed_ns"] if counted.get("elapsed_ns") else 0.0


PERCENTILES = (50, 90, 99, 99.9)
NOTHING: dict[str, Any] = {
    "bytes": 0, "messages": 0, "lost": 0, "reordered": 0, "duplicates": 0, "retransmits": 0,
}  # fmt: skip
