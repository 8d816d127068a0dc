"""The core of ping, on a network that is made up: what is lost, doubled, late, out of order, changed, forged."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from socket import AF_INET
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from socketkit.inspect import round_trips
from socketkit.inspect.icmp import Echo, Refusal, parse_echo
from socketkit.inspect.round_trips import (
    BURST,
    MAX_PAYLOAD_BYTES,
    Lost,
    Plan,
    Refused,
    Reply,
    Request,
    RoundTrips,
    Unsent,
)
from socketkit.inspect.targets import Target, TargetError

MS = 1_000_000
SECOND = 1_000_000_000
IDENTIFIER = 4711


def target(last: int = 1, host: str | None = None) -> Target:
    address = f"192.0.2.{last}"
    return Target(host or address, AF_INET, (address, 0))


def core(plan: Plan | None = None, *targets: Target) -> RoundTrips:
    made = RoundTrips(plan or Plan(), b"tokentok", b"filling.", 0)
    made.identifiers[AF_INET] = IDENTIFIER
    for each in targets or (target(),):
        made.add(each, 0)
    return made


def take(pinging: RoundTrips, now_ns: int) -> Request:
    request = pinging.take(now_ns)
    assert request is not None
    pinging.sent(request, now_ns)
    return request


def reply(pinging: RoundTrips, request: Request, now_ns: int, **changes: Any) -> Reply | None:
    echo = parse_echo(request.message)
    assert echo is not None
    source = changes.pop("source", pinging.target(request).sockaddr)
    return pinging.replied(AF_INET, echo._replace(kind=0, **changes), source, 60, now_ns)


def test_reply() -> None:
    pinging = core(Plan(requests=1))
    request = take(pinging, 0)
    assert reply(pinging, request, 3 * MS) == Reply("192.0.2.1", "192.0.2.1", 1, 0.003, 60, 56)
    assert pinging.finished
    (host,) = pinging.hosts
    assert (host.transmitted, host.received, host.loss, host.last, host.remark) == (1, 1, 0, 0.003, "")


def test_statistics() -> None:
    pinging = core(Plan(requests=4))
    for number, milliseconds in enumerate((10, 20, 30)):
        request = take(pinging, number * SECOND)
        reply(pinging, request, number * SECOND + milliseconds * MS)
    take(pinging, 3 * SECOND)
    pinging.expire(6 * SECOND)
    (host,) = pinging.hosts
    assert (host.min, host.max, host.loss) == (0.010, 0.030, 0.25)
    assert host.average == pytest.approx(0.020)
    assert host.deviation == pytest.approx(0.008165, rel=1e-3)
    assert host.summary()["rtt_seconds"]["max"] == 0.030
    assert "3 of 4" in repr(host)


def test_schedule() -> None:
    pinging = core(Plan(requests=3, interval_seconds=0.5, wait_seconds=10))
    take(pinging, 0)
    assert pinging.take(499 * MS) is None
    assert pinging.due_ns() == 500 * MS
    take(pinging, 500 * MS)
    # The second one was not late: the third is due a second after the first, whatever happened meanwhile.
    take(pinging, 1000 * MS)
    assert pinging.take(60 * SECOND) is None
    assert pinging.due_ns() == 10 * SECOND


def test_what_was_missed_is_not_sent_in_a_burst() -> None:
    pinging = core(Plan(interval_seconds=1))
    take(pinging, 0)
    take(pinging, 10 * SECOND)
    assert pinging.take(10 * SECOND + 499 * MS) is None
    take(pinging, 10 * SECOND + 500 * MS)


def test_loss_and_late_reply() -> None:
    pinging = core(Plan(requests=1, wait_seconds=1))
    request = take(pinging, 0)
    assert pinging.expire(999 * MS) == []
    assert pinging.expire(1000 * MS) == [Lost("192.0.2.1", "192.0.2.1", 1)]
    assert pinging.finished
    assert pinging.hosts[0].remark == "no reply"
    late = reply(pinging, request, 1500 * MS)
    assert late is not None
    assert late.late
    assert not late.duplicate
    assert (pinging.hosts[0].received, pinging.hosts[0].late, pinging.hosts[0].loss) == (1, 1, 0)


def test_losses_come_in_portions() -> None:
    pinging = core(Plan(requests=1, wait_seconds=1), *(target(1, str(number)) for number in range(10)))
    for _ in range(10):
        take(pinging, 0)
    assert [len(pinging.expire(SECOND, limit=4)) for _ in range(4)] == [4, 4, 2, 0]


def test_duplicate() -> None:
    pinging = core(Plan(requests=2))
    request = take(pinging, 0)
    reply(pinging, request, MS)
    again = reply(pinging, request, 2 * MS)
    assert again is not None
    assert again.duplicate
    host = pinging.hosts[0]
    assert (host.received, host.duplicates, host.max) == (1, 1, 0.001)


def test_reordering() -> None:
    pinging = core(Plan(requests=2, interval_seconds=0.2))
    first, second = take(pinging, 0), take(pinging, 200 * MS)
    for request, expected in ((second, False), (first, True)):
        event = reply(pinging, request, 300 * MS)
        assert event is not None
        assert event.reordered is expected
    assert pinging.hosts[0].reordered == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda payload: payload[:20] + b"\0" + payload[21:], "byte 20 came back as 0x00, sent was 0x69"),
        (lambda payload: payload[:30], "30 bytes came back, sent were 56"),
        (lambda payload: payload + b"!", "57 bytes came back, sent were 56"),
    ],
)
def test_corrupted_payload(change: Callable[[bytes], bytes], words: str) -> None:
    pinging = core()
    request = take(pinging, 0)
    event = reply(pinging, request, MS, payload=change(request.message[8:]))
    assert event is not None
    assert event.corrupted == words
    assert (pinging.hosts[0].corrupted, pinging.hosts[0].remark) == (1, words)


@pytest.mark.parametrize(
    "forgery",
    [
        {"identifier": IDENTIFIER + 1},
        {"sequence": 2},
        {"sequence": 0},
        {"payload": b"x" * 56},
        {"payload": b""},
        {"payload": b"tokento"},
        {"payload": b"tokentok" + b"\xff" * 48, "source": ("198.51.100.1", 0)},
        {"payload": b"x" * 56, "source": ("198.51.100.1", 0)},
    ],
    ids=str,
)
def test_forged_reply_is_ignored(forgery: dict[str, Any]) -> None:
    pinging = core()
    request = take(pinging, 0)
    assert reply(pinging, request, MS, **forgery) is None
    assert (pinging.ignored, pinging.hosts[0].received) == (1, 0)
    assert reply(pinging, request, 2 * MS) is not None


def test_reply_from_another_address_of_the_host() -> None:
    pinging = core()
    request = take(pinging, 0)
    event = reply(pinging, request, MS, source=("198.51.100.1", 0))
    assert event is not None
    assert (event.host, event.address) == ("192.0.2.1", "198.51.100.1")


def test_two_names_of_one_address() -> None:
    pinging = core(Plan(requests=1), target(1, "one"), target(1, "two"))
    first, second = take(pinging, 0), take(pinging, 0)
    assert (pinging.target(first).host, pinging.target(second).host) == ("one", "two")
    event = reply(pinging, second, MS)
    assert event is not None
    assert event.host == "two"


def test_two_names_of_one_address_with_too_small_a_payload() -> None:
    pinging = core(Plan(requests=1, payload_bytes=15), target(1, "one"))
    refused = pinging.add(target(1, "two"), 0)
    assert refused == Unsent("two", "", 0, "it has the address of one: a payload of 16 bytes tells the two apart")


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 15, 16, 17, 1472, MAX_PAYLOAD_BYTES])
def test_sizes(size: int) -> None:
    pinging = core(Plan(payload_bytes=size))
    request = take(pinging, 0)
    assert len(request.message) == 8 + size
    event = reply(pinging, request, MS)
    assert event is not None
    assert (event.payload_bytes, event.corrupted) == (size, "")


def test_error_on_the_way() -> None:
    pinging = core(Plan(requests=1))
    request = take(pinging, 0)
    quoted = parse_echo(request.message)
    assert quoted is not None
    router, refusal = ("198.51.100.7", 0), Refusal(AF_INET, 3, 1)
    for wrong in (quoted._replace(identifier=1), quoted._replace(sequence=9), quoted._replace(payload=b"x" * 20)):
        assert pinging.refused(wrong, target().sockaddr, router, refusal) is None
    assert pinging.refused(quoted, ("192.0.2.9", 0), router, refusal) is not None  # the token is proof enough
    assert pinging.finished
    assert (pinging.ignored, pinging.hosts[0].errors) == (3, 1)
    assert pinging.expire(10 * SECOND) == []


def test_error_that_quotes_eight_bytes() -> None:
    pinging = core(Plan(requests=1))
    request = take(pinging, 0)
    quoted = parse_echo(request.message[:8])
    assert quoted is not None
    assert pinging.refused(quoted, ("192.0.2.9", 0), None, Refusal(AF_INET, 11, 0)) is None
    event = pinging.refused(quoted, target().sockaddr, None, Refusal(AF_INET, 11, 0))
    assert event == Refused("192.0.2.1", "192.0.2.1", 1, "this machine", "hop limit exceeded")
    # It may come twice, and the reply may come nevertheless.
    assert pinging.refused(quoted, target().sockaddr, None, Refusal(AF_INET, 11, 0)) is None
    got = reply(pinging, request, MS)
    assert got is not None
    assert not got.duplicate
    assert pinging.hosts[0].received == 1


def test_unsent() -> None:
    pinging = core(Plan(requests=1))
    request = take(pinging, 0)
    assert pinging.unsent(request, "no route") == Unsent("192.0.2.1", "192.0.2.1", 1, "no route")
    assert pinging.finished
    assert (pinging.hosts[0].transmitted, pinging.hosts[0].errors, pinging.hosts[0].loss) == (1, 1, 1)


def test_postponed_is_sent_a_moment_later_and_counts_once() -> None:
    pinging = core(Plan(requests=1))
    request = take(pinging, 0)
    pinging.postpone(request, MS)
    assert pinging.take(2 * MS) is None
    assert pinging.due_ns() == MS + round_trips.HOLD_NS
    again = take(pinging, MS + round_trips.HOLD_NS)
    assert again.sequence == 1
    assert reply(pinging, again, 8 * MS) is not None
    assert (pinging.hosts[0].transmitted, pinging.finished) == (1, True)


def test_name_without_address() -> None:
    pinging = core(Plan(requests=1))
    assert pinging.unresolved("nowhere.invalid", "unknown") == Unsent("nowhere.invalid", "", 0, "unknown")
    pinging.add(target(2), 0)
    assert [host.host for host in pinging.hosts] == ["192.0.2.1", "nowhere.invalid", "192.0.2.2"]
    take(pinging, 0)
    request = take(pinging, 0)
    event = reply(pinging, request, MS)
    assert event is not None
    assert event.host == "192.0.2.2"


def test_all_hosts_are_asked_at_once_up_to_a_burst() -> None:
    pinging = core(Plan(requests=1), *(target(1, str(number)) for number in range(BURST + 100)))
    sent = 0
    while pinging.take(0):
        sent += 1
    assert sent == BURST
    due_ns = pinging.due_ns()
    assert due_ns is not None
    assert 0 < due_ns < 10 * MS
    while (due_ns := pinging.due_ns()) is not None and due_ns < SECOND:
        while pinging.take(due_ns):
            sent += 1
    assert sent == BURST + 100


def test_flood_follows_the_replies() -> None:
    pinging = core(Plan(interval_seconds=0, flood=True))
    request = take(pinging, 0)
    assert pinging.take(MS) is None
    reply(pinging, request, MS)
    take(pinging, MS)
    assert pinging.take(2 * MS) is None
    take(pinging, MS + round_trips.FLOOD_INTERVAL_NS)


def test_stop() -> None:
    pinging = core()
    request = take(pinging, 0)
    pinging.stop()
    assert pinging.take(5 * SECOND) is None
    assert not pinging.finished
    reply(pinging, request, MS)
    assert pinging.finished
    assert pinging.due_ns() is None


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(round_trips, "REMEMBERED", 10)
    pinging = core(Plan(interval_seconds=0.2))
    requests = []
    for number in range(100):
        requests.append(take(pinging, number * SECOND))
        pinging.expire(number * SECOND)
    assert len(pinging._remembered) <= 10 + 3
    assert reply(pinging, requests[0], 100 * SECOND) is None
    assert reply(pinging, requests[-5], 100 * SECOND) is not None


def test_sequence_goes_on_past_sixteen_bits() -> None:
    pinging = core(Plan(interval_seconds=0, flood=True, wait_seconds=60))
    for number in range(0x10002):
        request = take(pinging, number * 10 * MS)
    assert request.sequence == 0x10002
    event = reply(pinging, request, 0x10002 * 10 * MS)
    assert event is not None
    assert event.sequence == 0x10002
    assert not event.corrupted


@pytest.mark.parametrize(
    "plan",
    [
        Plan(requests=0),
        Plan(payload_bytes=-1),
        Plan(payload_bytes=65_508),
        Plan(wait_seconds=0),
        Plan(wait_seconds=60.1),
        Plan(wait_seconds=float("nan")),
        Plan(interval_seconds=0.19),
        Plan(interval_seconds=-1, flood=True),
        Plan(interval_seconds=float("nan")),
        Plan(interval_seconds=86_401),
    ],
)
def test_what_is_refused(plan: Plan) -> None:
    with pytest.raises(TargetError, match="must"):
        RoundTrips(plan, b"tokentok", b"x", 0)


def test_remedy_for_a_short_interval() -> None:
    with pytest.raises(TargetError, match="--flood"):
        Plan(interval_seconds=0.1).checked()
    assert Plan(interval_seconds=0.001, flood=True).checked()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.floats(0, 0.9), st.floats(0, 0.5), st.integers(1, 20))
def test_any_network(seed: int, loss: float, doubled: float, hosts: int) -> None:
    """Whatever is lost, doubled and late: the books balance, and it ends."""
    random = Random(seed)
    plan = Plan(requests=5, interval_seconds=0.2, wait_seconds=0.5)
    pinging = core(plan, *(target(number) for number in range(1, hosts + 1)))
    now_ns, flying, events = 0, [], []
    while not pinging.finished:
        while request := pinging.take(now_ns):
            if random.random() >= loss:
                flying += [(now_ns + random.randrange(700 * MS), request)] * (1 + (random.random() < doubled))
        for arrival in [each for each in flying if each[0] <= now_ns]:
            flying.remove(arrival)
            events.append(reply(pinging, arrival[1], now_ns))
        events += pinging.expire(now_ns)
        now_ns += 10 * MS
        assert now_ns < 10 * SECOND
    assert None not in events
    assert pinging.ignored == 0
    for host in pinging.hosts:
        mine = [event for event in events if event is not None and event.host == host.host]
        replies = [event for event in mine if isinstance(event, Reply)]
        first = [event for event in replies if not event.duplicate]
        assert host.transmitted == 5
        assert host.received == len(first) == len({event.sequence for event in first})
        assert host.duplicates == len(replies) - len(first)
        lost = {event.sequence for event in mine if isinstance(event, Lost)}
        assert lost | {event.sequence for event in first} == {1, 2, 3, 4, 5}
        assert {event.sequence for event in first if event.late} <= lost


@given(st.binary(max_size=60), st.integers(0, 65535), st.integers(0, 65535), st.integers(0, 255))
def test_any_bytes(payload: bytes, identifier: int, sequence: int, last: int) -> None:
    pinging = core()
    take(pinging, 0)
    source = (f"192.0.2.{last}", 0)
    pinging.replied(AF_INET, Echo(0, identifier, sequence, payload), source, None, MS)
    pinging.refused(Echo(8, identifier, sequence, payload), source, None, Refusal(AF_INET, 3, 1))
