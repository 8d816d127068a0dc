"""A steady rate, for a sender that wakes when it wakes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from socketkit.inspect.measuring.pacing import CATCH_UP_NS, Pacer


@given(st.integers(1_000_000, 10_000_000_000), st.lists(st.integers(0, 5_000_000), min_size=1, max_size=300))
def test_sends_what_the_rate_allows_and_one(bits_per_second: int, naps_ns: list[int]) -> None:
    pacer, now_ns, sent = Pacer(bits_per_second, 1_000, 64, 0), 0, 0
    for nap_ns in naps_ns:
        now_ns += nap_ns
        while count := pacer.due(now_ns):
            assert count <= 64
            sent += count
        assert (
            sent == int(now_ns / (8_000e9 / bits_per_second)) + 1
            or abs(sent - 1 - now_ns / (8_000e9 / bits_per_second)) < 1.001
        )


def test_sleeps_until_the_next_is_due() -> None:
    pacer = Pacer(8_000_000, 1_000, 64, 0)  # one in a millisecond
    assert (pacer.due(0), pacer.due(0), pacer.wait_seconds(0)) == (1, 0, 0.001)
    assert pacer.due(1_000_000) == 1


def test_a_long_pause_becomes_no_flood() -> None:
    pacer = Pacer(8_000_000, 1_000, 10_000, 0)
    assert pacer.due(100 * CATCH_UP_NS) == 1_001


def test_without_a_rate_everything_is_due() -> None:
    pacer = Pacer(0, 1_000, 64, 0)
    assert [pacer.due(0), pacer.due(0), pacer.wait_seconds(0)] == [64, 64, 0]
