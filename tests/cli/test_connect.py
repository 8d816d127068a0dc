"""`socketkit connect` with peers that we did not write."""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.peers import netcat, socat
from tests.cli.programs import Program, Result, Start
from tests.cli.terminals import Terminal

Ran = Callable[..., Result]
Find = Callable[[str], str]

pytestmark = pytest.mark.slow


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        yield listener


def url_of(listener: socket.socket) -> str:
    return f"tcp://127.0.0.1:{listener.getsockname()[1]}"


# --- what it carries


def test_half_close_lets_the_answer_come_back(ran: Ran, start: Start, program: Find) -> None:
    # sort says nothing before the end of what it reads.
    url = socat(start, program("socat"), "EXEC:sort")
    assert ran("connect", url, data=b"b\nc\na\n") == Result(0, b"a\nb\nc\n", "")


def test_netcat_gets_all_and_the_end(ran: Ran, start: Start, program: Find) -> None:
    peer, url = netcat(start, program("nc"))
    assert ran("connect", url, data=b"hello\n") == Result(0, b"", "")
    assert peer.finish().out == b"hello\n"


def test_rest_is_sent_after_the_peer_has_ended(socketkit: Start, start: Start, program: Find, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(5_000_000))
    with (tmp_path / "file").open("rb") as file, (tmp_path / "copy").open("wb") as copy:
        peer, url = netcat(start, program("nc"), "-N", stdout=copy)  # its stdin is empty: it half-closes first
        assert socketkit("connect", url, stdin=file).finish() == Result(0, b"", "")
        peer.finish()
    assert (tmp_path / "copy").stat().st_size == 5_000_000


def test_unix_socket(ran: Ran, start: Start, program: Find, tmp_path: Path) -> None:
    peer = start([program("socat"), "-d", "-d", f"UNIX-LISTEN:{tmp_path}/socket", "EXEC:rev"])
    peer.said("listening on")
    assert ran("connect", f"unix://{tmp_path}/socket", data=b"stressed\n").out == b"desserts\n"


def test_crlf_asks_a_web_server(ran: Ran, start: Start, program: Find, tmp_path: Path) -> None:
    (tmp_path / "page").write_text("here I am")
    server = start(
        [sys.executable, "-u", "-m", "http.server", "--bind", "127.0.0.1", "--directory", str(tmp_path), "0"]
    )
    port = server.output.readline().split()[5].decode()
    result = ran("connect", "--crlf", f"tcp://127.0.0.1:{port}", data=b"GET /page HTTP/1.0\n\n")
    assert result.status == 0
    assert result.out.startswith(b"HTTP/1.0 200 OK\r\n")
    assert result.out.endswith(b"\r\n\r\nhere I am")


def test_crlf_is_what_the_peer_gets(ran: Ran, start: Start, program: Find) -> None:
    peer, url = netcat(start, program("nc"))
    ran("connect", "--crlf", url, data=b"one\ntwo\r\nthree")
    assert peer.finish().out == b"one\r\ntwo\r\nthree"


def test_typed_lines_go_out_one_by_one(socketkit: Start, listener: socket.socket) -> None:
    command = socketkit("connect", url_of(listener), stdin=subprocess.PIPE)
    peer, _ = listener.accept()
    with peer:
        for line in (b"first\n", b"second\n"):
            command.write(line)
            assert peer.recv(100) == line
            peer.sendall(line.upper())
            assert command.read(len(line)) == line.upper()
        command.input.close()
        command.process.stdin = None
        assert peer.recv(100) == b""
    assert command.finish().status == 0


def test_peer_that_reads_nothing_stops_the_input(socketkit: Start, listener: socket.socket) -> None:
    command = socketkit("connect", url_of(listener), stdin=subprocess.PIPE)
    peer, _ = listener.accept()
    # No more than the buffers of both ends: the pipe fills up, and what was written is not all taken.
    os.set_blocking(command.input.fileno(), False)
    written = 0
    while select.select([], [command.input], [], 0.5)[1]:
        written += command.input.write(bytes(65_536)) or 0
        assert written < 100_000_000
    command.interrupt()
    with peer:
        assert command.finish().status == 130


# --- how it ends


def test_ends_with_the_peer_although_the_input_stays_open(socketkit: Start, listener: socket.socket) -> None:
    command = socketkit("connect", "--linger", "0.1", url_of(listener), stdin=subprocess.PIPE)
    peer, _ = listener.accept()
    peer.sendall(b"bye\n")
    peer.close()
    assert command.process.wait(10) == 0
    assert command.output.read() == b"bye\n"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_resets_what_is_cut_short(
    socketkit: Start, listener: socket.socket, number: signal.Signals, status: int
) -> None:
    command = socketkit("connect", url_of(listener), stdin=subprocess.PIPE)
    peer, _ = listener.accept()
    with peer:
        command.write(b"half of i")
        assert peer.recv(100) == b"half of i"
        command.process.send_signal(number)
        with pytest.raises(ConnectionResetError):
            peer.recv(100)
    assert command.finish() == Result(status, b"", "")


def test_signal_after_the_end_of_the_input_ends_cleanly(socketkit: Start, listener: socket.socket) -> None:
    command = socketkit("connect", url_of(listener))
    peer, _ = listener.accept()
    with peer:
        assert peer.recv(100) == b""
        command.interrupt()
        assert command.finish() == Result(130, b"", "")
        assert peer.recv(100) == b""


def test_reader_that_goes_ends_it_quietly(socketkit: Start, start: Start, listener: socket.socket) -> None:
    head = start(["head", "-c", "1"], stdin=subprocess.PIPE)
    command = socketkit("connect", url_of(listener), stdout=head.input, stdin=subprocess.PIPE)
    head.input.close()
    head.process.stdin = None
    peer, _ = listener.accept()
    with peer:
        peer.sendall(b"xyz")
        # No second message is needed: that the pipe has no reader is seen while nothing is written.
        assert command.finish() == Result(141, b"", "")
    assert head.finish().out == b"x"


def test_reset_is_an_error(socketkit: Start, listener: socket.socket) -> None:
    command = socketkit("connect", url_of(listener), stdin=subprocess.PIPE)
    peer, _ = listener.accept()
    peer.sendall(b"some")
    assert command.read(4) == b"some"
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
    result = command.finish()
    assert (result.status, result.err) == (1, f"socketkit: receive {url_of(listener)}: reset by the peer\n")


def test_nobody_listens(ran: Ran, listener: socket.socket) -> None:
    url = url_of(listener)
    listener.close()
    assert ran("connect", url) == Result(1, b"", f"socketkit: connect {url}: refused: nothing listens there\n")


def test_name_is_unknown(ran: Ran) -> None:
    result = ran("connect", "tcp://no-such-host.invalid:80")
    assert result.status == 1
    assert result.err.startswith("socketkit: connect tcp://no-such-host.invalid:80: ")
    assert result.err.count("\n") == 1


def test_no_such_path(ran: Ran, tmp_path: Path) -> None:
    url = f"unix://{tmp_path}/nobody"
    assert ran("connect", url) == Result(1, b"", f"socketkit: connect {url}: no such path\n")


def test_input_cannot_be_read(socketkit: Start, listener: socket.socket, tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as not_for_reading:
        result = socketkit("connect", url_of(listener), stdin=not_for_reading).finish()
    assert result == Result(1, b"", "socketkit: standard input: bad file descriptor\n")


def test_output_cannot_be_written(socketkit: Start, listener: socket.socket) -> None:
    with Path("/dev/full").open("wb") as full:
        command = socketkit("connect", url_of(listener), stdout=full)
        peer, _ = listener.accept()
        with peer:
            peer.sendall(b"x")
            result = command.finish()
    assert (result.status, result.err) == (1, "socketkit: standard output: no space left on device\n")


def test_plain_text_to_another_machine_must_be_written_out(ran: Ran) -> None:
    result = ran("connect", "tcp://192.0.2.1:7000")
    assert (result.status, result.out) == (1, b"")
    assert result.err == (
        "socketkit: connect tcp://192.0.2.1:7000: plain text could be read and changed on its way: "
        "write tls://192.0.2.1:7000 to encrypt it, or tcp://192.0.2.1:7000?plaintext=yes to allow it\n"
        "see docs/threats/unencrypted.md\n"
    )


# --- whom it trusts


@pytest.fixture
def stranger(socketkit: Start, tmp_path: Path) -> Program:
    """An echo under TLS of another user, whose key is not known here."""
    return socketkit("serve", "echo", "tls://localhost:0", env=environment(tmp_path / "theirs"))


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.close()


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "SOCKETKIT_HOME": str(folder)}


def without_its_key(server: Program) -> tuple[str, str]:
    address, _, key = server.endpoint.partition("?pin=")
    assert key.startswith("sk1:")
    return address, key


NOBODY_TO_ASK = {"start_new_session": True}  # so it has no terminal


def test_printed_address_is_all_it_needs(ran: Ran, stranger: Program) -> None:
    assert ran("connect", stranger.endpoint, data=b"hello", **NOBODY_TO_ASK) == Result(0, b"hello", "")


@pytest.mark.parametrize("answer", ["yes", "its key"])
def test_asks_once_for_a_key_that_is_not_known(
    socketkit: Start, ran: Ran, stranger: Program, terminal: Terminal, home: Path, answer: str
) -> None:
    address, key = without_its_key(stranger)
    command = socketkit("connect", address, stdin=subprocess.PIPE, **terminal.options())
    shown = terminal.asked("[yes / no / paste")
    assert key in shown
    assert address.removeprefix("tls://") in shown
    terminal.answer(key if answer == "its key" else answer)
    assert command.finish(b"hello") == Result(0, b"hello", "")
    assert (home / "known_peers").read_text() == f"{address.removeprefix('tls://')} {key} first use\n"
    assert ran("connect", address, data=b"again", **NOBODY_TO_ASK) == Result(0, b"again", "")


def test_no_is_an_error(socketkit: Start, stranger: Program, terminal: Terminal, home: Path) -> None:
    address, key = without_its_key(stranger)
    command = socketkit("connect", address, stdin=subprocess.PIPE, **terminal.options())
    terminal.asked("[yes / no / paste")
    terminal.answer("no")
    assert command.finish(b"secret") == Result(1, b"", refused(address, key))
    assert not (home / "known_peers").exists()


def test_refuses_an_unknown_key_where_nobody_can_be_asked(ran: Ran, stranger: Program, home: Path) -> None:
    address, key = without_its_key(stranger)
    assert ran("connect", address, data=b"secret", **NOBODY_TO_ASK) == Result(1, b"", refused(address, key))
    assert not (home / "known_peers").exists()
    stranger.interrupt()
    assert "served 0 connections: received 0 B, sent 0 B\n" in stranger.finish().err


def refused(address: str, key: str) -> str:
    return (
        f"socketkit: connect {address}: the peer's key {key} is not known here: nothing was sent. "
        "If the peer's owner confirms that it is his: "
        f"socketkit trust add {address.removeprefix('tls://')} {key}\n"
        "see docs/threats/man-in-the-middle.md\n"
    )


def test_first_use_that_is_written_out_is_not_asked_about(ran: Ran, stranger: Program) -> None:
    address, _ = without_its_key(stranger)
    result = ran("connect", f"{address}?trust=first_use", data=b"hello", **NOBODY_TO_ASK)
    assert result == Result(0, b"hello", "")


def test_changed_key_is_no_question(
    socketkit: Start, ran: Ran, stranger: Program, terminal: Terminal, tmp_path: Path
) -> None:
    address, key = without_its_key(stranger)
    place = address.removeprefix("tls://")
    other = "sk1:cuemt7ziz5zunvvlxv3of45qu2ce54uijwuhwlskyrall7l2dteafza3lp"
    assert ran("trust", "add", place, other).status == 0
    result = socketkit("connect", address, **terminal.options()).finish()
    assert (result.status, result.out) == (1, b"")
    assert f"the peer's key has changed: it is {key}, known is {other}" in result.err
    assert f"socketkit trust replace {place} {key}\n" in result.err


def test_own_key_needs_no_question_and_no_second_call(socketkit: Start, ran: Ran) -> None:
    # The listener takes one caller: one who came to look at its key only would be that.
    peer = socketkit("listen", "tls://localhost:0")
    address, _ = without_its_key(peer)
    assert ran("connect", address, data=b"hello", **NOBODY_TO_ASK) == Result(0, b"", "")
    assert peer.finish().out == b"hello"
