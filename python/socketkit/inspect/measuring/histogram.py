"""`Histogram`: times counted in buckets that grow with them, so that percentiles cost the same memory after any time.

Log-linear, as HdrHistogram's: exact below 128 ns, above it 64 buckets between two powers of two, so that what is read
differs from what was counted by less than 1 part in 64. The package of that name on PyPI brings two dependencies of its
own for what is this page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Histogram:
    """Counts of times in nanoseconds. At most 3,776 buckets, for times of up to 2^64 ns (584 years)."""

    __slots__ = ("_buckets", "count", "largest", "smallest", "total")

    def __init__(self, times_ns: Iterable[int] = ()) -> None:
        self._buckets: dict[int, int] = {}
        self.count = 0
        self.total = 0
        self.smallest = 0
        self.largest = 0
        for time_ns in times_ns:
            self.add(time_ns)

    def add(self, time_ns: int) -> None:
        """Count a time; a negative one (a clock was set back) is 0, and one above 2^64 ns is that."""
        time_ns = min(max(time_ns, 0), MOST_NS)
        bucket = _bucket(time_ns)
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1
        self.smallest = min(self.smallest, time_ns) if self.count else time_ns
        self.largest = max(self.largest, time_ns)
        self.total += time_ns
        self.count += 1

    def merge(self, other: Histogram) -> None:
        """Count all that `other` has counted."""
        if not other.count:
            return
        for bucket, count in other._buckets.items():
            self._buckets[bucket] = self._buckets.get(bucket, 0) + count
        self.smallest = min(self.smallest, other.smallest) if self.count else other.smallest
        self.largest = max(self.largest, other.largest)
        self.total += other.total
        self.count += other.count

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else 0.0

    def percentile(self, percent: float) -> int:
        """The time that `percent` of all do not exceed (nearest rank), in nanoseconds; 0 if nothing was counted."""
        rank = max(1, -int(-self.count * percent // 100))
        passed = 0
        for bucket in sorted(self._buckets):
            passed += self._buckets[bucket]
            if passed >= rank:
                return min(max(_middle(bucket), self.smallest), self.largest)
        return 0


def _bucket(time_ns: int) -> int:
    shift = max(0, time_ns.bit_length() - BITS - 1)
    return (shift << BITS) + (time_ns >> shift)


def _middle(bucket: int) -> int:
    shift = max(0, (bucket >> BITS) - 1)
    return ((bucket - (shift << BITS)) << shift) + (1 << shift >> 1)


BITS = 6
MOST_NS = (1 << 64) - 1
