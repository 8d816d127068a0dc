"""`socketkit capture`, as a process of its own on the loopback interface."""

from __future__ import annotations

import json
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from socketkit.cli.capture import _rotation, _size
from tests.cli.programs import Result, Start
from tests.cli.terminals import Terminal

Ran = Callable[..., Result]
Find = Callable[[str], str]

LINE = re.compile(r"\d\d:\d\d:\d\d\.\d{6} lo In  127\.0\.0\.1:\d+ > 127\.0\.0\.1:\d+ udp, (\d+) bytes")


class Sender:
    """Sends to a port where nobody reads; `words` are the filter for it."""

    def __init__(self) -> None:
        self._sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sink.bind(("127.0.0.1", 0))
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.words = ["udp", "dst", "port", str(self._sink.getsockname()[1])]

    def send(self, *payloads: bytes) -> None:
        for payload in payloads:
            self._socket.sendto(payload, self._sink.getsockname())

    def close(self) -> None:
        self._socket.close()
        self._sink.close()


@pytest.fixture
def sender() -> Iterator[Sender]:
    sender = Sender()
    yield sender
    sender.close()


# --- what is wrong is said before anything is opened


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lo", "--files", "3", "-w", "file"], "--files says how many are kept: with --rotate"),
        (["lo", "--rotate", "1M"], "--rotate, --files and --print go with -w FILE"),
        (["lo", "-v"], "--rotate, --files and --print go with -w FILE"),
        (["lo", "-w", "-", "--rotate", "1M"], "standard output is the file"),
        (["lo", "-w", "file", "--rotate", "often"], "neither a size nor a time: often"),
        (["lo", "--buffer", "2T"], "no size: 2T"),
        (["lo", "--buffer", "9G"], "--buffer is at most 1G"),
        (["lo", "-c", "0"], "0 is not in the range"),
    ],
)
def test_wrong_command_lines(ran: Ran, words: list[str], said: str) -> None:
    result = ran("capture", *words)
    assert (result.status, result.out) == (2, b"")
    assert said in result.err


def test_sizes_and_times() -> None:
    context, parameter = click.Context(click.Command("capture")), click.Option(["--rotate"])
    assert [_size(context, parameter, text) for text in ("1", "1.5k", "100M", "2G")] == [1, 1500, 10**8, 2 * 10**9]
    assert _rotation(context, parameter, None) is None
    assert _rotation(context, parameter, "100M") == (10**8, None)
    assert [_rotation(context, parameter, text) for text in ("60s", "1.5m", "1h")] == [
        (None, 60),
        (None, 90),
        (None, 3600),
    ]
    for text in ("", "M", "-1M", "0", "1e3", "1.2.3", "\N{ARABIC-INDIC DIGIT ONE}M", "10x"):
        with pytest.raises(click.BadParameter):
            _rotation(context, parameter, text)


# --- lines


@pytest.mark.privileged
@pytest.mark.slow
def test_prints_lines_and_a_summary(socketkit: Start, sender: Sender) -> None:
    capture = socketkit("capture", "lo", "-c", "3", *sender.words)
    assert capture.said("listening") == f"listening on lo, {' '.join(sender.words)}"
    sender.send(b"1", b"22", b"333", b"4444")
    result = capture.finish()
    assert result.status == 0
    assert [int(size) for size in LINE.findall(result.out.decode())] == [43, 44, 45]
    assert "3 packets captured, 0 dropped by kernel, in " in result.err


@pytest.mark.privileged
@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_ends_it_and_loses_nothing(socketkit: Start, sender: Sender, number: int, status: int) -> None:
    capture = socketkit("capture", "lo", *sender.words)
    capture.said("listening")
    sender.send(*[b"payload"] * 100)
    capture.process.send_signal(number)
    result = capture.finish()
    assert result.status == status
    assert len(LINE.findall(result.out.decode())) == 100
    assert "100 packets captured, 0 dropped" in result.err


@pytest.mark.privileged
@pytest.mark.slow
def test_json_lines(socketkit: Start, sender: Sender) -> None:
    capture = socketkit("capture", "lo", "--json", "-c", "1", "--snap", "44", *sender.words)
    capture.said("listening")
    sender.send(b"payload")
    result = capture.finish()
    packet, summary = map(json.loads, result.out.splitlines())
    assert packet.pop("timestamp_ns") > 0
    assert packet.pop("summary").endswith(" udp, 49 bytes")
    assert packet == {"interface": "lo", "direction": "in", "wire_bytes": 49, "captured_bytes": 44}
    assert summary.pop("seconds") > 0
    assert summary == {"captured": 1, "dropped": 0}


@pytest.mark.privileged
@pytest.mark.slow
def test_nobody_reads_the_lines(socketkit: Start, sender: Sender, closed_pipe: int) -> None:
    capture = socketkit("capture", "lo", *sender.words, stdout=closed_pipe)
    capture.said("listening")
    sender.send(b"payload")
    assert capture.finish().status == 141


@pytest.mark.privileged
@pytest.mark.slow
def test_lines_on_a_terminal_and_a_status_line_beside_a_file(socketkit: Start, sender: Sender, tmp_path: Path) -> None:
    terminal = Terminal()
    streams = {"stdout": terminal.theirs, "stderr": terminal.theirs}
    try:
        capture = socketkit("capture", "lo", "-c", "1", *sender.words, **streams)
        terminal.asked("listening on lo")
        sender.send(b"payload")
        assert LINE.search(terminal.asked("1 packet captured"))
        assert " packets (" not in terminal.shown
        assert capture.process.wait(10) == 0
        capture = socketkit("capture", "lo", "-w", str(tmp_path / "trace"), *sender.words, **streams)
        terminal.asked("listening on lo", 2)
        sender.send(b"payload")
        terminal.asked("1 packet (")
        capture.interrupt()
        terminal.asked("1 packet captured into")
        assert capture.process.wait(10) == 130
    finally:
        terminal.close()


# --- files


@pytest.mark.privileged
@pytest.mark.slow
def test_writes_a_file_until_it_is_stopped(socketkit: Start, sender: Sender, tmp_path: Path, program: Find) -> None:
    path = tmp_path / "trace.pcapng"
    capture = socketkit("capture", "lo", "-w", str(path), *sender.words)
    capture.said("listening")
    sender.send(*[b"payload"] * 50)
    capture.interrupt()
    result = capture.finish()
    assert (result.status, result.out) == (130, b"")
    assert f"50 packets captured into {path} (" in result.err
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    words = [program("tshark"), "-n", "-r", str(path)]
    read = subprocess.run(words, capture_output=True, text=True, check=True, timeout=20)
    assert read.stdout.count(" UDP ") == 50


@pytest.mark.privileged
@pytest.mark.slow
def test_prints_while_it_writes(socketkit: Start, sender: Sender, tmp_path: Path) -> None:
    path = tmp_path / "trace.pcapng"
    capture = socketkit("capture", "lo", "-v", "-w", str(path), "-c", "3", *sender.words)
    capture.said("listening")
    sender.send(b"1", b"22", b"333")
    result = capture.finish()
    assert [int(size) for size in LINE.findall(result.out.decode())] == [43, 44, 45]
    assert "3 packets captured into" in result.err


@pytest.mark.privileged
@pytest.mark.slow
def test_rotates(socketkit: Start, sender: Sender, tmp_path: Path) -> None:
    words = ["--json", "-w", str(tmp_path / "trace.pcapng"), "--rotate", "1k", "--files", "2", "-c", "50"]
    capture = socketkit("capture", "lo", *words, *sender.words)
    capture.said("listening")
    sender.send(*[bytes(100)] * 50)
    summary = json.loads(capture.finish().out)
    assert summary["captured"] == 50
    assert summary["files"] > 2
    last = summary["files"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"trace-{number:05}.pcapng" for number in (last - 1, last)
    ]


@pytest.mark.privileged
@pytest.mark.slow
def test_into_tshark(socketkit: Start, start: Start, sender: Sender, program: Find) -> None:
    capture = socketkit("capture", "lo", "-w", "-", "-c", "2", *sender.words)
    tshark = start([program("tshark"), "-n", "-l", "-r", "-"], stdin=capture.output)
    capture.said("listening")
    sender.send(b"1", b"22")
    assert tshark.finish().out.decode().count(" UDP ") == 2
    capture.process.wait(10)
    assert "2 packets captured into standard output" in capture.said("captured")


# --- refusals


@pytest.mark.privileged
@pytest.mark.slow
def test_refusals_are_one_line(ran: Ran, tmp_path: Path, program: Find) -> None:
    assert "no such interface; there are" in ran("capture", "socketkit-no").err
    result = ran("capture", "lo", "udp", "prot", "53")
    assert (result.status, result.err.count("\n")) == (2, 1)
    assert "no filter: 'udp prot 53': " in result.err
    result = ran("capture", "lo", "-w", str(tmp_path))
    assert (result.status, result.err) == (1, f"socketkit: capture: {tmp_path}: is a directory\n")


@pytest.mark.privileged
@pytest.mark.slow
def test_an_interface_that_goes_down(start: Start, program: Find) -> None:
    # In a network namespace of its own; its lo goes down when the test says so.
    script = "ip link set lo up; exec 3<&0; (read line <&3; ip link set lo down) & exec $0 -m socketkit capture lo"
    program("ip")
    words = [program("unshare"), "-n", "sh", "-c", script, sys.executable]
    capture = start(words, stdin=subprocess.PIPE)
    capture.said("listening on lo")
    result = capture.finish(b"now\n")
    assert result.status == 1
    assert result.err.endswith("socketkit: capture: lo: the interface went down\n")
