"""Loss, order, copies and jitter, against a reference that remembers everything."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socketkit.inspect.measuring.arrivals import REMEMBERED, Arrivals


def arrived(numbers: list[int]) -> Arrivals:
    arrivals = Arrivals()
    for number in numbers:
        arrivals.note(number, 0, 0)
    return arrivals


@given(st.lists(st.integers(0, 40)))
def test_each_message_is_new_late_or_a_copy(numbers: list[int]) -> None:
    arrivals, seen, late = arrived(numbers), set[int](), 0
    for number in numbers:
        late += number not in seen and any(other > number for other in seen)
        seen.add(number)
    assert arrivals.received == len(seen)
    assert arrivals.reordered == late
    assert arrivals.duplicates == len(numbers) - len(seen)
    assert arrivals.lost() == (max(seen) + 1 - len(seen) if seen else 0)
    assert arrivals.lost(50) == 50 - len(seen)


def test_jitter_is_that_of_rfc_3550() -> None:
    """Appendix A.8, on whole nanoseconds: J += (1/16) * (|D| - J)."""
    chance = random.Random(7)
    sent = [20_000_000 * number for number in range(500)]
    came = [time + 5_000_000 + chance.randrange(3_000_000) for time in sent]
    jitter, transit = 0.0, came[0] - sent[0]
    arrivals = Arrivals()
    arrivals.note(0, sent[0], came[0])
    for number in range(1, 500):
        d = (came[number] - sent[number]) - transit
        transit = came[number] - sent[number]
        jitter += (1.0 / 16.0) * (abs(d) - jitter)
        arrivals.note(number, sent[number], came[number])
    assert arrivals.jitter_ns == pytest.approx(jitter)
    assert 500_000 < arrivals.jitter_ns < 1_500_000


def test_clocks_that_disagree_make_no_jitter() -> None:
    arrivals = Arrivals()
    for number in range(100):
        arrivals.note(number, number * 1000 + 10**18, number * 1000)
    assert arrivals.jitter_ns == 0


def test_a_number_from_far_ahead_costs_no_memory() -> None:
    arrivals = arrived([0, 1 << 60])
    assert len(arrivals._missing) == REMEMBERED
    assert arrivals.lost() == (1 << 60) - 1
    arrivals.note(1 << 61, 0, 0)
    assert len(arrivals._missing) == REMEMBERED
    arrivals.note(1, 0, 0)
    assert arrivals.duplicates == 1  # forgotten, so it looks like one
