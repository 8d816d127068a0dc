"""Round-trip times as they come in."""

from __future__ import annotations

from statistics import fmean, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socketkit.inspect.spread import Spread


def test_nothing_has_come() -> None:
    spread = Spread()
    assert (spread.received, spread.last, spread.min, spread.max) == (0, None, None, None)
    assert (spread.average, spread.deviation) == (None, None)


@given(st.lists(st.floats(0, 10), min_size=1, max_size=50))
def test_whatever_comes(times: list[float]) -> None:
    spread = Spread()
    for seconds in times:
        spread.add(seconds)
    assert (spread.received, spread.last, spread.min, spread.max) == (len(times), times[-1], min(times), max(times))
    assert spread.average == pytest.approx(fmean(times))
    assert spread.deviation == pytest.approx(pstdev(times), abs=1e-6)
