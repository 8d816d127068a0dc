"""Counters of both ends, and the phase that they count."""

from __future__ import annotations

from socketkit.inspect.measuring.counting import Incoming, Outgoing, Side
from socketkit.inspect.measuring.protocol import MEASURED, WARM_UP


def test_messages_of_the_warm_up_do_not_count() -> None:
    flow = Incoming()
    flow.arrivals.note(WARM_UP, 0, 0, 0, 100)
    flow.arrivals.note(MEASURED, 0, 0, 0, 100)
    flow.arrivals.note(MEASURED, 1, 0, 0, 100)
    assert (flow.bytes, flow.arrivals.received, flow.arrivals.warm_up) == (200, 2, 1)


def test_a_stream_is_counted_between_begin_and_end() -> None:
    read = 1_000
    side = Side(1, 1)
    side.incoming[0].count_by(lambda: read)
    side.outgoing[0].count_by(lambda: read, lambda: read // 100)
    read = 1_500
    side.begin(10, 1)
    read = 4_000
    side.end(30, 5)
    read = 9_000
    report = side.report(99, 99)
    assert report["received"]["bytes"] == report["sent"]["bytes"] == 2_500
    assert report["sent"]["retransmits"] == 25
    assert (report["elapsed_ns"], report["cpu_ns"], report["ended"]) == (20, 4, True)


def test_numbers_begin_anew_behind_the_warm_up() -> None:
    flow = Outgoing()
    flow.sent(WARM_UP, 5, 500)
    flow.begin()
    flow.sent(WARM_UP, 3, 300)  # was under way
    assert (flow.phase, flow.number, flow.bytes) == (MEASURED, 0, 0)
    flow.sent(MEASURED, 2, 200)
    assert (flow.number, flow.bytes) == (2, 200)


def test_begin_and_end_count_once() -> None:
    side = Side(1, 0)
    assert side.report(5, 5)["elapsed_ns"] == 0
    side.begin(10, 0)
    side.begin(20, 0)
    side.end(30, 0)
    side.end(40, 0)
    assert side.report(50, 0)["elapsed_ns"] == 20


def test_what_was_sent_last_and_lost_is_known_from_the_sender() -> None:
    side = Side(2, 0)
    side.begin(0, 0)
    for flow in side.incoming:
        flow.arrivals.note(MEASURED, 0, 0, 0, 10)
        flow.arrivals.note(MEASURED, 2, 0, 0, 10)
    assert side.report(1, 1)["received"]["lost"] == 2
    assert side.report(1, 1, [5, 3])["received"]["lost"] == 4
