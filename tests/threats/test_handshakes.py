"""What TLS services show, asked over loopback; and what an audit says of it."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from socketkit.threats.handshakes import probe, shown
from socketkit.threats.unencrypted import find
from tests.threats.made_up import NOW, Row, ids, view

OpenSSL = Callable[..., str]


@contextmanager
def served(certificate: str, key: str) -> Iterator[int]:
    """A TLS service with this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with suppress(ssl.SSLError):
        context.set_ciphers("ALL:@SECLEVEL=0")
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    plain, _ = listener.accept()
                    with suppress(OSError), plain, context.wrap_socket(plain, server_side=True) as tls:
                        tls.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


@pytest.fixture
def made(openssl: OpenSSL, tmp_path: Path) -> Callable[..., tuple[str, str]]:
    def make(*kind: str, days: int = 100, digest: str = "-sha256") -> tuple[str, str]:
        certificate, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
        words = ("-keyout", key, "-out", certificate, "-days", str(days), "-subj", "/CN=box", "-nodes", digest)
        openssl("req", "-x509", *kind, *words)
        return certificate, key

    return make


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (("-newkey", "rsa:1024"), [("UE5", "high")]),
        (("-newkey", "rsa:2048"), []),
        (("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"), []),
        (("-newkey", "ed25519"), []),
    ],
)
def test_weak_key_until_there_is_a_better_one(
    made: Callable[..., tuple[str, str]], kind: tuple[str, ...], expected: list[tuple[str, str]]
) -> None:
    with served(*made(*kind)) as port:
        found = probe([Row(f"tcp://127.0.0.1:{port}")])
    assert [(one.place, one.subject) for one in found] == [(f"localhost:{port}", "box")]
    assert ids(find(view(presented=found, now=found[0].expires.timestamp() - 90 * 86_400))) == expected  # type: ignore[union-attr]


@pytest.mark.slow
def test_certificate_that_ends_soon_and_that_has_ended(made: Callable[..., tuple[str, str]]) -> None:
    with served(*made("-newkey", "rsa:2048", days=3)) as port:
        one = shown("localhost:1", "127.0.0.1", port, "tcp://127.0.0.1:1")
    assert one is not None and one.expires is not None
    ends = one.expires.timestamp()
    for left, expected in ((1, [("UE4", "low")]), (-1, [("UE4", "high")]), (30, [])):
        assert ids(find(view(presented=[one], now=ends - left * 86_400))) == expected


def test_who_speaks_no_tls_is_left_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def refuse() -> None:
            with listener.accept()[0] as plain:
                plain.recv(10)
                plain.send(b"220 hello\r\n")

        thread = threading.Thread(target=refuse)
        thread.start()
        assert probe([Row(f"tcp://127.0.0.1:{port}"), Row("udp://127.0.0.1:9"), Row("unix:///run/a")]) == []
        thread.join(10)
    assert NOW > 0
