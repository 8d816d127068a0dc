"""The core of trace, on routes that are made up: loss, late and forged answers, ends, changes, narrow networks."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from socket import AF_INET, AF_INET6

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from socketkit.inspect.icmp import Refusal
from socketkit.inspect.route import (
    HOPS_BEHIND,
    MAX_ADDRESSES,
    Answer,
    Probe,
    Round,
    Route,
    RouteEvent,
    RoutePlan,
    Shrunk,
    Silence,
    Untraced,
)
from socketkit.inspect.targets import TargetError

MS = 1_000_000
SECOND = 1_000_000_000
EXPIRED = Refusal(AF_INET, 11, 0)
NO_PORT = Refusal(AF_INET, 3, 3)
HOST = "192.0.2.9"


def router(hop: int) -> str:
    return f"198.51.100.{hop}"


def route(plan: RoutePlan | None = None) -> Route:
    return Route("nas", HOST, plan or RoutePlan(), 0)


def take_all(one: Route, now_ns: int) -> list[Probe]:
    probes = []
    while probe := one.take(now_ns):
        one.sent(probe, now_ns)
        probes.append(probe)
    return probes


def answer(one: Route, probe: Probe, length: int, now_ns: int) -> list[RouteEvent]:
    """What a way of `length` hops says to a probe."""
    if probe.hops < length:
        return one.answered(probe.number, router(probe.hops), EXPIRED, now_ns)
    return one.answered(probe.number, HOST, NO_PORT, now_ns)


def test_first_round_is_whole_after_one_round_trip() -> None:
    one = route()
    probes = take_all(one, 0)
    assert [probe.hops for probe in probes] == list(range(1, 31))
    events = [event for probe in probes for event in answer(one, probe, 4, 10 * MS)]
    assert events == [
        *(Answer("nas", 1, hop, router(hop), 0.010) for hop in (1, 2, 3)),
        Answer("nas", 1, 4, HOST, 0.010, reached=True),
        Round("nas", 1, 4, True, 0.010),
    ]
    assert (one.finished, one.reached, one.end) == (True, True, 4)
    assert one.due_ns() is None


@pytest.mark.parametrize("seed", range(5))
def test_order_of_answers_does_not_matter(seed: int) -> None:
    one = route()
    probes = take_all(one, 0)
    Random(seed).shuffle(probes)
    for probe in probes:
        answer(one, probe, 7, MS)
    assert [list(hop.addresses) for hop in one.hops] == [*([router(hop)] for hop in range(1, 7)), [HOST]]
    assert one.finished


def test_nothing_is_sent_beyond_the_end() -> None:
    one = route()
    early = [probe for probe in (one.take(0) for _ in range(8)) if probe]
    for probe in early:
        answer(one, probe, 4, MS)
    assert take_all(one, MS) == []
    assert (one.finished, one.end) == (True, 4)


def test_later_rounds_ask_only_what_there_is() -> None:
    one = route(RoutePlan(rounds=2))
    for probe in take_all(one, 0):
        answer(one, probe, 4, MS)
    assert one.take(999 * MS) is None
    assert one.due_ns() == SECOND
    assert [probe.hops for probe in take_all(one, SECOND)] == [1, 2, 3, 4]


def test_silent_host() -> None:
    one = route(RoutePlan(rounds=2))
    for probe in take_all(one, 0):
        if probe.hops <= 3:
            one.answered(probe.number, router(probe.hops), EXPIRED, MS)
    later = take_all(one, SECOND)
    assert [probe.hops for probe in later] == list(range(1, 3 + HOPS_BEHIND + 1))
    events = one.expire(2 * SECOND)
    assert events[:27] == [Silence("nas", 1, hop) for hop in range(4, 31)]
    assert events[27] == Round("nas", 1, 4, False, 2.0)
    assert [hop.number for hop in one.hops] == [1, 2, 3, 4]
    assert (one.hops[3].received, one.hops[3].loss) == (0, 1)
    assert not one.reached


def test_statistics_of_a_hop() -> None:
    one = route(RoutePlan(rounds=4))
    for number, milliseconds in enumerate((10, 20, 30, None)):
        now_ns = number * SECOND
        for probe in take_all(one, now_ns):
            if milliseconds:
                answer(one, probe, 2, now_ns + milliseconds * MS)
    one.expire(10 * SECOND)
    first = one.hops[0]
    assert (first.sent, first.received, first.lost, first.loss) == (4, 3, 1, 0.25)
    assert (first.min, first.last, first.max) == (0.010, 0.030, 0.030)
    assert first.average == pytest.approx(0.020)
    assert first.deviation == pytest.approx(0.008165, rel=1e-3)
    assert one.summary()["hops"][0]["loss"] == 0.25


@pytest.mark.parametrize(
    ("refusal", "mark", "words"),
    [
        (Refusal(AF_INET, 3, 1), "!H", "host unreachable"),
        (Refusal(AF_INET, 3, 0), "!N", "network unreachable"),
        (Refusal(AF_INET, 3, 13), "!X", "administratively prohibited"),
        (Refusal(AF_INET6, 1, 0), "!N", "no route to the destination"),
        (NO_PORT, "", "port unreachable"),  # but not by the host itself
    ],
)
def test_route_that_ends_before_the_host(refusal: Refusal, mark: str, words: str) -> None:
    one = route()
    for probe in take_all(one, 0):
        if probe.hops < 3:
            one.answered(probe.number, router(probe.hops), EXPIRED, MS)
        else:
            one.answered(probe.number, router(2), refusal, MS)
    assert (one.end, one.reached, one.remark, one.finished) == (3, False, words, True)
    assert one.hops[2].mark == mark


def test_reply_of_the_host_itself() -> None:
    one = route(RoutePlan("icmp"))
    for probe in take_all(one, 0):
        one.answered(probe.number, HOST, None, MS)
    assert (one.end, one.reached) == (1, True)


def test_forged_and_late_answers_are_ignored() -> None:
    one = route()
    probes = take_all(one, 0)
    assert one.answered(4_000, router(1), EXPIRED, MS) == []
    one.expire(2 * SECOND)
    assert answer(one, probes[0], 4, 2 * SECOND + MS) == []
    assert answer(one, probes[0], 4, 2 * SECOND + MS) == []
    assert one.ignored == 3
    assert one.hops == one._hops[:1]


def test_answer_that_comes_twice_counts_once() -> None:
    one = route()
    (first, *_) = take_all(one, 0)
    answer(one, first, 4, MS)
    assert answer(one, first, 4, 2 * MS) == []
    assert one.hops[0].received == 1


def test_route_that_becomes_shorter_and_longer() -> None:
    one = route(RoutePlan(rounds=10, max_hops=12))
    lengths = (5, 5, 3, 3, 6, 6, 6)
    found = []
    for number, length in enumerate(lengths):
        for probe in take_all(one, number * SECOND):
            answer(one, probe, length, number * SECOND + MS)
        one.expire(number * SECOND + 999 * MS)
        found.append((one.end, one.reached))
    assert found[:4] == [(5, True), (5, True), (3, True), (3, True)]
    assert found[4] == (None, False)  # the last hop is a router now: what is behind is asked in the next round
    assert found[6] == (6, True)
    assert set(one.hops[2].addresses) == {HOST, router(3)}


def test_several_routes_in_turn() -> None:
    one = route(RoutePlan(rounds=None))
    for number in range(20):
        for probe in take_all(one, number * SECOND):
            if probe.hops == 1:
                one.answered(probe.number, f"198.51.100.{number}", EXPIRED, number * SECOND + MS)
            elif probe.hops == 2:
                one.answered(probe.number, HOST, NO_PORT, number * SECOND + MS)
    assert len(one.hops[0].addresses) == MAX_ADDRESSES
    assert one.hops[0].received == 20


def test_router_that_quotes_too_little() -> None:
    one = route()
    before = take_all(one, 0)
    assert one.anonymous(router(1), EXPIRED, MS) == []
    assert one.varied
    again = take_all(one, 2 * MS)
    assert [probe.hops for probe in again] == [probe.hops for probe in before]
    assert answer(one, before[0], 4, 3 * MS) == []
    for probe in again:
        answer(one, probe, 4, 4 * MS)
    assert (one.finished, one.end, one.hops[0].min, one.hops[0].sent) == (True, 4, 0.002, 1)


def test_answer_that_can_only_be_to_one_probe() -> None:
    one = route(RoutePlan(max_hops=1))
    take_all(one, 0)
    events = one.anonymous(router(1), EXPIRED, MS)
    assert events == [Answer("nas", 1, 1, router(1), 0.001), Round("nas", 1, 2 - 1, False, 0.001)]
    assert not one.varied


def test_narrow_networks() -> None:
    one = route(RoutePlan(find_mtu=True))
    first = take_all(one, 0)
    assert {probe.packet_bytes for probe in first} == {65_535}
    assert one.too_large(first[0].number, "", 1500) == [Shrunk("nas", "", 1500)]
    for probe in first[1:]:
        assert one.too_large(probe.number, "", 1500) == []
    second = take_all(one, MS)
    assert {probe.packet_bytes for probe in second} == {1500}
    events: list[RouteEvent] = []
    for probe in second:
        if probe.hops <= 2:
            events += answer(one, probe, 4, 2 * MS)
        else:
            events += one.answered(probe.number, router(2), Refusal(AF_INET, 3, 4, 1400), 2 * MS)
    assert events[2:] == [Shrunk("nas", router(2), 1400)]
    third = take_all(one, 3 * MS)
    assert {(probe.packet_bytes, probe.hops >= 3) for probe in third} == {(1400, True)}
    for probe in third:
        answer(one, probe, 4, 4 * MS)
    assert (one.mtu_bytes, one.narrow, one.reached, one.finished) == (1400, {router(2): 1400}, True, True)
    assert [hop.sent for hop in one.hops] == [1, 1, 1, 1]
    assert [hop["mtu_bytes"] for hop in one.summary()["hops"]] == [None, 1400, None, None]


@pytest.mark.parametrize("mtu_bytes", [0, 67, 65_535, 70_000])
def test_mtu_that_cannot_be_is_ignored(mtu_bytes: int) -> None:
    one = route(RoutePlan(find_mtu=True))
    (first, *_) = take_all(one, 0)
    assert one.answered(first.number, router(1), Refusal(AF_INET, 3, 4, mtu_bytes), MS) == []
    assert one.ignored == 1


def test_what_is_not_sent() -> None:
    one = route(RoutePlan(max_hops=2))
    first, second = take_all(one, 0)
    assert one.unsent(first, "no route", MS) == [Untraced("nas", "no route")]
    assert one.unsent(second, "no route", MS) == [Round("nas", 1, 1, False, 0.001)]
    assert (one.finished, one.remark) == (True, "no route")


def test_stop() -> None:
    one = route(RoutePlan(rounds=None))
    one.take(0)
    one.stop()
    assert one.take(5 * SECOND) is None
    assert one.due_ns() == 2 * SECOND


def test_numbers_start_again() -> None:
    one = route(RoutePlan(rounds=None))
    one._number = 0xFFFF - 1
    assert [probe.number for probe in take_all(one, 0)][:3] == [0xFFFF, 1, 2]


@pytest.mark.parametrize(
    "plan",
    [
        RoutePlan("sctp"),
        RoutePlan(rounds=0),
        RoutePlan(interval_seconds=0.1),
        RoutePlan(interval_seconds=float("nan")),
        RoutePlan(wait_seconds=0),
        RoutePlan(wait_seconds=61),
        RoutePlan(max_hops=0),
        RoutePlan(max_hops=65),
        RoutePlan("tcp", find_mtu=True),
    ],
)
def test_what_is_refused(plan: RoutePlan) -> None:
    with pytest.raises(TargetError):
        route(plan)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.floats(0, 0.95), st.integers(1, 12), st.booleans())
def test_any_network(seed: int, loss: float, length: int, quotes_little: bool) -> None:
    """Whatever is lost and late: it ends, the books balance, and what is waited for stays bounded."""
    random = Random(seed)
    one = route(RoutePlan(rounds=4, interval_seconds=0.2, wait_seconds=0.5, max_hops=15))
    reply: Callable[[Probe, int], list[RouteEvent]] = lambda probe, now_ns: answer(one, probe, length, now_ns)  # noqa: E731
    now_ns, flying, events = 0, [], []
    while not one.finished:
        while probe := one.take(now_ns):
            one.sent(probe, now_ns)
            if random.random() >= loss:
                flying.append((now_ns + random.randrange(700 * MS), probe, one.varied))
        for arrival in [each for each in flying if each[0] <= now_ns]:
            flying.remove(arrival)
            if quotes_little and not arrival[2]:
                events += one.anonymous(router(1), EXPIRED, now_ns)
            else:
                events += reply(arrival[1], now_ns)
        events += one.expire(now_ns)
        now_ns += 10 * MS
        assert now_ns < 20 * SECOND
        assert len(one._waiting) <= 15 * 4
    done = [event for event in events if isinstance(event, Round)]
    assert sorted(event.round for event in done) == [1, 2, 3, 4]
    for hop in one.hops:
        assert 0 <= hop.received <= hop.sent <= 4
        assert 0 <= hop.loss <= 1
