"""`socketkit trace`, as it is run; what it finds behind routers is in tests/inspect/test_trace.py."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from socket import AF_INET

import pytest

from socketkit.cli import main
from socketkit.cli.trace import lines
from socketkit.inspect.icmp import Refusal
from socketkit.inspect.route import Route
from socketkit.inspect.trace import trace
from tests.cli.programs import Result, Start
from tests.cli.terminals import Terminal

Ran = Callable[..., Result]

EXPIRED = Refusal(AF_INET, 11, 0)


@pytest.mark.slow
def test_report(ran: Ran) -> None:
    result = ran("trace", "-n", "-i", "0.2", "127.0.0.1", "::1")
    assert (result.status, result.err) == (0, "")
    first, header, hop, _, second, *_, total = result.out.decode().splitlines()
    assert (first, second) == ("127.0.0.1: 1 hop", "::1: 1 hop")
    assert header.split() == ["loss", "sent", "last", "avg", "best", "worst", "stddev"]
    assert hop.split()[:5] == ["1", "127.0.0.1", "0", "%", "3"]
    assert total.startswith("2 routes, 3 rounds with UDP in ")


@pytest.mark.slow
def test_json(ran: Ran) -> None:
    result = ran("trace", "--json", "-c", "1", "--tcp", "127.0.0.1")
    assert result.status == 0
    answer, done, summary = map(json.loads, result.out.splitlines())
    assert (answer["event"], answer["hop"], answer["address"], answer["reached"]) == ("answer", 1, "127.0.0.1", True)
    assert (done["event"], done["round"], done["hops"], done["reached"]) == ("round", 1, 1, True)
    assert (summary["event"], summary["kind"], summary["names"]) == ("summary", "tcp", {"127.0.0.1": "localhost"})
    assert summary["routes"][0]["hops"][0]["received"] == 1


@pytest.mark.slow
def test_name_without_address(ran: Ran) -> None:
    result = ran("trace", "-c", "1", "nowhere.invalid")
    assert result.status == 2
    assert result.out.decode().startswith("nowhere.invalid: ")


@pytest.mark.slow
def test_live_table_until_interrupted(start: Start, socketkit: Start) -> None:
    terminal = Terminal()
    try:
        options = {**terminal.options(), "stdin": terminal.theirs, "stdout": terminal.theirs}
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "24"}
        command = socketkit("trace", "-n", "-i", "0.2", "127.0.0.1", env=environment, **options)
        terminal.asked("3 rounds with UDP")
        command.interrupt()
        assert command.process.wait(20) == 0
        shown = terminal.shown
        assert "127.0.0.1: 1 hop" in shown
        assert "\x1b[2K" in shown  # it was written over
        assert "Traceback" not in shown
    finally:
        terminal.close()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["192.0.2.0/24"], "is a network"),
        (["-i", "0.1", "127.0.0.1"], "interval"),
        (["-W", "61", "127.0.0.1"], "wait"),
        (["-c", "0", "127.0.0.1"], "rounds"),
        (["-m", "65", "127.0.0.1"], "1 to 64"),
        (["--icmp", "-p", "9", "127.0.0.1"], "ICMP has no ports"),
        (["--tcp", "--mtu", "127.0.0.1"], "MTU"),
        (["-6", "127.0.0.1"], "127.0.0.1 is no IPv6 address"),
        ([], "HOST"),
    ],
)
def test_wrong_command_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", *words]) == 2
    assert said in capsys.readouterr().err


def test_rows() -> None:
    tracing = trace(["192.0.2.9"], rounds=3, find_mtu=True)
    route = Route("nas", "192.0.2.9", tracing.plan, 0)
    tracing.routes.append(route)
    tracing.names["198.51.100.1"] = "gateway.test"
    assert [text for text, _ in lines(tracing)] == [
        "nas (192.0.2.9): not reached",
        "",
        "1 route, 0 rounds with UDP in 0.00 µs",
    ]
    for number, router in enumerate(("198.51.100.1", "198.51.100.2")):
        while probe := route.take(number * 1_000_000_000):
            route.sent(probe, number * 1_000_000_000)
            if probe.hops == 1:
                route.answered(probe.number, router, EXPIRED, number * 1_000_000_000 + 2_000_000)
            if probe.hops == 3:
                route.narrow["198.51.100.3"] = 1400
                refusal = Refusal(AF_INET, 3, 13)
                route.answered(probe.number, "198.51.100.3", refusal, number * 1_000_000_000 + 2_000_000)
    route.expire(10_000_000_000)
    shown = lines(tracing)
    assert shown[0] == ("nas (192.0.2.9): ends at hop 3, administratively prohibited", "bold")
    rows = [(re.split(r"  +", text.strip()), style) for text, style in shown[2:6]]
    assert rows == [
        (["1", "gateway.test (198.51.100.1)", "0 %", "2", *["2.00 ms"] * 4, "0.00 µs"], ""),
        (["198.51.100.2"], ""),
        (["2", "*", "100 %", "2"], "dim"),
        (["3", "198.51.100.3", "0 %", "2", *["2.00 ms"] * 4, "0.00 µs", "!F-1400 !X"], "red"),
    ]
    route.reached, route.mtu_bytes = True, 1400
    assert lines(tracing)[0][0] == "nas (192.0.2.9): 3 hops, MTU 1,400"
