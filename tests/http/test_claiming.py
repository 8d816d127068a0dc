"""Which part comes next."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socketkit.http import claiming
from socketkit.http.claiming import MOST_PART_BYTES, PART_BYTES, Claims
from socketkit.http.partial import Partial


def partial(total: int | None, *done: tuple[int, int]) -> Partial:
    made = Partial(Path("file"), "https://a.example/file", overwrite=False)
    made.total = total
    made.done = list(done)
    return made


def test_parts_do_not_overlap_and_come_back() -> None:
    claims = Claims(partial(3 * PART_BYTES), 4)
    assert not claims
    first, second, third = claims.take(), claims.take(), claims.take()
    assert (first, second, third) == tuple((n * PART_BYTES, (n + 1) * PART_BYTES) for n in range(3))
    assert claims.take() is None
    assert claims and second is not None
    claims.give_back(second)
    assert claims.take() == second
    claims.clear()
    assert not claims and claims.take() == first


def test_large_parts_first_and_smaller_ones_at_the_end() -> None:
    total = 100 * PART_BYTES
    assert Claims(partial(total), 2).take() == (0, 25 * PART_BYTES)
    assert Claims(partial(total, (0, 96 * PART_BYTES)), 2).take() == (96 * PART_BYTES, 97 * PART_BYTES)
    assert Claims(partial(1_000 * MOST_PART_BYTES), 1).take() == (0, MOST_PART_BYTES)


@pytest.mark.parametrize("total", [None, 0])
def test_nothing_is_missing(total: int | None) -> None:
    assert Claims(partial(total), 3).take() is None
    assert Claims(partial(10, (0, 10)), 3).take() is None


@given(
    st.integers(1, 60),
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=4),
    st.integers(1, 5),
    st.lists(st.integers(0, 9), max_size=10),
)
def test_all_that_is_missing_is_taken_once(
    total: int, there: list[tuple[int, int]], connections: int, returned: list[int]
) -> None:
    covered = sorted({at for start, end in there for at in range(start, min(end, total))})
    done: list[tuple[int, int]] = []
    for at in covered:
        if done and done[-1][1] == at:
            done[-1] = (done[-1][0], at + 1)
        else:
            done.append((at, at + 1))
    before, claiming.PART_BYTES = claiming.PART_BYTES, 7
    try:
        claims = Claims(partial(total, *done), connections)
        taken: list[tuple[int, int]] = []
        while (part := claims.take()) is not None:
            taken.append(part)
            if returned and returned.pop() > 6:
                claims.give_back(taken.pop())
    finally:
        claiming.PART_BYTES = before
    bytes_taken = [at for start, end in taken for at in range(start, end)]
    assert sorted(bytes_taken) == [at for at in range(total) if at not in covered]
