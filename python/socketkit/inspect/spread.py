"""Round-trip times as they come in: the last, the smallest, the largest, the mean and how far they are from it.

Nothing is kept of a time but what these need, so it costs the same after the millionth.
"""

from __future__ import annotations

from math import sqrt


class Spread:
    """Times in seconds; None as long as none has come."""

    __slots__ = ("_sum", "_sum_of_squares", "last", "max", "min", "received")

    def __init__(self) -> None:
        self.received = 0
        """How many have come."""
        self.last: float | None = None
        self.min: float | None = None
        self.max: float | None = None
        self._sum = self._sum_of_squares = 0.0

    @property
    def average(self) -> float | None:
        return self._sum / self.received if self.received else None

    @property
    def deviation(self) -> float | None:
        """The standard deviation, which ping calls mdev."""
        if not self.received:
            return None
        mean = self._sum / self.received
        return sqrt(max(0.0, self._sum_of_squares / self.received - mean * mean))

    def add(self, seconds: float) -> None:
        self.received += 1
        self.last = seconds
        self.min = seconds if self.min is None else min(self.min, seconds)
        self.max = seconds if self.max is None else max(self.max, seconds)
        self._sum += seconds
        self._sum_of_squares += seconds * seconds
