"""Moments as they are written and shown, in a zone that has summer time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime

import pytest

from socketkit.cli.moments import Zone, parsed


@pytest.fixture(autouse=True)
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("written", "first", "last"),
    [
        ("03:00", "2026-11-22T03:00", "2026-11-22T03:00:59.999"),
        ("3:00", "2026-11-22T03:00", "2026-11-22T03:00:59.999"),
        ("03:00:07", "2026-11-22T03:00:07", "2026-11-22T03:00:07.999"),
        ("12:01", "2026-11-21T12:01", "2026-11-21T12:01:59.999"),  # still to come today
        ("12:00", "2026-11-22T12:00", "2026-11-22T12:00:59.999"),
        ("2026-11-20", "2026-11-20T00:00", "2026-11-20T23:59:59.999"),
        ("2026-11-20T03:00", "2026-11-20T03:00", "2026-11-20T03:00:59.999"),
        ("2026-11-20 03:00:05", "2026-11-20T03:00:05", "2026-11-20T03:00:05.999"),
        ("2026-11-20T03:00:05.5", "2026-11-20T03:00:05.5", "2026-11-20T03:00:05.5"),
        ("2026-11-20T03:00Z", "2026-11-20T04:00", "2026-11-20T04:00:59.999"),
        ("2026-11-20T03:00-05:00", "2026-11-20T09:00", "2026-11-20T09:00:59.999"),
        ("2h", "2026-11-22T10:00", "2026-11-22T10:00"),
        ("1d", "2026-11-21T12:00", "2026-11-21T12:00"),
    ],
)
def test_moments(written: str, first: str, last: str) -> None:
    found = parsed(written, at("2026-11-22T12:00"))
    assert (found.first, found.last) == (at(first), pytest.approx(at(last), abs=1e-6))


@pytest.mark.parametrize("text", ["", "noon", "25:00", "12:60", "2026-13-01", "3", "2x", "12:00:00:00", "-2h", "٣:00"])
def test_no_moments(text: str) -> None:
    with pytest.raises(ValueError, match="is no moment: 03:00, 2026-11-22"):
        parsed(text, at("2026-11-22T12:00"))


def test_a_clock_that_was_set_back_shows_a_time_twice() -> None:
    found = parsed("2026-10-25T02:30", at("2026-11-22T12:00"))
    assert round(found.last - found.first) == 3_660


def test_the_zone_is_shown() -> None:
    winter, summer = at("2026-11-22T03:00"), at("2026-07-01T03:00")
    assert str(Zone(winter)) == "CET (UTC+01:00)"
    assert Zone(winter).text(winter) == "2026-11-22 03:00:00"
    assert Zone(winter).text(summer) == "2026-07-01 03:00:00+02:00"


@pytest.mark.parametrize(("zone", "shown"), [("UTC0", "UTC+00:00"), ("<-0330>3:30", "UTC-03:30")])
def test_zones_without_a_name(zone: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    assert str(Zone(0.0)) == shown
