"""What both ends have counted, as one report."""

from __future__ import annotations

import json

from socketkit.inspect.measuring.counting import Side
from socketkit.inspect.measuring.histogram import Histogram
from socketkit.inspect.measuring.plan import Plan
from socketkit.inspect.measuring.protocol import MEASURED
from socketkit.inspect.measuring.reporting import Report

SECOND = 1_000_000_000


def counted(report: Report, ours: Side, theirs: Side, now_ns: int) -> None:
    report.ours, report.theirs = ours.report(now_ns, now_ns // 2), theirs.report(now_ns, now_ns // 4)


def test_intervals_add_up_to_the_whole() -> None:
    report, before = Report(Plan(message_bytes=1_000), "datagrams"), ({}, {})  # type: ignore[var-annotated]
    ours, theirs = Side(0, 1), Side(1, 0)
    for side in (ours, theirs):
        side.begin(0, 0)
    for second in range(3):
        ours.outgoing[0].sent(MEASURED, 10, 10_000)
        for number in range(10 * second, 10 * second + 10):
            if number % 5:
                theirs.incoming[0].arrivals.note(MEASURED, number, 0, 0, 1_000)
        counted(report, ours, theirs, (second + 1) * SECOND)
        before = report.add_interval(before, Histogram([1_000_000]))
    ups = [interval.up for interval in report.intervals if interval.up]
    whole = report.up
    assert whole is not None
    assert report.down is None
    assert [up.bits_per_second for up in ups] == [64_000] * 3
    assert sum(up.received_bytes for up in ups) == whole.received_bytes == 24_000
    assert sum(up.sent_bytes for up in ups) == whole.sent_bytes == 30_000
    assert sum(up.lost or 0 for up in ups) == whole.lost == 6
    assert whole.lost_fraction == 0.2
    assert whole.messages_per_second == 8
    assert report.intervals[1].start_seconds == 1
    assert report.cpu == (0.5, 0.25)
    assert report.intervals[0].latency["p50"] == 0.001


def test_a_stream_has_no_messages() -> None:
    report, ours, theirs = Report(Plan(up=False, down=True), "stream"), Side(1, 0), Side(0, 1)
    assert (report.up, report.down, report.begun, report.cpu) == (None, None, False, (0.0, 0.0))
    counted(report, ours, theirs, SECOND)
    assert report.up is None
    assert report.down is not None
    assert (report.down.messages, report.down.lost, report.down.jitter_seconds) == (None, None, None)
    assert report.down.bits_per_second == 0


def test_json_has_all_of_it() -> None:
    report = Report(Plan(), "stream", endpoint="tcp://localhost:1")
    words = json.loads(json.dumps(report.to_json()))
    assert words["endpoint"] == "tcp://localhost:1"
    assert words["plan"]["seconds"] == 10
    assert words["latency"]["idle"] == {
        "count": 0, "least": 0, "mean": 0, "p50": 0, "p90": 0, "p99": 0, "p99.9": 0, "most": 0,
    }  # fmt: skip
    assert words["complete"] is False
