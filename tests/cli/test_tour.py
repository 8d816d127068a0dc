"""`socketkit tour`, as it is run."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from socketkit.cli import main, stops
from socketkit.cli.stops import Stop
from tests.cli.programs import Result, Start

Ran = Callable[..., Result]

pytestmark = pytest.mark.slow


def test_table(ran: Ran) -> None:
    result = ran("tour")
    assert (result.status, result.err) == (0, "")
    table = result.out.decode()
    for group in ("streams", "datagrams", "sequenced packets", "raw sockets", "uses"):
        assert f" {group} " in table
    for heading in ("endpoint", "peer", "encrypted", "bytes", "rate", "latency"):
        assert heading in table
    for endpoint in (
        "tcp4://localhost:",
        "tls://localhost:",
        "unix:///",
        "unix://@tour-",
        "tls+unix:///",
        "mem://tour",
        "udp4://127.0.0.1:",
        "seqpacket+tls://localhost:",
    ):
        assert endpoint in table
    # Who may not ping is told how he may.
    assert ("icmp://127.0.0.1" in table) != ("your group may not ping" in table)
    assert "icmp://127.0.0.1" in table or os.geteuid() != 0
    assert "FAILED" not in table


def test_json(ran: Ran) -> None:
    result = ran("tour", "--json")
    assert result.status == 0
    tour = json.loads(result.out)
    assert tour["works"] is True
    for stop in tour["stops"]:
        assert stop["outcome"] in ("works", "absent")
        if stop["outcome"] == "absent":
            assert stop["reason"]
            continue
        assert stop["received_bytes"] > 0
        assert stop["latency_seconds"] > 0
        if stop["group"].startswith("uses"):
            assert stop["sent_bytes"] + stop["received_bytes"] > 10_000_000
        elif not stop["group"].startswith("raw"):
            assert stop["received_bytes"] >= stop["sent_bytes"] > 10_000_000
            assert stop["bytes_per_second"] > 0
    assert [stop["encrypted"] for stop in tour["stops"] if stop["endpoint"].startswith("tcp4")] == [False]
    assert [stop["key_exchange"] for stop in tour["stops"] if "tls" in stop["endpoint"]] == ["X25519MLKEM768"] * 5


def test_utf8_is_not_needed(ran: Ran) -> None:
    result = ran("tour", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (result.status, result.err) == (0, "")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_ends_it_and_leaves_nothing(
    socketkit: Start, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    command = socketkit("tour", env={**os.environ, "TMPDIR": str(tmp_path)})
    deadline = time.monotonic() + 20
    while not list(tmp_path.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    command.process.send_signal(number)
    result = command.finish()
    assert (result.status, result.err) == (status, "")
    assert not list(tmp_path.iterdir())


def test_nobody_reads_it(socketkit: Start, closed_pipe: int) -> None:
    assert socketkit("tour", "--json", stdout=closed_pipe).finish().status == 141


def test_failed_stop_is_an_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(
        stops, "STOPS", [Stop("nobody's port", "tcp4://192.0.2.1:0?plaintext=yes"), Stop("in the process", "mem://")]
    )
    assert main(["tour", "--json"]) == 1
    tour = json.loads(capsys.readouterr().out)
    assert tour["works"] is False
    failed, works = tour["stops"]
    assert (failed["outcome"], works["outcome"]) == ("failed", "works")
    assert failed["reason"].startswith("listen tcp4://192.0.2.1:0?plaintext=yes: no such address on this machine")
    assert main(["tour"]) == 1
    assert "1 FAILED" in capsys.readouterr().out
