"""Every bound is finite, and values that contradict each other are refused."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest

from socketkit import Limits
from socketkit.limits import CONNECTIONS


def test_defaults_are_finite() -> None:
    for name in Limits.__slots__:
        value = getattr(Limits(), name)
        assert value is None or 0 < value < 1e7
    assert 1 <= Limits().most_connections() <= CONNECTIONS


def test_frozen_equal_and_hashable() -> None:
    assert Limits() == Limits()
    assert hash(Limits(backlog=5)) == hash(Limits(backlog=5))
    with pytest.raises(AttributeError):
        Limits().backlog = 5  # type: ignore[misc]
    with pytest.raises(TypeError):
        Limits(5)  # type: ignore[misc]


@pytest.mark.parametrize("name", ["connect_seconds", "close_seconds", "grace_seconds"])
def test_times(name: str) -> None:
    assert getattr(Limits(**{name: 0}), name) == 0
    for wrong in (-0.001, 1e9, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=f"Limits.{name} must be finite"):
            Limits(**{name: wrong})


@pytest.mark.parametrize("name", ["connections", "backlog", "write_high_bytes"])
def test_counts(name: str) -> None:
    assert getattr(Limits(**{name: 1}, write_low_bytes=0), name) == 1
    for wrong in (0, -1, 1 << 62):
        with pytest.raises(ValueError, match=f"Limits.{name} must be at least 1 and finite"):
            Limits(**{name: wrong})


def test_low_is_not_above_high() -> None:
    Limits(write_high_bytes=10, write_low_bytes=10)
    for wrong in (11, -1):
        with pytest.raises(ValueError, match="between 0 and write_high_bytes"):
            Limits(write_high_bytes=10, write_low_bytes=wrong)


@pytest.fixture
def descriptors() -> Iterator[object]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield lambda count: resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_connections_follow_the_descriptors(descriptors: object) -> None:
    for limit, most in ((132, 90), (64, 28)):
        descriptors(limit)  # type: ignore[operator]
        assert Limits().most_connections() == most
        assert Limits(connections=500).most_connections() == 500
