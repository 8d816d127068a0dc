"""`socketkit ping`, as it is run; what crosses a chain of routers is in tests/inspect/test_ping.py."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable

import pytest

from socketkit.cli import main
from socketkit.cli.ping import _lines, _statistics, said
from socketkit.inspect.ping import Lost, Refused, Reply, Unsent, ping
from tests.cli.programs import Result, Start
from tests.cli.terminals import Terminal

Ran = Callable[..., Result]

needs_sockets = pytest.mark.privileged


@needs_sockets
@pytest.mark.slow
def test_one_host(ran: Ran) -> None:
    result = ran("ping", "-c", "2", "-i", "0.2", "127.0.0.1")
    assert (result.status, result.err) == (0, "")
    first, second, counts, times = result.out.decode().splitlines()
    assert re.fullmatch(r"reply 1 from 127\.0\.0\.1: [\d.]+ [µm]s, 64 hops left", first)
    assert second.startswith("reply 2 ")
    assert counts.startswith("127.0.0.1: 2 sent, 2 received, 0 % lost in ")
    assert re.fullmatch(r"rtt min [\d.]+ \S+, avg [\d.]+ \S+, max [\d.]+ \S+, mdev [\d.]+ \S+", times)


@needs_sockets
@pytest.mark.slow
def test_many_hosts(ran: Ran) -> None:
    result = ran("ping", "-c", "1", "127.0.0.1", "::1", "127.0.0.2")
    assert (result.status, result.err) == (0, "")
    header, *rows, total = result.out.decode().splitlines()
    assert header.split() == ["host", "sent", "received", "lost", "last", "min", "avg", "max", "mdev"]
    assert [row.split()[:3] for row in rows] == [[host, "1", "1"] for host in ("127.0.0.1", "::1", "127.0.0.2")]
    assert total.startswith("3 hosts: 3 answered, 0 did not, in ")


@needs_sockets
@pytest.mark.slow
def test_json(ran: Ran) -> None:
    result = ran("ping", "--json", "-c", "2", "-i", "0.2", "-4", "localhost")
    assert result.status == 0
    *events, summary = map(json.loads, result.out.splitlines())
    assert [(event["event"], event["host"], event["address"], event["sequence"]) for event in events] == [
        ("reply", "localhost", "127.0.0.1", 1),
        ("reply", "localhost", "127.0.0.1", 2),
    ]
    assert summary["event"] == "summary"
    assert summary["hosts"][0]["received"] == 2


@needs_sockets
@pytest.mark.slow
def test_name_without_address(ran: Ran) -> None:
    result = ran("ping", "-c", "1", "nowhere.invalid", "127.0.0.1")
    assert result.status == 2
    assert "nowhere.invalid" in result.out.decode()
    assert "2 hosts: 1 answered, 1 did not, in " in result.out.decode()


@needs_sockets
@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_signals(socketkit: Start, number: signal.Signals, status: int) -> None:
    command = socketkit("ping", "127.0.0.1", env={**os.environ, "PYTHONUNBUFFERED": "1"})
    first = b""
    while not first.endswith(b"\n"):
        first += command.read(1)
    command.process.send_signal(number)
    result = command.finish()
    assert (result.status, result.err) == (status, "")
    assert (b"1 sent, 1 received, 0 % lost" in result.out) == (number == signal.SIGINT)


@needs_sockets
@pytest.mark.slow
def test_live_table_on_a_terminal(start: Start, socketkit: Start) -> None:
    terminal = Terminal()
    try:
        options = {**terminal.options(), "stdin": terminal.theirs, "stdout": terminal.theirs}
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "24"}
        command = socketkit("ping", "127.0.0.1", "::1", env=environment, **options)
        terminal.asked("2 hosts: 2 answered, 0 did not", times=2)
        command.interrupt()
        assert command.process.wait(20) == 0
        shown = terminal.asked("2 hosts: 2 answered, 0 did not", times=3)
        assert "\x1b[2K" in shown  # it was written over
        assert "Traceback" not in shown
    finally:
        terminal.close()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["10.0.0.0/8"], "10.0.0.0/8 has 16,777,216 addresses, and one run at most 65,536"),
        (["-i", "0.1", "127.0.0.1"], "--flood"),
        (["-s", "70000", "127.0.0.1"], "65,507"),
        (["-W", "0", "127.0.0.1"], "wait"),
        (["-c", "0", "127.0.0.1"], "-c"),
        (["--hops", "256", "127.0.0.1"], "hops"),
        (["-6", "127.0.0.1"], "127.0.0.1 is no IPv6 address"),
        ([], "HOST"),
    ],
)
def test_wrong_command_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ping", *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            Reply("nas", "192.0.2.1", 3, 0.0021, None, 56, duplicate=True),
            "reply 3 from nas (192.0.2.1): 2.10 ms, duplicate",
        ),
        (
            Reply("192.0.2.1", "192.0.2.1", 3, 2.1, 9, 56, reordered=True, late=True, corrupted="byte 1"),
            "reply 3 from 192.0.2.1: 2.10 s, 9 hops left, reordered, late, CORRUPTED: byte 1",
        ),
        (
            Refused("192.0.2.1", "192.0.2.1", 1, "198.51.100.1", "host unreachable"),
            "no reply 1 from 192.0.2.1: 198.51.100.1 says: host unreachable",
        ),
        (Lost("192.0.2.1", "192.0.2.1", 1), "no reply 1 from 192.0.2.1 in time"),
        (Unsent("192.0.2.1", "192.0.2.1", 1, "no route"), "not sent 1 to 192.0.2.1: no route"),
        (Unsent("nowhere", "", 0, "unknown"), "nowhere: unknown"),
    ],
)
def test_events_in_words(event: Reply | Refused | Lost | Unsent, line: str) -> None:
    assert said(event) == line


def test_statistics_without_a_reply() -> None:
    pinging = ping(["192.0.2.0/30", "192.0.2.9"])
    for target in pinging._known:
        pinging.core.add(target, 0)
    swept, _, named = pinging.hosts
    named.transmitted, named.errors, named.remark = 1, 1, "host unreachable"
    assert _statistics(named, 1) == "192.0.2.9: 1 sent, 0 received, 100 % lost, 1 error in 1.00 s"
    swept.remark = "host unreachable"  # as a router, or this machine itself, says of an address not in use
    lines = _lines(pinging)
    assert [text.split()[0] for text, _ in lines] == ["host", "192.0.2.9", "3"]
    assert lines[1][1] == "red"
    swept.duplicates, swept.corrupted, swept.remark = 2, 1, "byte 9 came back changed"
    swept.transmitted = 3
    swept.add(0.001)
    swept.add(0.003)
    text, style = _lines(pinging)[1]
    assert re.split(r"  +", text) == [
        *("192.0.2.1", "3", "2", "33.3 %", "3.00 ms", "1.00 ms", "2.00 ms", "3.00 ms", "1.00 ms"),
        "byte 9 came back changed, 2 duplicates, 1 corrupted",
    ]
    assert style == "yellow"


def test_rows_that_no_terminal_has_room_for_are_counted_only() -> None:
    pinging = ping([f"192.0.2.{last}" for last in range(1, 101)])
    for target in pinging._known:
        pinging.core.add(target, 0)
    lines = _lines(pinging, 10)
    assert len(lines) == len(_lines(pinging)) == 102
    assert [text.split()[0] for text, _ in lines[:11]] == ["host", *(f"192.0.2.{last}" for last in range(1, 11))]
    assert {text for text, _ in lines[11:-1]} == {""}
    assert len(_lines(pinging, 200)) == 102
