"""Messages joined to standard input and output, with peers that we did not write."""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.programs import Program, Result, Start

Ran = Callable[..., Result]
Find = Callable[[str], str]

pytestmark = pytest.mark.slow


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    """A datagram socket of loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(10)
        yield peer


@pytest.fixture
def url(peer: socket.socket) -> str:
    return f"udp://127.0.0.1:{peer.getsockname()[1]}"


@pytest.fixture
def echo(start: Start, program: Find) -> str:
    """An echo by socat over UDP, for any number of peers."""
    listening = start([program("socat"), "-d", "-d", "UDP-RECVFROM:0,bind=127.0.0.1,fork", "EXEC:cat"])
    return f"udp://127.0.0.1:{port_of_socat(listening)}"


def port_of_socat(program: Program) -> int:
    """socat tells the address of a socket that listens, and not of one that is only bound."""
    deadline = 1000
    while deadline := deadline - 1:
        for line in Path(f"/proc/{program.process.pid}/net/udp").read_text().splitlines()[1:]:
            fields = line.split()
            if f"socket:[{fields[9]}]" in sockets_of(program):
                return int(fields[1].partition(":")[2], 16)
    raise AssertionError("socat has no socket")


def sockets_of(program: Program) -> set[str]:
    folder = Path(f"/proc/{program.process.pid}/fd")
    return {os.readlink(entry) for entry in folder.iterdir() if entry.is_symlink()}


# --- connect


def test_each_line_is_a_datagram(socketkit: Start, peer: socket.socket, url: str) -> None:
    command = socketkit("connect", url, stdin=subprocess.PIPE)
    command.write(b"one\n\nthr")
    assert [peer.recv(100), peer.recv(100)] == [b"one", b""]
    command.write(b"ee\nlast")
    assert peer.recv(100) == b"three"
    command.input.close()
    command.process.stdin = None
    data, address = peer.recvfrom(100)
    assert data == b"last"
    # After the end of the input the answers are waited for.
    peer.sendto(b"answer", address)
    peer.sendto(b"with its end\n", address)
    assert command.finish() == Result(0, b"answer\nwith its end\n", "")


def test_lengths_in_and_out(ran: Ran, echo: str) -> None:
    data = b"\0\0\0\3a\nb\0\0\0\x05bytes"
    result = ran("connect", "--messages", "lengths", echo, data=data)
    assert result.status == 0
    assert result.out in (data, data[7:] + data[:7])  # each has an echo of its own


def test_whole_input_is_one_datagram(ran: Ran, echo: str) -> None:
    data = b"GET\nall\n" * 1000
    assert ran("connect", "--messages", "whole", echo, data=data) == Result(0, data, "")


def test_crlf_of_a_whole_message(socketkit: Start, peer: socket.socket, url: str) -> None:
    command = socketkit("connect", "--crlf", "--messages", "whole", url, "--wait", "0", stdin=subprocess.PIPE)
    command.process.communicate(b"M-SEARCH * HTTP/1.1\n\n", timeout=20)
    assert peer.recv(100) == b"M-SEARCH * HTTP/1.1\r\n\r\n"


def test_too_large_a_message_costs_none_before_it(ran: Ran, peer: socket.socket, url: str) -> None:
    result = ran("connect", url, data=b"before\n" + bytes(70_000) + b"\nbehind\n")
    assert (result.status, result.out) == (1, b"")
    assert result.err == (
        "socketkit: a message of 70,000 bytes, more than 65,507, which is the most that can be sent in one\n"
    )
    assert peer.recv(100) == b"before"
    peer.setblocking(False)
    with pytest.raises(BlockingIOError):
        peer.recv(100)


def test_input_ends_inside_a_length(ran: Ran, url: str) -> None:
    result = ran("connect", "--messages", "lengths", url, data=b"\0\0\0\5a")
    assert (result.status, result.err) == (1, "socketkit: it ends inside a message, after 5 bytes of it\n")


def test_nobody_is_there(socketkit: Start, peer: socket.socket, url: str) -> None:
    peer.close()
    result = socketkit("connect", url, stdin=subprocess.PIPE).finish(b"hello\n")
    assert result.status == 1
    assert "nobody listens on that port" in result.err


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal(socketkit: Start, peer: socket.socket, url: str, number: signal.Signals, status: int) -> None:
    command = socketkit("connect", url, stdin=subprocess.PIPE)
    command.write(b"hello\n")
    peer.recv(100)
    command.process.send_signal(number)
    assert command.finish() == Result(status, b"", "")


def test_sequenced_packets_of_socat(ran: Ran, start: Start, program: Find, tmp_path: Path) -> None:
    listening = start([program("socat"), "-d", "-d", f"UNIX-LISTEN:{tmp_path}/socket,type=5", "EXEC:rev"])
    listening.said("listening on")
    result = ran("connect", "--messages", "whole", f"seqpacket+unix://{tmp_path}/socket", data=b"stressed\n")
    assert result == Result(0, b"desserts\n", "")


def test_stream_has_no_messages(ran: Ran) -> None:
    result = ran("connect", "--messages", "lines", "tcp://localhost:1")
    assert result.status == 2
    assert result.err.startswith("socketkit: tcp:// carries a stream, which has no messages: leave --messages out")


def test_crlf_has_no_line_ends_to_change(ran: Ran) -> None:
    result = ran("connect", "--crlf", "udp://localhost:1")
    assert result.status == 2
    assert "--messages lines has none: use whole" in result.err


# --- listen


def test_netcat_speaks_and_is_answered(socketkit: Start, start: Start, program: Find) -> None:
    command = socketkit("listen", "udp4://127.0.0.1:0", stdin=subprocess.PIPE)
    port = command.port
    command.write(b"a longer answer than the question\n")  # waits for somebody to answer
    caller = start([program("nc"), "-u", "-n", "127.0.0.1", str(port)], stdin=subprocess.PIPE)
    caller.write(b"hi\n")
    assert command.read(3) == b"hi\n"  # and not two line ends
    assert caller.read(33) == b"a longer answer than the question"
    assert command.said("messages from").startswith("messages from udp4://127.0.0.1:")
    command.interrupt()
    assert command.finish().status == 130


def test_answers_go_to_who_spoke_last(socketkit: Start, peer: socket.socket) -> None:
    command = socketkit("listen", "udp4://127.0.0.1:0", stdin=subprocess.PIPE)
    port = command.port
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.settimeout(10)
        for caller, name in ((peer, b"first"), (other, b"second"), (peer, b"third")):
            caller.sendto(name, ("127.0.0.1", port))
            assert command.read(len(name) + 1) == name + b"\n"
            command.write(b"to " + name + b"\n")
            assert caller.recv(100) == b"to " + name
    assert "answers go to who spoke last" in command.said("; answers")


def test_echo(socketkit: Start, start: Start, program: Find) -> None:
    command = socketkit("listen", "--echo", "--wait", "1", "udp4://127.0.0.1:0")
    caller = start([program("socat"), "-t5", "-", f"UDP:127.0.0.1:{command.port}"], stdin=subprocess.PIPE)
    caller.write(b"hello")
    assert caller.read(5) == b"hello"
    result = command.finish()
    assert (result.status, result.out) == (0, b"hello\n")


def test_on_a_terminal_two_peers_have_their_names_in_front(socketkit: Start, peer: socket.socket) -> None:
    screen, side = pty.openpty()
    settings = termios.tcgetattr(side)
    settings[1] &= ~termios.OPOST
    settings[3] &= ~termios.ECHO
    termios.tcsetattr(side, termios.TCSANOW, settings)
    try:
        command = socketkit("listen", "udp4://127.0.0.1:0", stdin=side, stdout=side)
        port = command.port
        peer.sendto(b"alone", ("127.0.0.1", port))
        assert os.read(screen, 100) == b"alone\n"
        os.write(screen, b"typed, and longer than what was asked\n")
        assert peer.recv(100) == b"typed, and longer than what was asked"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("127.0.0.1", 0))
            for caller in (other, peer):
                caller.sendto(b"hello", ("127.0.0.1", port))
                name = f"udp4://127.0.0.1:{caller.getsockname()[1]}"
                assert os.read(screen, 100).decode() == f"{name}: hello\n"
        command.interrupt()
        assert command.finish().status == 130
    finally:
        os.close(screen)
        os.close(side)


def test_socat_sends_packets_one_after_the_other(socketkit: Start, start: Start, program: Find, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    command = socketkit("listen", f"seqpacket+unix://{path}", stdin=subprocess.PIPE)
    command.said("listening on")
    caller = start([program("socat"), "-t", "20", "-", f"UNIX-CONNECT:{path},type=5"], stdin=subprocess.PIPE)
    caller.write(b"one")
    assert command.read(4) == b"one\n"
    command.write(b"uno\n")
    assert caller.read(3) == b"uno"
    caller.input.close()
    caller.process.stdin = None
    assert command.finish().status == 0
    assert not path.exists()


@pytest.mark.parametrize("address", ["seqpacket+tls://localhost:0", "seqpacket+tcp://localhost:0"])
def test_records_arrive_as_they_were(socketkit: Start, address: str, tmp_path: Path) -> None:
    data = b"".join(len(part).to_bytes(4, "big") + part for part in (b"", b"a\n", os.urandom(1_000_000), b"end"))
    (tmp_path / "file").write_bytes(data)
    with (tmp_path / "file").open("rb") as file:
        receiver = socketkit("listen", "--messages", "lengths", address)
        sender = socketkit("connect", "--messages", "lengths", receiver.endpoint, stdin=file)
        assert receiver.finish().out == data
        assert sender.finish() == Result(0, b"", "")


@pytest.mark.parametrize("option", [("--echo",), ("--wait", "1"), ("--answer-ratio", "2")])
def test_options_for_datagrams(ran: Ran, option: tuple[str, ...]) -> None:
    result = ran("listen", *option, "tcp://localhost:0")
    assert result.status == 2
    assert result.err.startswith(f"socketkit: {option[0]} is for datagrams: tcp:// has connections")
