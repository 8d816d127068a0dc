"""Plain text, found: by bytes that were made up, and by those of a connection in a network, until it was TLS."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from socketkit.inspect.first_bytes import FirstBytes
from socketkit.threats.unencrypted import find
from socketkit.threats.view import Presented
from tests.threats.findings.looking import about, seen
from tests.threats.made_up import NOW, Evidence, Row, ids, view
from tests.threats.namespaces import FOLDER, Network

FAR = "tcp://198.51.100.7"


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        (Evidence("FTP", "file sharing", "no"), [("UE1", "high")]),
        (Evidence("HTTP proxy", "proxy", "no"), [("UE1", "high")]),
        (Evidence("HTTP/1", "web", "no"), [("UE2", "medium")]),
        (Evidence("HTTP/1", "web", "no", sent=b"GET / HTTP/1.1\r\nAuthorization: Basic eA==\r\n"), [("UE1", "high")]),
        (Evidence("NTP", "time", "no"), []),
        (Evidence("TLS", "web", "yes", tls_version="TLS 1.0"), [("UE3", "medium")]),
        (Evidence("TLS", "web", "yes", tls_version="TLS 1.3"), []),
    ],
)
def test_by_its_bytes(evidence: Evidence, expected: list[tuple[str, str]]) -> None:
    row = Row("tcp://192.0.2.1:50000", f"{FAR}:7171")
    assert ids(find(view(row, evidence={row: evidence}))) == expected


@pytest.mark.parametrize(("port", "expected"), [(21, [("UE1", "medium")]), (443, []), (80, [])])
def test_by_its_port_it_is_milder(port: int, expected: list[tuple[str, str]]) -> None:
    assert ids(find(view(Row("tcp://192.0.2.1:50000", f"{FAR}:{port}")))) == expected


def test_what_stays_on_this_machine_is_nobody_s() -> None:
    row = Row("tcp://127.0.0.1:50000", "tcp://127.0.0.1:21")
    assert ids(find(view(row, evidence={row: Evidence("FTP", "file sharing", "no")}))) == []


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ({"version": "TLSv1.1"}, [("UE3", "medium")]),
        ({"expires": datetime.fromtimestamp(NOW - 1, UTC)}, [("UE4", "high")]),
        ({"key": "RSA", "key_bits": 1024}, [("UE5", "high")]),
        ({"key": "EC", "key_bits": 256}, []),
        ({"signature": "SHA-1 with RSA"}, [("UE5", "high")]),
    ],
)
def test_certificates(shown: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    presented = Presented("localhost:1", "tcp://127.0.0.1:1", **{"version": "TLSv1.3", "fingerprint": "", **shown})
    assert ids(find(view(presented=[presented]))) == expected


@pytest.mark.privileged
@pytest.mark.slow
def test_password_in_plain_text_until_it_is_tls(network: Callable[..., Network]) -> None:
    net = network("home", "far")
    hello = bytes.fromhex("16030100") + b"\xf4" + bytes.fromhex("010000f00303") + bytes(32)
    for client, server, expected in (
        (b"USER joe\r\n", b"220 box FTP server ready\r\n331 Password required for joe\r\n", [("UE1", "high")]),
        (hello, b"", []),
    ):
        with FirstBytes(namespace=str(FOLDER / net["home"].namespace)) as first_bytes:
            with net["far"].entered():
                listener = socket.create_server(("0.0.0.0", 7171))
            with listener, net["home"].entered():
                with socket.create_connection((net["far"].ip4, 7171)) as caller, listener.accept()[0] as callee:
                    if server:
                        callee.sendall(server)
                        caller.recv(1)
                    caller.sendall(client)
                    callee.recv(1)
                    found: list[tuple[str, str]] = []
                    for _ in range(5):
                        view = seen(first_bytes=first_bytes)
                        found = about(find(view), ":7171")
                        if found == expected and view.evidence:
                            break
                        time.sleep(0.05)
                    assert found == expected
