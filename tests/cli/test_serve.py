"""`socketkit serve` with clients that we did not write."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from socketkit import Endpoint
from tests.cli.programs import Result, Start

Ran = Callable[..., Result]
Find = Callable[[str], str]

pytestmark = pytest.mark.slow


def test_echo(socketkit: Start, start: Start, program: Find) -> None:
    server = socketkit("serve", "echo", "tcp://localhost:0")
    data = os.urandom(3_000_000)
    clients = [
        start([program("socat"), "-t", "20", "-", f"TCP:localhost:{server.port}"], stdin=subprocess.PIPE)
        for _ in range(3)
    ]
    assert [client.finish(data).out == data for client in clients] == [True] * 3
    server.interrupt()
    result = server.finish()
    assert (result.status, result.out) == (130, b"")
    lines = result.err.splitlines()
    assert sum(line.startswith("connection from tcp://") for line in lines) == 3
    gone = [line for line in lines if " has gone: " in line]
    assert len(gone) == 3 and all("received 3.00 MB, sent 3.00 MB in " in line for line in gone)
    assert lines[-1] == "served 3 connections: received 9.00 MB, sent 9.00 MB"


def test_discard(socketkit: Start, start: Start, program: Find) -> None:
    server = socketkit("serve", "--json", "discard", "tcp://localhost:0")
    client = start([program("nc"), "-N", "127.0.0.1", str(server.port)], stdin=subprocess.PIPE)
    assert client.finish(bytes(1_000_000)) == Result(0, b"", "")
    server.process.send_signal(signal.SIGTERM)
    result = server.finish()
    assert result.status == 143
    assert [event["event"] for event in result.events] == ["listening", "joined", "left", "ended"]
    summary = result.events[-1]
    stats = summary.pop("stats")
    assert summary == {
        "event": "ended",
        "reason": "SIGTERM",
        "endpoint": server.endpoint,
        "connections": 1,
        "received_bytes": 1_000_000,
        "sent_bytes": 0,
    }
    assert (stats.pop("accepted"), stats.pop("sources")) == (1, {})
    assert set(stats.values()) == {0}


@pytest.mark.parametrize("json_wanted", [False, True])
def test_says_what_its_limits_did(socketkit: Start, json_wanted: bool) -> None:
    server = socketkit("serve", *(["--json"] if json_wanted else []), "echo", "tls://localhost:0")
    address = ("127.0.0.1", Endpoint.parse(server.endpoint).port or 0)
    with socket.create_connection(address) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")  # no TLS
        client.settimeout(10)
        with suppress(ConnectionResetError):
            while client.recv(100):
                pass
    server.interrupt()
    result = server.finish()
    if json_wanted:
        assert result.events[-1]["stats"]["refused_handshake"] == 1
    else:
        assert result.err.endswith("limits: 1 handshake failed or took too long\n")


def test_time_is_that_of_rfc_867(socketkit: Start, start: Start, program: Find, tmp_path: Path) -> None:
    socketkit("serve", "time", f"unix://{tmp_path}/socket").said("listening on")
    said = start([program("nc"), "-U", str(tmp_path / "socket")], stdin=subprocess.PIPE).output.readline().decode()
    # "Tuesday, February 22, 1982 17:37:43-PST"
    assert re.fullmatch(r"\w+day, \w+ \d{1,2}, \d{4} \d\d:\d\d:\d\d-UTC\r\n", said)
    when = datetime.strptime(said.strip(), "%A, %B %d, %Y %H:%M:%S-UTC").replace(tzinfo=UTC)
    assert abs((datetime.now(UTC) - when).total_seconds()) < 60


def test_curl_is_echoed(socketkit: Start, start: Start, program: Find) -> None:
    server = socketkit("serve", "echo", "tcp://localhost:0")
    curl = start(
        [program("curl"), "-sN", "--max-time", "10", f"telnet://127.0.0.1:{server.port}"], stdin=subprocess.PIPE
    )
    curl.write(b"ping\n")
    assert curl.read(5) == b"ping\n"


def test_open_connections_are_waited_for_until_the_second_ctrl_c(socketkit: Start) -> None:
    server = socketkit("serve", "echo", "tcp4://localhost:0")
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        server.interrupt()
        server.said("ending: 1 connection may finish; Ctrl-C again does not wait")
        server.interrupt()
        result = server.finish()
    assert result.status == 130
    assert "served 1 connection: received 1 B, sent 1 B\n" in result.err


def test_client_that_vanishes_is_no_error(socketkit: Start) -> None:
    server = socketkit("serve", "echo", "tcp4://localhost:0")
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.sendall(b"x")
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"y")
        assert client.recv(1) == b"y"
    server.interrupt()
    assert "rror" not in server.finish().err


def test_unknown_service(ran: Ran) -> None:
    result = ran("serve", "ech", "tcp://localhost:0")
    assert result.status == 2
    assert result.err.count("\n") == 1
    assert "'echo', 'discard', 'time'" in result.err
