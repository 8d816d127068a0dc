"""`socketkit listen` with peers that we did not write."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.programs import Result, Start

Ran = Callable[..., Result]
Find = Callable[[str], str]

pytestmark = pytest.mark.slow


def test_says_where_it_listens_and_who_came(socketkit: Start, start: Start, program: Find) -> None:
    command = socketkit("listen", "tcp://localhost:0")
    peer = start([program("nc"), "-N", "127.0.0.1", str(command.port)], stdin=subprocess.PIPE)
    assert peer.finish(b"hello\n").out == b""
    result = command.finish()
    assert (result.status, result.out) == (0, b"hello\n")
    first, second = result.err.splitlines()
    assert first == f"listening on tcp://localhost:{command.port}"
    assert second.startswith("connection from tcp://127.0.0.1:")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_localhost_is_both_families(socketkit: Start, start: Start, program: Find, host: str) -> None:
    command = socketkit("listen", "tcp://localhost:0", stdin=subprocess.PIPE)
    peer = start([program("nc"), "-N", host, str(command.port)])
    assert command.finish(b"welcome").status == 0
    assert peer.finish().out == b"welcome"


def test_answers_after_the_peer_has_ended(socketkit: Start, start: Start, program: Find) -> None:
    command = socketkit("listen", "tcp://localhost:0", "--linger", "20", stdin=subprocess.PIPE)
    peer = start([program("nc"), "-N", "127.0.0.1", str(command.port)], stdin=subprocess.PIPE)
    peer.write(b"question")
    peer.input.close()
    peer.process.stdin = None
    assert command.read(8) == b"question"
    assert command.finish(b"answer").status == 0
    assert peer.finish().out == b"answer"


def test_second_caller_finds_nobody(socketkit: Start) -> None:
    command = socketkit("listen", "tcp4://localhost:0", stdin=subprocess.PIPE)
    with socket.create_connection(("127.0.0.1", command.port)):
        command.said("connection from")
        # The listener is closed right behind the line; it need not be at the very moment.
        with pytest.raises(OSError, match=r"refused|reset"):
            while True:
                with socket.create_connection(("127.0.0.1", command.port), timeout=5) as second:
                    second.settimeout(5)
                    if second.recv(1) == b"":
                        raise ConnectionResetError("reset")


def test_keep_takes_one_after_the_other(socketkit: Start, start: Start, program: Find) -> None:
    command = socketkit("listen", "--keep", "tcp://localhost:0")
    for number in range(3):
        caller = start([program("nc"), "-N", "127.0.0.1", str(command.port)], stdin=subprocess.PIPE)
        caller.finish(b"caller %d\n" % number)
        assert command.read(9) == b"caller %d\n" % number
    command.interrupt()
    result = command.finish()
    assert result.status == 130
    assert result.err.count("connection from") == 3


def test_keep_survives_a_reset(socketkit: Start) -> None:
    command = socketkit("listen", "--keep", "tcp4://localhost:0", stdin=subprocess.PIPE)
    with socket.create_connection(("127.0.0.1", command.port)) as rude:
        command.said("connection from")
        rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert command.said("socketkit: ").endswith(": reset by the peer")
    with socket.create_connection(("127.0.0.1", command.port)) as polite:
        polite.sendall(b"still there?")
        assert command.read(12) == b"still there?"
        command.write(b"yes")
        assert polite.recv(10) == b"yes"


def test_what_is_typed_between_connections_goes_to_the_next(socketkit: Start) -> None:
    command = socketkit("listen", "--keep", "--linger", "0", "tcp4://localhost:0", stdin=subprocess.PIPE)
    with socket.create_connection(("127.0.0.1", command.port)) as first:
        command.write(b"one")
        assert first.recv(10) == b"one"
        first.shutdown(socket.SHUT_WR)
        assert first.recv(10) == b""
    command.write(b"two")
    with socket.create_connection(("127.0.0.1", command.port)) as second:
        assert second.recv(10) == b"two"


@pytest.mark.parametrize("address", ["tcp://localhost:0", "unix://{folder}/socket", "unix://@test-listen-{process}"])
def test_20_mb_arrive_unchanged(socketkit: Start, tmp_path: Path, address: str) -> None:
    (tmp_path / "file").write_bytes(os.urandom(20_000_000))
    with (tmp_path / "file").open("rb") as file, (tmp_path / "copy").open("wb") as copy:
        receiver = socketkit("listen", address.format(folder=tmp_path, process=os.getpid()), stdout=copy)
        assert socketkit("connect", receiver.endpoint, stdin=file).finish() == Result(0, b"", "")
        assert receiver.finish().status == 0
    assert checksum(tmp_path / "copy") == checksum(tmp_path / "file")


def test_20_mb_through_pipes_both_ways_at_once(socketkit: Start, start: Start) -> None:
    data = os.urandom(20_000_000)
    receiver = socketkit("listen", "tcp://localhost:0", stdin=subprocess.PIPE)
    sender = start(
        ["sh", "-c", 'cat | "$@" | cat', "sh", *socketkit_words("connect", receiver.endpoint)], stdin=subprocess.PIPE
    )
    results: list[Result] = []
    thread = threading.Thread(target=lambda: results.append(receiver.finish(data)))
    thread.start()
    assert sender.finish(data).out == data
    thread.join(20)
    assert results[0].out == data


def socketkit_words(*words: str) -> list[str]:
    return [sys.executable, "-m", "socketkit", *words]


def checksum(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes()).hexdigest()


# --- how it ends


@pytest.mark.parametrize("flags", [[], ["--keep"]])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_while_nobody_has_come(
    socketkit: Start, tmp_path: Path, flags: list[str], number: signal.Signals, status: int
) -> None:
    path = tmp_path / "socket"
    command = socketkit("listen", *flags, f"unix://{path}")
    assert command.endpoint == f"unix://{path}"
    assert path.is_socket()
    command.process.send_signal(number)
    assert command.finish().status == status
    assert not path.exists()


def test_port_is_taken(ran: Ran) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"tcp://localhost:{taken.getsockname()[1]}"
        result = ran("listen", url)
    assert result.status == 1
    assert result.err.startswith(f"socketkit: listen {url}: already in use: ")
    assert result.err.count("\n") == 1


def test_unix_socket_is_taken(socketkit: Start, ran: Ran, tmp_path: Path) -> None:
    first = socketkit("listen", f"unix://{tmp_path}/socket")
    url = first.endpoint
    assert ran("listen", url).err.startswith(f"socketkit: listen {url}: already in use")


def test_folder_is_missing(ran: Ran, tmp_path: Path) -> None:
    url = f"unix://{tmp_path}/missing/socket"
    assert ran("listen", url) == Result(1, b"", f"socketkit: listen {url}: no such path\n")


def test_path_is_too_long(ran: Ran) -> None:
    result = ran("listen", f"unix:///tmp/{'x' * 120}")
    assert result.status == 2
    reason, address, caret = result.err.splitlines()
    assert reason.startswith("socketkit: the path has 125 bytes")
    assert address.strip().startswith("unix:///tmp/xxx")
    assert caret.strip() == "^"


def test_address_of_another_machine(ran: Ran) -> None:
    assert ran("listen", "tcp://192.0.2.1:0?plaintext=yes").err.startswith(
        "socketkit: listen tcp://192.0.2.1:0?plaintext=yes: no such address on this machine"
    )


def test_plain_text_for_other_machines_must_be_written_out(ran: Ran) -> None:
    result = ran("listen", "tcp://*:0")
    assert (result.status, result.out) == (1, b"")
    assert result.err == (
        "socketkit: listen tcp://*:0: plain text would be open to other machines: write tls://*:0 to encrypt it, "
        "tcp://*:0?plaintext=yes to allow it, or leave the host out to stay on this machine (tcp://:0)\n"
        "see docs/threats/open-ports.md\n"
    )
