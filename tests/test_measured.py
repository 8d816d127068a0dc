"""A test that is measured again: when it passes, when it fails, and that its fixtures reach it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.measured import RUNS, measured_again


@pytest.mark.parametrize("misses", range(RUNS + 1))
def test_one_good_run_is_enough(misses: int) -> None:
    runs: list[int] = []

    @measured_again
    def test() -> None:
        runs.append(len(runs))
        assert len(runs) > misses

    if misses < RUNS:
        test()
        assert len(runs) == misses + 1
    else:
        with pytest.raises(AssertionError):
            test()
        assert len(runs) == RUNS


def test_what_is_no_miss_is_raised_at_once() -> None:
    runs: list[int] = []

    @measured_again
    def test() -> None:
        runs.append(1)
        raise LookupError

    with pytest.raises(LookupError):
        test()
    assert runs == [1]


@measured_again
def test_fixtures_are_given(tmp_path: Path) -> None:
    assert tmp_path.is_dir()
