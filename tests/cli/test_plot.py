"""A curve in blocks."""

from __future__ import annotations

from socketkit.cli.plot import plot


def test_heights() -> None:
    assert plot([0, 1, 2, 3, 4], 10, 1, 4) == [" ▂▄▆█"]
    assert plot([0, 4, 8, 6, 9], 10, 2, 8) == ["  █▄█", " ████"]


def test_the_last_ones_are_shown() -> None:
    assert plot([8, 8, 0, 1], 2, 1, 8) == [" ▁"]


def test_nothing() -> None:
    assert plot([], 10, 2, 0) == ["", ""]
    assert plot([0, 0], 10, 1, 0) == ["  "]
