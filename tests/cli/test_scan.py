"""`socketkit scan`, as it is run; what it finds behind filters is in tests/inspect/test_scan.py."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from socketkit.cli.scan import described, endpoint, lines
from socketkit.inspect.identifying import Tls
from socketkit.inspect.scan import HostReport, OpenPort
from tests.cli.programs import Result
from tests.keys import A

Ran = Callable[..., Result]

TLS = Tls("TLSv1.3", A, "nas.example", "nas.example", ("nas.example",), datetime(2020, 5, 6, tzinfo=UTC))


def port(
    number: int, address: str = "192.0.2.7", tls: Tls | None = None, service: str = "", usual: str = ""
) -> OpenPort:
    return OpenPort(address, address, number, "tcp", service, "", usual, tls, 0.001)


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield int(listener.getsockname()[1])


def test_report(ran: Ran, listening: int) -> None:
    result = ran("scan", "--connect", "--no-identify", "-p", str(listening), "127.0.0.1")
    assert (result.status, result.err) == (0, "")
    host, row, total = result.out.decode().splitlines()
    assert (host, row.split()[0]) == ("127.0.0.1: 1 open", f"tcp://127.0.0.1:{listening}")
    assert total.startswith("1 host, 1 open port, in ")
    assert total.endswith(", by connecting, 1 round")


def test_json(ran: Ran, listening: int) -> None:
    result = ran("scan", "--connect", "--no-identify", "--json", "-p", str(listening), "127.0.0.1")
    found, summary = map(json.loads, result.out.splitlines())
    assert (found["event"], found["endpoint"], found["tls"]) == ("open", f"tcp://127.0.0.1:{listening}", None)
    assert (summary["event"], summary["method"], summary["notes"]) == ("summary", "connect", [])
    assert summary["hosts"][0]["open"][0]["port"] == listening


def test_compared_with_what_was_declared(ran: Ran, listening: int, tmp_path: Path) -> None:
    file = tmp_path / "ports.toml"
    words = ("scan", "--connect", "--no-identify", "-p", str(listening), "--expect", str(file))
    file.write_text(f'"127.0.0.1" = ["{listening}/tcp"]')
    result = ran(*words)
    assert (result.status, result.out.decode().splitlines()[-1].endswith("as declared")) == (0, True)
    file.write_text('"127.0.0.1" = []')
    result = ran(*words)
    assert result.status == 1
    assert f"NOT AS DECLARED: 127.0.0.1 {listening}/tcp: open, but not declared" in result.out.decode()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["0.0.0.0/0"], "one run at most 65,536"),
        (["-p", "0", "127.0.0.1"], "is no port"),
        (["--rate", "0", "127.0.0.1"], "the rate must be"),
        ([], "which hosts?"),
        (["--expect", "/nowhere", "127.0.0.1"], "/nowhere: no such path"),
    ],
)
def test_refused(ran: Ran, words: list[str], said: str) -> None:
    result = ran("scan", *words)
    assert result.status == 2
    assert said in result.err


@pytest.mark.slow
def test_name_without_address(ran: Ran) -> None:
    result = ran("scan", "--connect", "-p", "80", "nowhere.invalid")
    assert result.status == 2
    assert result.out.decode().startswith("nowhere.invalid: ")


def test_lines() -> None:
    open_ports = (port(22, service="ssh"), port(443, tls=TLS), port(5432, usual="postgresql"))
    report = HostReport("nas.example", "192.0.2.7", open_ports, 9, 0, 1)
    silent = HostReport("192.0.2.8", "192.0.2.8", (), 0, 10, 0)
    host, ssh, tls, database = lines([report, silent])
    assert host == "nas.example (192.0.2.7): 3 open, 9 closed, 1 prohibited"
    assert ssh.split() == ["tcp://192.0.2.7:22", "ssh"]
    assert tls.split(maxsplit=1)[1] == f"TLS 1.3, for nas.example, until 2020-05-06, EXPIRED, {A}"
    # A name that only the number says is none that was found.
    assert database.split() == ["tcp://192.0.2.7:5432", "(postgresql?)"]
    assert lines([silent]) == ["192.0.2.8: 0 open, 10 silent"]


def test_endpoints_connect() -> None:
    assert endpoint(port(22)) == "tcp://192.0.2.7:22"
    assert endpoint(port(443, "2001:db8::7", TLS)) == f"tls://[2001:db8::7]:443?pin={A}"
    assert described(port(443, tls=TLS))["tls"]["expires"] == "2020-05-06T00:00:00+00:00"
