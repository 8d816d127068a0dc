"""`socketkit serve` over messages, with clients that we did not write."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.programs import Result, Start

Ran = Callable[..., Result]
Find = Callable[[str], str]

pytestmark = pytest.mark.slow


def test_echo_over_udp(socketkit: Start, start: Start, program: Find) -> None:
    server = socketkit("serve", "echo", "udp4://127.0.0.1:0")
    port = server.port
    for number in range(3):
        client = start([program("socat"), "-t5", "-", f"UDP:127.0.0.1:{port}"], stdin=subprocess.PIPE)
        client.write(b"hello %d" % number)
        assert client.read(7) == b"hello %d" % number
    server.interrupt()
    result = server.finish()
    assert result.status == 130
    assert result.err.splitlines()[1:] == ["served 3 messages (21 B), sent 3 (21 B)"]


def test_time_over_udp_is_for_who_has_asked_at_length(socketkit: Start, start: Start, program: Find) -> None:
    server = socketkit("serve", "--json", "time", "udp4://127.0.0.1:0")
    port = server.port
    words = [program("nc"), "-u", "-n", "-w", "1", "127.0.0.1", str(port)]
    assert start(words, stdin=subprocess.PIPE).finish(b"?").out == b""
    asked = start(words, stdin=subprocess.PIPE).finish(b"what time is it, in words, if you please?")
    assert re.fullmatch(rb"\w+, \w+ \d+, \d{4} \d\d:\d\d:\d\d-UTC\r\n", asked.out)
    server.interrupt()
    summary = server.finish().events[-1]
    assert summary["endpoint"] == server.endpoint
    stats = summary["stats"]
    assert (stats["received_messages"], stats["sent_messages"], stats["withheld"]) == (2, 1, 1)
    assert (summary["received_bytes"], summary["sent_bytes"]) == (stats["received_bytes"], stats["sent_bytes"])


def test_answer_ratio_allows_more(socketkit: Start, start: Start, program: Find) -> None:
    server = socketkit("serve", "--answer-ratio", "50", "time", "udp4://127.0.0.1:0")
    words = [program("nc"), "-u", "-n", "-w", "1", "127.0.0.1", str(server.port)]
    assert start(words, stdin=subprocess.PIPE).finish(b"?").out.endswith(b"-UTC\r\n")


def test_echo_of_packets(socketkit: Start, start: Start, program: Find, tmp_path: Path) -> None:
    server = socketkit("serve", "--json", "echo", f"seqpacket+unix://{tmp_path}/socket")
    server.said("listening on")
    client = start([program("socat"), "-t20", "-", f"UNIX-CONNECT:{tmp_path}/socket,type=5"], stdin=subprocess.PIPE)
    for message in (b"one", b"three"):
        client.write(message)
        assert client.read(len(message)) == message
    client.input.close()
    client.process.stdin = None
    assert client.finish().status == 0
    server.interrupt()
    summary = server.finish().events[-1]
    assert summary.pop("stats")["accepted"] == 1
    assert summary == {
        "event": "ended",
        "reason": "SIGINT",
        "endpoint": server.endpoint,
        "connections": 1,
        "received_bytes": 8,
        "sent_bytes": 8,
        "received_messages": 2,
        "sent_messages": 2,
    }


def test_records_under_tls(socketkit: Start, ran: Ran) -> None:
    server = socketkit("serve", "echo", "seqpacket+tls://localhost:0")
    assert ran("connect", server.endpoint, data=b"one\n\ntwo\n") == Result(0, b"one\n\ntwo\n", "")
    server.interrupt()
    assert server.finish().err.splitlines()[-1] == "served 1 connection: received 6 B, sent 6 B; 3 messages in, 3 out"


def test_time_and_discard(socketkit: Start, ran: Ran) -> None:
    time = socketkit("serve", "time", "seqpacket+tcp://localhost:0")
    assert ran("connect", time.endpoint).out.endswith(b"-UTC\r\n")
    discard = socketkit("serve", "discard", "seqpacket+tcp://localhost:0")
    assert ran("connect", discard.endpoint, data=b"x\n") == Result(0, b"", "")


def test_answer_ratio_is_for_datagrams(ran: Ran) -> None:
    result = ran("serve", "--answer-ratio", "2", "echo", "tcp://localhost:0")
    assert result.status == 2
    assert "--answer-ratio is for echo and time over datagrams" in result.err
