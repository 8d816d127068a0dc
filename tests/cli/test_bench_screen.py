"""What is printed of a measurement."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from socketkit import Endpoint
from socketkit.cli import bench_screen
from socketkit.cli.bench_screen import Curves, Screen
from socketkit.inspect.measuring.counting import Side
from socketkit.inspect.measuring.histogram import Histogram
from socketkit.inspect.measuring.measurement import Measurement
from socketkit.inspect.measuring.plan import Plan
from socketkit.inspect.measuring.protocol import MEASURED


def measured(address: str, **plan: Any) -> Measurement:
    """As after one second of 100 messages, of which every tenth was lost."""
    measurement = Measurement(Endpoint.parse(address), Plan(message_bytes=1_000, **plan))
    report, sender, receiver = measurement.report, Side(0, 1), Side(1, 0)
    report.peer = "udp://127.0.0.1:5201"
    for side in (sender, receiver):
        side.begin(0, 0)
    sender.outgoing[0].sent(MEASURED, 100, 100_000)
    for number in range(100):
        if number % 10:
            receiver.incoming[0].arrivals.note(MEASURED, number, 0, 0, 1_000)
    told = [sender.report(1_000_000_000, 500_000_000), receiver.report(1_000_000_000, 250_000_000)]
    report.ours, report.theirs = told if report.plan.up else reversed(told)
    report.idle = report.loaded = Histogram([1_000_000, 2_000_000])
    report.add_interval(({}, {}), report.loaded)
    return measurement


def shown(measurement: Measurement, capsys: pytest.CaptureFixture[str]) -> list[str]:
    with Screen(measurement) as screen:
        for interval in measurement.report.intervals:
            screen.tell(interval)
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines() if line.strip()]


def test_datagrams(capsys: pytest.CaptureFixture[str]) -> None:
    measurement = measured("udp://localhost:5201", bits_per_second=1_000_000)
    measurement.report.complete = True
    lines = shown(measurement, capsys)
    assert lines[:3] == [
        "udp://127.0.0.1:5201: 1 flow of datagrams of 1,000 bytes up at 1.00 Mbit/s for 10.0 s",
        "seconds up messages/s lost jitter latency p99",
        "0-1 720 kbit/s 90 10 (10.00%) 0.00 µs 1.00 ms 2.00 ms",
    ]
    assert "up 90.0 kB 720 kbit/s 90 90 10 (10.000%) 0 0.00 µs" in lines
    assert "under load 1.00 ms 1.00 ms 2.00 ms 2.00 ms 2.00 ms 2.00 ms" in lines
    assert lines[-1] == "CPU: 50% of a core here, 25% there"


def test_streams(capsys: pytest.CaptureFixture[str]) -> None:
    measurement = measured("tls://localhost:5201", up=False, down=True, flows=2)
    measurement.report.ciphers = ("TLS13_AES_256_GCM_SHA384", "X25519MLKEM768")
    lines = shown(measurement, capsys)
    assert lines[0] == "udp://127.0.0.1:5201: 2 streams down for 10.0 s, AES_256_GCM_SHA384"
    assert lines[1] == "seconds down latency p99"
    assert "cut short after 1.00 s" in lines
    assert "down 90.0 kB 720 kbit/s 0 segments" in lines


def test_nothing_is_said_of_what_never_began(capsys: pytest.CaptureFixture[str]) -> None:
    measurement = Measurement(Endpoint.parse("tcp://localhost:1"), Plan())
    assert shown(measurement, capsys) == []


def test_the_curve_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_screen, "PLOT_ROWS", 2)
    measurement = Measurement(Endpoint.parse("tcp://localhost:1"), Plan())
    moved: list[Any] = [None, (0.0, {"up": 0}), (0.1, {"up": 1}), (1.0, {"up": 1_000_000}), (2.0, {"up": 1_500_000})]
    monkeypatch.setattr(measurement, "moved", lambda: moved.pop(0))
    curves = Curves(measurement)
    for _ in range(4):
        curves.drawn()
    console = Console(file=io.StringIO(), width=80)
    console.print(curves.drawn())
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [line.rstrip() for line in lines] == ["up 8.00 Mbit/s █", "             0 ██"]
