"""Percentiles from buckets: as good as they promise to be, whatever is counted."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socketkit.inspect.measuring.histogram import MOST_NS, Histogram

TIMES = st.lists(st.integers(0, MOST_NS), min_size=1, max_size=200)


@given(TIMES, st.sampled_from([0.0, 1.0, 50.0, 90.0, 99.0, 99.9, 100.0]))
def test_percentile_is_within_a_64th_of_the_exact_one(times: list[int], percent: float) -> None:
    exact = sorted(times)[max(1, math.ceil(len(times) * percent / 100)) - 1]
    assert abs(Histogram(times).percentile(percent) - exact) <= exact / 64


@given(TIMES)
def test_extremes_count_and_mean_are_exact(times: list[int]) -> None:
    histogram = Histogram(times)
    assert (histogram.smallest, histogram.largest, histogram.count) == (min(times), max(times), len(times))
    assert histogram.mean == sum(times) / len(times)
    assert histogram.percentile(100) <= max(times)


@given(TIMES, TIMES)
def test_merged_is_as_counted_together(left: list[int], right: list[int]) -> None:
    merged, together = Histogram(left), Histogram(left + right)
    merged.merge(Histogram(right))
    merged.merge(Histogram())
    assert [merged.percentile(percent) for percent in range(101)] == [
        together.percentile(percent) for percent in range(101)
    ]
    assert (merged.total, merged.smallest, merged.largest) == (together.total, together.smallest, together.largest)


@given(st.lists(st.integers(0, 127), min_size=1))
def test_short_times_are_exact(times: list[int]) -> None:
    assert Histogram(times).percentile(50) == sorted(times)[(len(times) + 1) // 2 - 1]


def test_memory_is_bounded() -> None:
    histogram = Histogram(
        (1 << power) + part for power in range(64) for part in range(0, 1 << power, 1 + (1 << power >> 7))
    )
    assert len(histogram._buckets) <= 3_776


@pytest.mark.parametrize(("time_ns", "counted_ns"), [(-5, 0), (MOST_NS + 1, MOST_NS)])
def test_what_is_no_time_counts_as_the_nearest_one(time_ns: int, counted_ns: int) -> None:
    assert Histogram([time_ns]).percentile(50) == counted_ns


def test_nothing_counted() -> None:
    empty = Histogram()
    assert (empty.percentile(50), empty.mean, empty.smallest, empty.largest) == (0, 0.0, 0, 0)
    empty.merge(Histogram([7]))
    assert empty.smallest == 7
