"""`socketkit audit`, as it is run; what is found is in tests/threats."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from socketkit.cli.audit import lines, status, summary
from socketkit.threats.finding import Check, Finding
from tests.cli.programs import Result

Ran = Callable[..., Result]
OPEN = Check("OP1", "medium", "A port is open", "open-ports")


def finding(severity: str = "medium", subject: str = "tcp://*:80") -> Finding:
    return Finding(OPEN, subject, "it is open", "close it", ("kill 7",), socket=subject, severity=severity)


@pytest.mark.parametrize(
    ("severities", "fail_on", "expected"),
    [
        ([], "info", 0),
        (["low"], "medium", 0),
        (["low"], "low", 3),
        (["medium", "low"], "medium", 3),
        (["high", "low"], "medium", 4),
        (["high"], "never", 0),
    ],
)
def test_exit_status(severities: list[str], fail_on: str, expected: int) -> None:
    assert status([finding(severity) for severity in severities], fail_on) == expected


def test_summary() -> None:
    assert summary([]) == "nothing was found"
    assert summary([finding(), finding("high"), finding()]) == "3 findings: 1 high, 2 medium"
    assert summary([], hidden=2) == "nothing was found (2 more are in the baseline)"


def test_lines_of_many_alike() -> None:
    shown = lines([finding(subject=f"tcp://*:{port}") for port in range(1, 10)], now=0.0)
    assert shown[0] == "MEDIUM  A port is open (OP1, docs/threats/open-ports.md)"
    assert shown[1:5] == ["  tcp://*:1", "    it is open", "    -> close it", "       $ kill 7"]
    assert shown[-2:] == ["  and 4 more like these: --json has all", ""]


# --- as it is run


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("0.0.0.0", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.slow
def test_text(ran: Ran, port: int) -> None:
    result = ran("audit", "--own", f"port={port}")
    assert result.status == 3
    text = result.out.decode()
    assert text.startswith("MEDIUM  A port is open to other machines and not declared (OP1, ")
    assert f"tcp4://*:{port}" in text
    assert "not known: " in result.err


@pytest.mark.slow
def test_json_and_sarif(ran: Ran, port: int) -> None:
    words = ("audit", "--own", f"port={port}", "--fail-on", "never")
    found = [json.loads(line) for line in ran(*words, "--json").out.splitlines()]
    assert "OP1" in {one["id"] for one in found}
    log = json.loads(ran(*words, "--sarif").out)
    assert len(log["runs"][0]["results"]) == len(found)


@pytest.mark.slow
def test_baseline_shows_what_is_new(ran: Ran, port: int, tmp_path: Path) -> None:
    file = str(tmp_path / "known.json")
    assert ran("audit", "--own", f"port={port}", "--write-baseline", file).status == 3
    result = ran("audit", "--own", f"port={port}", "--baseline", file)
    assert (result.status, result.out.decode().startswith("nothing was found (")) == (0, True)
    Path(file).write_text("[]")
    wrong = ran("audit", "--own", f"port={port}", "--baseline", file)
    assert (wrong.status, "no baseline" in wrong.err) == (2, True)


@pytest.mark.slow
def test_expected_port_is_no_finding(ran: Ran, port: int, tmp_path: Path) -> None:
    file = tmp_path / "ports.toml"
    file.write_text(f'localhost = ["{port}/tcp"]\n')
    found = ran("audit", "--own", f"port={port}", "--expect", str(file), "--json").out
    assert b'"OP1"' not in found


@pytest.mark.slow
def test_fix_prints_and_runs_nothing(ran: Ran, port: int) -> None:
    result = ran("audit", "--own", f"port={port}", "--fix")
    text = result.out.decode()
    assert text.startswith("# ")
    assert all(line.startswith(("#", "kill ", "sysctl ", "systemctl ")) for line in text.splitlines())


@pytest.mark.parametrize("words", [("--json", "--sarif"), ("--watch", "--fix"), ("prot=7",)])
def test_wrong_command_lines(ran: Ran, words: tuple[str, ...]) -> None:
    assert ran("audit", *words).status == 2
