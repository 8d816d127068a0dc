"""A stream joined to pipes and terminals: who ends first, and what the terminal shows meanwhile."""

from __future__ import annotations

import os
import pty
import socket
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.programs import Start

pytestmark = pytest.mark.slow


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        yield listener


@pytest.fixture
def url(listener: socket.socket) -> str:
    return f"tcp://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """(the keyboard and screen, the program's side)"""
    screen, side = pty.openpty()
    settings = termios.tcgetattr(side)
    settings[1] &= ~termios.OPOST
    settings[3] &= ~termios.ECHO
    termios.tcsetattr(side, termios.TCSANOW, settings)
    termios.tcsetwinsize(side, (24, 80))
    yield screen, side
    os.close(screen)
    os.close(side)


def shown(screen: int, until: str) -> str:
    """What the screen shows, up to these words."""
    text = ""
    while until not in text:
        text += os.read(screen, 4096).decode()
    return text


def test_ctrl_d_is_a_half_close(socketkit: Start, listener: socket.socket, url: str, terminal: tuple[int, int]) -> None:
    screen, side = terminal
    command = socketkit("connect", url, stdin=side, stdout=side, stderr=side)
    peer, _ = listener.accept()
    with peer:
        os.write(screen, b"hello\n")
        assert peer.recv(100) == b"hello\n"
        os.write(screen, b"\x04")
        assert peer.recv(100) == b""
        peer.sendall(b"goodbye\n")
    assert command.finish().status == 0
    assert os.read(screen, 4096) == b"goodbye\n"  # and not a word about progress


def test_terminal_ends_with_the_peer(
    socketkit: Start, listener: socket.socket, url: str, terminal: tuple[int, int]
) -> None:
    _, side = terminal
    command = socketkit("connect", "--linger", "1000", url, stdin=side, stdout=side, stderr=side)
    listener.accept()[0].close()
    assert command.finish().status == 0


def test_progress_of_a_file(
    socketkit: Start, listener: socket.socket, url: str, terminal: tuple[int, int], tmp_path: Path
) -> None:
    screen, side = terminal
    (tmp_path / "file").write_bytes(bytes(20_000_000))
    with (tmp_path / "file").open("rb") as file:
        command = socketkit("connect", url, stdin=file, stderr=side)
        peer, _ = listener.accept()
        with peer:
            assert "received 0 B (0 B/s)" in shown(screen, "received 0 B (0 B/s)")  # it waits for the peer to read
            while peer.recv(1_000_000):
                pass
        assert command.finish().status == 0
    assert "\r\x1b[Ksent 20.0 MB, received 0 B in " in shown(screen, "/s)\n")


def test_progress_gives_way_to_what_is_received(
    socketkit: Start, listener: socket.socket, url: str, terminal: tuple[int, int]
) -> None:
    screen, side = terminal
    command = socketkit("connect", url, stdout=side, stderr=side)
    peer, _ = listener.accept()
    with peer:
        shown(screen, "sent 0 B")
        peer.sendall(b"answer\n")
        assert shown(screen, "answer\n").endswith("\r\x1b[Kanswer\n")
    assert command.finish().status == 0
    os.set_blocking(screen, False)
    with pytest.raises(BlockingIOError):
        os.read(screen, 100)


def test_answer_is_read_although_the_question_was_refused(socketkit: Start, listener: socket.socket, url: str) -> None:
    command = socketkit("connect", url, stdin=subprocess.PIPE)
    peer, _ = listener.accept()
    with peer:
        command.write(b"question")
        assert peer.recv(100) == b"question"
        peer.sendall(b"no\n")
    assert command.read(3) == b"no\n"


def test_silent_pipe_is_given_up_after_the_peers_end(socketkit: Start, listener: socket.socket, url: str) -> None:
    command = socketkit("connect", "--linger", "20", url, stdin=subprocess.PIPE)
    peer, _ = listener.accept()
    with peer:
        peer.shutdown(socket.SHUT_WR)
        for _ in range(3):
            command.write(b"more")
            assert peer.recv(100) == b"more"
        command.input.close()
        command.process.stdin = None
        assert peer.recv(100) == b""
    assert command.finish().status == 0
