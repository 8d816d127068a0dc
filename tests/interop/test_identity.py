"""An identity in programs that we did not write: Python's ssl serves with it, curl pins it."""

from __future__ import annotations

import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest

from socketkit import Identity
from socketkit.fingerprint import public_key_pin
from tests.keys import A

pytestmark = pytest.mark.slow

WRONG_PIN = 90  # man curl, EXIT CODES


@pytest.fixture
def url(home: Path) -> Iterator[str]:
    """A web server of the standard library, with this user's identity."""
    Identity.of_user()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(home / "identity.pem")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Thread(target=serve, args=(listener, context), daemon=True)
        server.start()
        yield f"https://localhost:{listener.getsockname()[1]}/"
        listener.shutdown(socket.SHUT_RDWR)
        server.join(10)


def serve(listener: socket.socket, context: ssl.SSLContext) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:  # shut down
            return
        with suppress(OSError), connection, context.wrap_socket(connection, server_side=True) as stream:
            stream.settimeout(10)
            stream.recv(65536)
            stream.sendall(b"HTTP/1.0 200 OK\r\n\r\nhello\n")


@pytest.fixture
def curl(program: Callable[[str], str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    path = program("curl")

    def curl(*words: str) -> subprocess.CompletedProcess[str]:
        command = [path, "--silent", "--ipv4", "--noproxy", "*", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=20)

    return curl


def test_pinned(url: str, curl: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    own = Identity.of_user().fingerprint
    assert curl("--insecure", "--pinnedpubkey", public_key_pin(own), url).stdout == "hello\n"
    assert curl("--insecure", "--pinnedpubkey", public_key_pin(A), url).returncode == WRONG_PIN


def test_certificate_as_authority(
    url: str, curl: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    for identity, outcome in ((Identity.of_user(), "hello\n"), (Identity.new(), "")):
        (tmp_path / "certificate.pem").write_text(identity.certificate)
        assert curl("--cacert", str(tmp_path / "certificate.pem"), url).stdout == outcome
