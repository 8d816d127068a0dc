"""Moments as a person writes them (`03:00`, `2026-11-22`, `2h`), and as they are shown: local, with the zone."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import NamedTuple

from .units import parsed_span


class Stretch(NamedTuple):
    """What was written means all of this time, in seconds since 1970: `03:00` is a minute, a date is a day."""

    first: float
    last: float


def parsed(text: str, now: float) -> Stretch:
    """`03:00` today, or yesterday if that is still to come; an ISO date or moment; how long ago. ValueError if none."""
    text = text.strip()
    try:
        return _clock(text, now)
    except ValueError:
        pass
    try:
        return _dated(text)
    except ValueError:
        pass
    try:
        if text[-1:].isdecimal():
            raise ValueError  # three seconds, or three o'clock?
        ago = parsed_span(text)
        return Stretch(now - ago, now - ago)
    except ValueError:
        raise ValueError(f"{text} is no moment: 03:00, 2026-11-22, 2026-11-22T03:00, or how long ago: 2h") from None


def _clock(text: str, now: float) -> Stretch:
    if text.count(":") not in (1, 2) or not text.replace(":", "").isdecimal():
        raise ValueError
    clock = time.fromisoformat(text.rjust(5 if text.count(":") == 1 else 8, "0"))
    moment = datetime.combine(date.fromtimestamp(now), clock)
    if moment.timestamp() > now:
        moment = datetime.combine(date.fromtimestamp(now) - timedelta(days=1), clock)
    return _stretch(moment, timedelta(minutes=1) if text.count(":") == 1 else timedelta(seconds=1))


def _dated(text: str) -> Stretch:
    if "-" not in text[1:]:
        raise ValueError
    if ":" not in text and "T" not in text:
        return _stretch(datetime.combine(date.fromisoformat(text), time()), timedelta(days=1))
    moment = datetime.fromisoformat(text)
    clock = text[11:].partition("+")[0].partition("-")[0].rstrip("Z")
    if "." in clock:
        return Stretch(moment.timestamp(), moment.timestamp())
    return _stretch(moment, timedelta(minutes=1) if clock.count(":") == 1 else timedelta(seconds=1))


def _stretch(moment: datetime, length: timedelta) -> Stretch:
    """Where a clock is set back, what it shows twice is meant both times."""
    end = moment + length if moment.tzinfo else (moment + length).replace(fold=1)
    return Stretch(moment.timestamp(), end.timestamp() - 0.001)  # what is recorded has milliseconds


class Zone:
    """Shows moments in local time. Most have the same distance from UTC, `str` says which; others say theirs."""

    def __init__(self, moment: float) -> None:
        there = datetime.fromtimestamp(moment).astimezone()
        self._offset = there.utcoffset()
        self._name = there.tzname()

    def __str__(self) -> str:
        offset = _signed(self._offset)
        named = self._name and self._name[0].isalpha() and self._name != "UTC"
        return f"{self._name} (UTC{offset})" if named else f"UTC{offset}"

    def text(self, moment: float) -> str:
        there = datetime.fromtimestamp(moment).astimezone()
        shown = there.strftime("%Y-%m-%d %H:%M:%S")
        return shown if there.utcoffset() == self._offset else shown + _signed(there.utcoffset())


def _signed(offset: timedelta | None) -> str:
    minutes = round((offset or timedelta()).total_seconds() / 60)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
