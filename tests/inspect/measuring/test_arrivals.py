"""What the engine counts of a bench's messages, against its definition and against one that remembers everything."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from socketkit import Datagram, Endpoint
from socketkit._core import Arrivals, count_arrivals
from socketkit.inspect.measuring.protocol import DATA, HEADER, MEASURED, PROBE, WARM_UP

PEER = Endpoint.parse("udp://192.0.2.1:7")
REMEMBERED = 16_384


class Defined:
    """The definition: of what is missing the last numbers are kept, each by itself."""

    def __init__(self) -> None:
        self.received = self.expected = self.reordered = self.duplicates = 0
        self.jitter_ns = 0.0
        self._transit_ns: int | None = None
        self._missing: dict[int, None] = {}  # in order of their numbers

    def note(self, number: int, sent_ns: int, arrived_ns: int) -> None:
        if number >= self.expected:
            self._missing.update(dict.fromkeys(range(max(self.expected, number - REMEMBERED), number)))
            while len(self._missing) > REMEMBERED:
                del self._missing[next(iter(self._missing))]
            self.expected = number + 1
        elif number in self._missing:
            del self._missing[number]
            self.reordered += 1
        else:
            self.duplicates += 1
            return
        self.received += 1
        transit_ns = arrived_ns - sent_ns
        if self._transit_ns is not None:
            self.jitter_ns += (abs(transit_ns - self._transit_ns) - self.jitter_ns) / 16
        self._transit_ns = transit_ns

    def lost(self, sent: int | None = None) -> int:
        return max(0, max(self.expected, sent or 0) - self.received)


def arrived(numbers: list[int]) -> Arrivals:
    arrivals = Arrivals()
    for number in numbers:
        arrivals.note(MEASURED, number, 0, 0, 10)
    return arrivals


def message(kind: int, phase: int, flow: int, session: int, number: int, sent_ns: int, size: int = 24) -> bytes:
    return HEADER.pack(kind, phase, flow, session, number, sent_ns).ljust(size, b"\0")


@given(st.lists(st.integers(0, 40)))
def test_each_message_is_new_late_or_a_copy(numbers: list[int]) -> None:
    arrivals, seen, late = arrived(numbers), set[int](), 0
    for number in numbers:
        late += number not in seen and any(other > number for other in seen)
        seen.add(number)
    assert arrivals.received == len(seen)
    assert arrivals.reordered == late
    assert arrivals.duplicates == len(numbers) - len(seen)
    assert arrivals.bytes == 10 * len(numbers)
    assert arrivals.lost() == (max(seen) + 1 - len(seen) if seen else 0)
    assert arrivals.lost(50) == 50 - len(seen)


NUMBERS = st.one_of(
    st.integers(0, 30),
    st.integers(REMEMBERED - 10, REMEMBERED + 20),
    st.integers(2 * REMEMBERED - 10, 2 * REMEMBERED + 20),
    st.integers(0, 2**64 - 1),
)
TIMES = st.integers(0, 2**64 - 1)


@settings(deadline=None, max_examples=25)  # the definition takes a tenth of a second for some of them
@given(st.lists(st.tuples(NUMBERS, TIMES, TIMES), max_size=12))
def test_it_counts_as_is_defined(noted: list[tuple[int, int, int]]) -> None:
    arrivals, defined = Arrivals(), Defined()
    for number, sent_ns, arrived_ns in noted:
        arrivals.note(MEASURED, number, sent_ns, arrived_ns, 1)
        defined.note(number, sent_ns, arrived_ns)
    for name in ("received", "expected", "reordered", "duplicates", "jitter_ns"):
        assert getattr(arrivals, name) == getattr(defined, name), name
    assert (arrivals.lost(), arrivals.lost(100)) == (defined.lost(), defined.lost(100))


def test_jitter_is_that_of_rfc_3550() -> None:
    """Appendix A.8, on whole nanoseconds: J += (1/16) * (|D| - J)."""
    chance = random.Random(7)
    sent = [20_000_000 * number for number in range(500)]
    came = [time + 5_000_000 + chance.randrange(3_000_000) for time in sent]
    jitter, transit = 0.0, came[0] - sent[0]
    arrivals = Arrivals()
    arrivals.note(MEASURED, 0, sent[0], came[0], 0)
    for number in range(1, 500):
        d = (came[number] - sent[number]) - transit
        transit = came[number] - sent[number]
        jitter += (1.0 / 16.0) * (abs(d) - jitter)
        arrivals.note(MEASURED, number, sent[number], came[number], 0)
    assert arrivals.jitter_ns == pytest.approx(jitter)
    assert 500_000 < arrivals.jitter_ns < 1_500_000


def test_messages_of_a_connection() -> None:
    """What has no header of a flow is somebody else's, or late."""
    arrivals = Arrivals()
    arrivals.count([message(DATA, MEASURED, 3, 9, number, 100, 50) for number in (0, 2)], 300)
    arrivals.count(
        [b"", b"{}\n", bytes(23), message(PROBE, MEASURED, 3, 9, 1, 100), message(DATA, WARM_UP, 3, 9, 1, 0)], 0
    )
    assert (arrivals.received, arrivals.bytes, arrivals.warm_up, arrivals.lost()) == (2, 100, 1, 1)
    with pytest.raises(TypeError):
        arrivals.count(["text"], 0)  # type: ignore[list-item]


def test_datagrams_are_told_apart_by_session_and_flow() -> None:
    flows = {(9, 0): Arrivals(), (9, 1): Arrivals(), (8, 0): Arrivals()}
    data = [message(DATA, MEASURED, flow, session, number, 0) for number in (0, 1) for session, flow in flows]
    unknown = [message(DATA, MEASURED, 2, 9, 0, 0), message(DATA, MEASURED, 0, 7, 0, 0)]
    other = [message(PROBE, MEASURED, 0, 9, 0, 0), b'{"bench":1,"do":"open","id":1}']
    short = [b"", b"{}", bytes(23)]
    batch = [Datagram(each, PEER) for each in (*data, *unknown, *other, *short)]
    random.Random(1).shuffle(batch)
    rest = count_arrivals(batch, flows, 5)
    assert sorted(datagram.data for datagram in rest) == sorted(other)
    assert [(each.received, each.bytes) for each in flows.values()] == [(2, 48)] * 3


def test_the_kernel_s_time_counts_where_there_is_one() -> None:
    flow = Arrivals()
    for number, stamp in enumerate((1_000, None, 1_160)):
        datagram = Datagram(message(DATA, MEASURED, 0, 9, number, 0), PEER, timestamp_ns=stamp)
        count_arrivals([datagram], {(9, 0): flow}, 1_000)
    assert flow.jitter_ns == 10.0


def test_a_number_from_far_ahead_costs_no_memory() -> None:
    arrivals = arrived([0, 1 << 60])
    assert arrivals.lost() == (1 << 60) - 1
    arrivals.note(MEASURED, 1 << 61, 0, 0, 0)
    arrivals.note(MEASURED, 1, 0, 0, 0)
    assert arrivals.duplicates == 1  # forgotten, so it looks like one
