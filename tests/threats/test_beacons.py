"""The score of beacons: timers are found in time, people and queues are not; its bounds hold for whatever comes."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socketkit.threats.beacons import FLAGGED, HIGH, MOST_CONTACTS, Beacons, Contact, regularity

PLACE = "198.51.100.7:443/tcp"


def fed(times: list[float], sizes: list[int] | None = None, trust: float = 0.0) -> Beacons:
    beacons = Beacons(lambda executable, destination: trust)
    for at, size in zip(times, sizes or [400] * len(times), strict=True):
        beacons.add(Contact(at, "/opt/a", PLACE, size))
    return beacons


def timer(period: float, jitter: float, seconds: float, seed: int) -> list[float]:
    luck, at, times = random.Random(seed), 0.0, []
    while at < seconds:
        times.append(at)
        at += period * (1 + luck.uniform(-jitter, jitter))
    return times


@pytest.mark.parametrize("seed", range(50))
def test_beacon_of_5_s_with_a_fifth_of_jitter_is_found_within_2_minutes(seed: int) -> None:
    (score,) = fed(timer(5, 0.2, 120, seed)).scores(FLAGGED)
    assert score.period_seconds == pytest.approx(5, abs=1)


def test_clockwork_is_high_and_trust_takes_from_it() -> None:
    times = timer(30, 0.0, 1200, 0)
    assert fed(times).scores()[0].score >= HIGH
    assert fed(times, trust=0.3).scores()[0].score == pytest.approx(0.7, abs=0.01)
    assert not fed(times, trust=0.6).scores(FLAGGED)
    assert not fed(times, trust=0.9).scores(FLAGGED)


# --- honest programs: what they do in an hour


def browser(luck: random.Random) -> Iterator[tuple[float, int]]:
    """Pages, each with a burst of connections, as long apart as a person reads."""
    at = 0.0
    while at < 3600:
        for _ in range(luck.randint(1, 6)):
            yield at, luck.randint(500, 500_000)
            at += luck.expovariate(5)
        at += luck.expovariate(1 / 40)


def mail(luck: random.Random) -> Iterator[tuple[float, int]]:
    """Sent when somebody writes, several at a time."""
    at = 0.0
    while at < 3600:
        yield at, luck.randint(2_000, 90_000)
        at += luck.choice([2.0, 5.0, 300.0, 900.0]) * luck.uniform(0.3, 2)


def service(luck: random.Random) -> Iterator[tuple[float, int]]:
    """A program that asks its database when it is called."""
    at = 0.0
    while at < 3600:
        yield at, luck.randint(300, 3_000)
        at += luck.expovariate(1 / 3)


def update(luck: random.Random) -> Iterator[tuple[float, int]]:
    """Packages one after the other, each as long as it is large."""
    at = 0.0
    while at < 600:
        size = int(luck.lognormvariate(11, 2))
        yield at, size
        at += 0.6 + size / 200_000


def shell(luck: random.Random) -> Iterator[tuple[float, int]]:
    """Somebody who works: now and then, in runs."""
    at = 0.0
    while at < 3600:
        yield at, luck.randint(1_000, 20_000)
        at += luck.paretovariate(0.8) * 2


@pytest.mark.parametrize("trace", [browser, mail, service, update, shell])
@pytest.mark.parametrize("seed", range(20))
def test_no_honest_program_is_flagged(trace: object, seed: int) -> None:
    times, sizes = zip(*trace(random.Random(seed)), strict=True)  # type: ignore[operator]
    assert not fed(list(times), list(sizes)).scores(FLAGGED)


# --- whatever comes


def test_random_gaps_score_nothing() -> None:
    luck = random.Random(7)
    assert regularity([luck.expovariate(1) for _ in range(20_000)]) < 0.02
    assert regularity([1.0] * 9) == 1.0
    assert regularity([0.0] * 9) == 0.0


GAPS = st.lists(st.floats(0, 1e6, allow_nan=False), min_size=1, max_size=100)


@given(GAPS, st.integers(0, 2**40), st.floats(0, 1))
def test_a_score_is_between_0_and_1_and_trust_never_adds(gaps: list[float], size: int, trust: float) -> None:
    times = [sum(gaps[:number]) for number in range(len(gaps) + 1)]
    alone, trusted = (fed(times, [size] * len(times), much).scores() for much in (0.0, trust))
    for before, after in zip(alone, trusted, strict=True):
        assert 0 <= after.score <= before.score <= 1
        assert after.score <= after.regularity


@given(GAPS, st.floats(0.01, 1000))
def test_regularity_does_not_depend_on_the_unit(gaps: list[float], factor: float) -> None:
    assert regularity([gap * factor for gap in gaps]) == pytest.approx(regularity(gaps), abs=1e-6)


def test_a_burst_is_one_contact() -> None:
    beacons = fed([at + part / 10 for at in range(0, 600, 30) for part in range(3)])
    assert beacons.scores()[0].contacts == 20


def test_it_is_bounded() -> None:
    beacons = Beacons(pairs=10)
    for number in range(100):
        beacons.add(Contact(number, "a", str(number)))
    assert len(beacons) == 10
    for number in range(2 * MOST_CONTACTS):
        beacons.add(Contact(1000.0 + number, "a", "b"))
    assert beacons.scores()[0].contacts == MOST_CONTACTS
