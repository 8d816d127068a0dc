"""Squatting: a port that we hold is nobody else's, and a socket that somebody else made is not taken for ours."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import socketkit.sync
from socketkit import ConnectError

STRANGER = 65_534  # nobody


# --- ports


@pytest.fixture
def stranger(program: Callable[[str], str]) -> Callable[..., list[str]]:
    """`stranger(words...)`: the command that runs them as another user."""
    return lambda *words: [program("setpriv"), f"--reuid={STRANGER}", "--clear-groups", *words]


WIDER_AND_NARROWER = {"4": ("127.0.0.1", "0.0.0.0"), "6": ("[::1]", "[::]")}
OURS = {
    "tcp://127.0.0.1:0": "4",
    "tcp://[::1]:0": "6",
    "tcp://localhost:0": "46",
    "tcp://*:0?plaintext=yes": "46",
}


@pytest.mark.privileged
@pytest.mark.parametrize(
    ("ours", "family", "theirs"),
    [
        (ours, family, theirs)
        for ours, families in OURS.items()
        for family in families
        for theirs in WIDER_AND_NARROWER[family]
    ],
)
def test_another_user_cannot_take_our_port(
    program: Callable[[str], str], stranger: Callable[..., list[str]], ours: str, family: str, theirs: str
) -> None:
    """Not with every option that shares ports, not on a wider or a narrower address than ours."""
    with socketkit.sync.listen(ours) as listener:
        port = listener.local.port
        alone = ",ipv6only=1" if family == "6" else ""
        socat = f"TCP{family}-LISTEN:{port},bind={theirs},reuseaddr,reuseport{alone}"
        thief = subprocess.run(
            stranger(program("socat"), "-u", socat, "STDOUT"), capture_output=True, text=True, timeout=5, check=False
        )
        assert thief.returncode != 0
        assert "Address already in use" in thief.stderr
        client = socket.create_connection(("::1" if family == "6" else "127.0.0.1", port))
        with client, listener.accept() as stream:
            client.sendall(b"to us")
            assert stream.receive() == b"to us"


# --- Unix sockets


@pytest.fixture
def everybodys_folder() -> Iterator[Path]:
    """As /tmp is: whoever comes first makes the socket."""
    folder = Path(tempfile.mkdtemp(prefix="sk-threats-"))
    os.chmod(folder, 0o1777)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def squatter(
    program: Callable[[str], str], stranger: Callable[..., list[str]], everybodys_folder: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Another user has made the socket, and prints what he is sent."""
    path, pipe = everybodys_folder / "socket", subprocess.PIPE
    words = stranger(program("socat"), "-d", "-d", "-u", f"UNIX-LISTEN:{path},mode=0777", "STDOUT")
    with subprocess.Popen(words, stdout=pipe, stderr=pipe) as process:
        assert process.stderr is not None
        while b"listening on" not in process.stderr.readline():
            assert process.poll() is None
        yield process
        process.kill()


@pytest.mark.privileged
@pytest.mark.parametrize("parameter", ["", "?uid=0"])
def test_a_squatter_is_sent_nothing(squatter: subprocess.Popen[bytes], everybodys_folder: Path, parameter: str) -> None:
    """Who is not the user that was meant (without a word: ourselves or root) is refused before one byte."""
    with pytest.raises(ConnectError, match=str(STRANGER)):
        socketkit.sync.connect(f"unix://{everybodys_folder}/socket{parameter}")
    read, _ = squatter.communicate(timeout=5)
    assert read == b""


@pytest.mark.privileged
def test_a_user_who_is_named_is_no_squatter(squatter: subprocess.Popen[bytes], everybodys_folder: Path) -> None:
    with socketkit.sync.connect(f"unix://{everybodys_folder}/socket?uid={STRANGER}") as stream:
        stream.send(b"for you")
    read, _ = squatter.communicate(timeout=5)
    assert read == b"for you"
