"""`socketkit bench` and `socketkit serve bench`, two processes that meet."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.programs import Result, Start
from tests.cli.terminals import Terminal
from tests.measured import measured_again

Ran = Callable[..., Result]

pytestmark = pytest.mark.slow

ADDRESSES = [
    "tcp://localhost:0", "tls://localhost:0", "unix://{folder}/s", "tls+unix://{folder}/t", "udp://localhost:0",
    "dgram+unix://{folder}/d", "seqpacket+unix://{folder}/q", "seqpacket+tcp://localhost:0",
    "seqpacket+tls://localhost:0",
]  # fmt: skip


@pytest.mark.parametrize("address", ADDRESSES)
@measured_again
def test_every_type(socketkit: Start, ran: Ran, tmp_path: Path, address: str) -> None:
    server = socketkit("serve", "--json", "bench", address.format(folder=tmp_path))
    said = server.said("on the other side: socketkit bench ")
    (url,) = re.findall(r"bench '?([^']+)'?$", said)
    result = ran("bench", "-t", "0.5", "--both", "-b", "2M", "--json", url)
    assert (result.status, result.err) == (0, "")
    report = json.loads(result.out)
    assert report["complete"]
    for direction in ("up", "down"):
        assert report[direction]["received_bytes"] > 0
        assert not report[direction]["lost"]
    server.said("test by ")
    server.interrupt()
    (test,) = [event for event in server.finish().events if event["event"] == "test"]
    assert test["received_bytes"] >= report["up"]["received_bytes"]


def test_interrupted_it_says_what_it_knows(socketkit: Start) -> None:
    server = socketkit("serve", "bench", "tcp://localhost:0")
    bench = socketkit("bench", "-t", "60", "-b", "8M", server.endpoint)
    while b" 0-1 " not in bench.output.readline():
        pass
    bench.interrupt()
    result = bench.finish()
    assert result.status == 130
    assert "cut short after" in result.out.decode()
    assert "under load" in result.out.decode()
    server.said("test by ")


def test_alone_at_a_terminal(start: Start) -> None:
    import sys

    terminal = Terminal()
    try:
        words = [sys.executable, "-m", "socketkit", "bench", "--self", "-t", "1.5", "-b", "100M", "mem://quick"]
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
        bench = start(words, stdout=terminal.theirs, stderr=terminal.theirs, env=environment, **terminal.options())
        shown = terminal.asked("there")
        assert bench.process.wait(20) == 0
        assert "▁" in shown or "█" in shown
        assert "CPU:" in shown
    finally:
        terminal.close()


def test_nobody_is_there(ran: Ran, tmp_path: Path) -> None:
    for url in ("tcp4://localhost:1", f"unix://{tmp_path}/nobody"):
        result = ran("bench", url)
        assert result.status == 1
        assert "start `socketkit serve bench` there" in result.err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["mem://x"], "add --self"),
        (["-b", "fast", "tcp://localhost:1"], "10M, 2.5G"),
        (["-t", "0", "tcp://localhost:1"], "seconds must be from 0.1 to 3,600"),
        (["-P", "65", "tcp://localhost:1"], "flows must be from 1 to 64"),
        (["-l", "10", "udp://localhost:1"], "message bytes must be from 24"),
    ],
)
def test_wrong_command_line(ran: Ran, words: list[str], why: str) -> None:
    result = ran("bench", *words)
    assert result.status == 2
    assert why in result.err


def test_raw_sockets_have_no_other_side(ran: Ran) -> None:
    result = ran("bench", "icmp://localhost")
    assert result.status == 1
    assert "socketkit ping" in result.err


def test_piped_and_nobody_reads(socketkit: Start, closed_pipe: int) -> None:
    bench = socketkit("bench", "--self", "-t", "1", "-b", "1M", "mem://x", stdout=closed_pipe, stdin=subprocess.DEVNULL)
    assert bench.process.wait(20) == 141


@measured_again
def test_it_says_what_iperf3_says(socketkit: Start, ran: Ran, program: Callable[[str], str]) -> None:
    """At a rate that any machine can send, both find that rate, and that nothing was lost."""
    iperf3 = program("iperf3")
    rate, seconds = 4_000_000, 2
    server = socketkit("serve", "bench", "udp://localhost:0")
    ours = json.loads(ran("bench", "-t", str(seconds), "-b", str(rate), "--json", server.endpoint).out)["up"]
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = str(held.getsockname()[1])
    listening = subprocess.Popen([iperf3, "-s", "-1", "-B", "127.0.0.1", "-p", port, "--forceflush"], stdout=-1)
    try:
        assert listening.stdout is not None
        while b"listening" not in listening.stdout.readline():
            pass
        words = [iperf3, "-c", "127.0.0.1", "-p", port, "-u", "-b", str(rate), "-t", str(seconds), "-J"]
        done = subprocess.run(words, capture_output=True, timeout=30, check=True)
    finally:
        listening.kill()
        listening.communicate()
    theirs = json.loads(done.stdout)["end"]["sum"]
    assert theirs["bits_per_second"] == pytest.approx(rate, rel=0.1)
    assert ours["bits_per_second"] == pytest.approx(theirs["bits_per_second"], rel=0.1)
    assert (ours["lost"], theirs["lost_packets"]) == (0, 0)
