"""`socketkit relay` between programs that we did not write."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.programs import Result, Start

Ran = Callable[..., Result]
Find = Callable[[str], str]

pytestmark = pytest.mark.slow


@pytest.fixture
def target(start: Start, program: Find) -> str:
    """An echo by socat, for any number of connections."""
    listening = start([program("socat"), "-d", "-d", "TCP-LISTEN:0,bind=127.0.0.1,fork,backlog=128", "EXEC:cat"])
    return f"tcp://127.0.0.1:{listening.said('listening on').rpartition(':')[2]}"


def test_50_connections_at_once(socketkit: Start, start: Start, program: Find, target: str) -> None:
    relay = socketkit("relay", "--json", "tcp://localhost:0", target)
    words = [program("socat"), "-t", "20", "-", f"TCP:127.0.0.1:{relay.port}"]
    callers = [start(words, stdin=subprocess.PIPE) for _ in range(50)]
    for number, caller in enumerate(callers):
        caller.write(b"caller %d\n" % number)
    for number, caller in enumerate(callers):  # all are open now
        assert caller.read(len(b"caller %d\n" % number)) == b"caller %d\n" % number
    count = sum(len(caller.finish(b"bye\n").out) for caller in callers)
    assert count == 50 * len(b"bye\n")
    relay.interrupt()
    result = relay.finish()
    assert result.status == 130
    summary = json.loads(result.out)
    carried = sum(len(b"caller %d\nbye\n" % number) for number in range(50))
    assert summary.pop("seconds") > 0
    assert summary == {
        "endpoint": relay.endpoint,
        "target": target,
        "connections": 50,
        "failed": 0,
        "a_to_b_bytes": carried,
        "b_to_a_bytes": carried,
    }


def test_from_unix_to_tcp_with_half_close(socketkit: Start, start: Start, program: Find, tmp_path: Path) -> None:
    sort = start([program("socat"), "-d", "-d", "-t", "20", "TCP-LISTEN:0,bind=127.0.0.1", "EXEC:sort"])
    url = f"tcp://127.0.0.1:{sort.said('listening on').rpartition(':')[2]}"
    relay = socketkit("relay", f"unix://{tmp_path}/socket", url)
    relay.said("listening on")
    caller = start([program("nc"), "-N", "-U", str(tmp_path / "socket")], stdin=subprocess.PIPE)
    assert caller.finish(b"b\na\n").out == b"a\nb\n"
    relay.process.send_signal(signal.SIGTERM)
    result = relay.finish()
    assert (result.status, result.out) == (143, b"")
    assert result.err.splitlines()[1].startswith("relayed 1 connection: 4 B to the target, 4 B back in ")
    assert not (tmp_path / "socket").exists()


def test_20_mb_there_and_back(socketkit: Start, target: str) -> None:
    relay = socketkit("relay", "tcp://localhost:0", target)
    data = os.urandom(20_000_000)
    assert socketkit("connect", relay.endpoint, stdin=subprocess.PIPE).finish(data).out == data


def test_target_is_missing(socketkit: Start, tmp_path: Path) -> None:
    relay = socketkit("relay", "--json", "tcp4://localhost:0", f"unix://{tmp_path}/nobody")
    port = relay.port
    with pytest.raises(ConnectionResetError):  # by the time that it is connected, or a moment later
        with socket.create_connection(("127.0.0.1", port), timeout=10) as caller:
            caller.recv(1)
    relay.interrupt()
    result = relay.finish()
    assert result.status == 130
    assert json.loads(result.out)["failed"] == 1


def test_stream_must_be_told_what_a_message_is(ran: Ran) -> None:
    for addresses in (("tcp://localhost:0", "udp://localhost:1"), ("udp://localhost:0", "tcp://localhost:1")):
        result = ran("relay", *addresses)
        assert result.status == 2
        assert "tcp:// has no borders between messages" in result.err
        assert "--messages lines or --messages lengths" in result.err
    result = ran("relay", "--messages", "lines", "tcp://localhost:0", "tcp://localhost:1")
    assert (result.status, "both sides are streams" in result.err) == (2, True)
    result = ran("relay", "--answer-ratio", "2", "tcp://localhost:0", "tcp://localhost:1")
    assert (result.status, "--answer-ratio is for datagrams" in result.err) == (2, True)


def test_target_that_cannot_be_is_told_at_once(ran: Ran) -> None:
    result = ran("relay", "udp://localhost:0", "udp://192.0.2.1:1")
    assert result.status == 1
    assert "?plaintext=yes to allow it" in result.err


def test_udp_of_socat_through_two_relays_to_records_under_tls(socketkit: Start, start: Start, program: Find) -> None:
    server = socketkit("serve", "echo", "seqpacket+tls://localhost:0")
    second = socketkit("relay", "--json", "seqpacket+tcp://localhost:0", server.endpoint)
    first = socketkit("relay", "udp4://127.0.0.1:0", second.endpoint)
    words = [program("socat"), "-t", "20", "-", f"UDP:127.0.0.1:{first.port}"]
    callers = [start(words, stdin=subprocess.PIPE) for _ in range(5)]
    for number, caller in enumerate(callers):
        for size in (1, 8_000):
            message = bytes([65 + number]) * size
            caller.write(message)
            assert caller.read(size) == message
    first.interrupt()
    result = first.finish()
    assert result.status == 130
    assert "relayed 5 peers: 10 messages (40.0 kB) to the target, 10 messages (40.0 kB) back in " in result.err
    second.interrupt()
    summary = json.loads(second.finish().out)
    assert (summary["connections"], summary["failed"]) == (5, 0)
    assert summary["a_to_b_messages"] == summary["b_to_a_messages"] == 10
    assert summary["a_to_b_bytes"] == 5 * 8_001


def test_lines_of_netcat_become_packets_of_socat(socketkit: Start, start: Start, program: Find, tmp_path: Path) -> None:
    inbox = start([program("socat"), "-d", "-d", "-u", f"UNIX-LISTEN:{tmp_path}/inbox,type=5", "SYSTEM:cat -A"])
    inbox.said("listening on")
    relay = socketkit("relay", "--messages", "lines", "tcp4://localhost:0", f"seqpacket+unix://{tmp_path}/inbox")
    caller = start([program("nc"), "-N", "127.0.0.1", str(relay.port)], stdin=subprocess.PIPE)
    caller.finish(b"one\ntwo\n")
    assert inbox.finish().out == b"onetwo"  # without their line ends
    relay.interrupt()
    assert "relayed 1 connection: 2 messages (6 B) to the target, 0 messages (0 B) back in " in relay.finish().err


def test_port_is_taken(ran: Ran, target: str) -> None:
    result = ran("relay", target, "tcp://localhost:1")
    assert result.status == 1
    assert result.err.startswith(f"socketkit: listen {target}: already in use")


def test_plain_text_beyond_this_machine_must_be_written_out(ran: Ran) -> None:
    for listen_url, target_url in (("tcp://*:0", "tcp://localhost:1"), ("tcp://localhost:0", "tcp://192.0.2.1:1")):
        result = ran("relay", listen_url, target_url)
        assert result.status == 1
        assert "?plaintext=yes to allow it" in result.err
