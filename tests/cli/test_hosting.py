"""How a hosted service begins and ends, by `socketkit serve echo`, which is one."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from socketkit.cli import hosting
from tests.cli.programs import Result, Start
from tests.cli.terminals import Terminal

Ran = Callable[..., Result]

pytestmark = pytest.mark.slow


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.close()


def test_for_a_time(ran: Ran) -> None:
    result = ran("serve", "--for", "0.1s", "--json", "echo", "tcp://localhost:0")
    assert result.status == 0
    assert result.events[-1]["reason"] == "its time is over"


def test_no_time(ran: Ran) -> None:
    result = ran("serve", "--for", "soon", "echo", "tcp://localhost:0")
    assert result.status == 2
    assert "a time is a number with s, m, h or d behind it" in result.err


def test_once(socketkit: Start) -> None:
    server = socketkit("serve", "--once", "echo", "tcp4://localhost:0")
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
    result = server.finish()
    assert result.status == 0
    assert result.err.endswith("served 1 connection: received 1 B, sent 1 B\n")


def test_once_is_for_connections(ran: Ran) -> None:
    result = ran("serve", "--once", "echo", "udp://localhost:0")
    assert result.status == 2
    assert "--for ends after a time" in result.err


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_who_is_there_may_finish(socketkit: Start, number: signal.Signals, status: int) -> None:
    server = socketkit("serve", "echo", "tcp4://localhost:0")
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        server.process.send_signal(number)
        server.said("ending: 1 connection may finish; Ctrl-C again does not wait")
        client.sendall(b"y")  # it is still served
        assert client.recv(1) == b"y"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port))
    result = server.finish()
    assert result.status == status
    assert result.err.endswith("served 1 connection: received 2 B, sent 2 B\n")


def test_list_on_a_terminal(socketkit: Start, terminal: Terminal) -> None:
    theirs = terminal.theirs
    server = socketkit(
        "serve", "echo", "tcp4://localhost:0", stdin=theirs, stdout=theirs, stderr=theirs,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100", "LINES": "24"}, **terminal.options(),
    )  # fmt: skip
    port = int(re.findall(r"listening on tcp4://localhost:(\d+)", terminal.asked("q ends"))[0])
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"x" * 1_500)
        terminal.asked("1.50 kB")
        assert f"tcp4://127.0.0.1:{client.getsockname()[1]}" in terminal.shown
        os.write(terminal.ours, b"\x1b[B")
        terminal.asked("> ")
        os.write(terminal.ours, b"x")
        with pytest.raises(ConnectionResetError):
            while client.recv(4_096):
                pass
    terminal.asked("0 connections, 1 before")
    os.write(terminal.ours, b"q")
    assert server.process.wait(20) == 0
    terminal.asked("served 1 connection")


def test_that_which_cannot_be_opened(ran: Ran, socketkit: Start) -> None:
    taken = socketkit("serve", "echo", "tcp4://localhost:0")
    result = ran("serve", "echo", taken.endpoint)
    assert result.status == 1
    assert result.err.count("\n") == 1


WEB = """
import asyncio
from socketkit import serve
from socketkit.cli.commands import socketkit
import click
from socketkit.cli import hosting, hosting_options
from socketkit.hosting import place

@click.command
@hosting_options.ending_options
@hosting_options.place_options
def web(seconds, once, as_json, qr, **options):
    made = place(hosting_options.wanted_of(options))
    hosting.run_hosted(
        lambda hosted: serve(made.endpoint, lambda stream: stream.receive(), identity=made.identity),
        made, hosting.Manner(seconds, once, as_json, qr),
    )

with click.Context(socketkit) as context:
    web.main(WORDS, parent=context, standalone_mode=False)
"""


def web(start: Start, *words: str) -> Result:
    return start([sys.executable, "-c", WEB.replace("WORDS", repr(list(words)))]).finish()


def test_a_link_with_its_code(start: Start) -> None:
    pytest.importorskip("segno", reason="segno is not installed: make setup-dev")
    result = web(start, "--for", "0.1", "--on", "127.0.0.1", "--tls", "--qr")
    assert result.status == 0
    assert re.search(r"listening on https://127\.0\.0\.1:\d+/~[a-z2-9]{26}/\n", result.err)
    assert "▄" in result.err
    assert re.search(r"SHA-256 of its certificate to compare:\n  ([0-9A-F]{2}:){31}[0-9A-F]{2}\n", result.err)


def test_a_link_in_json(start: Start) -> None:
    result = web(start, "--for", "0.1", "--json")
    listening = result.events[0]
    assert re.fullmatch(r"http://localhost:\d+/~[a-z2-9]{26}/", listening["url"])
    assert (listening["browser_fingerprint"], listening["authority"]) == (None, None)


def test_the_summary_names_what_limits_did() -> None:
    peers = SimpleNamespace(served=2, received_bytes=1, sent_bytes=2)
    stub: Any = SimpleNamespace(peers=peers, stats={"idle": 2})
    told = hosting.summary(stub)
    assert told == "served 2 connections: received 1 B, sent 2 B\nlimits: 2 connections had been idle for too long"
