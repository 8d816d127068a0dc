"""Hijacking, found: in views that were made up, and on this machine, until the remedy was applied."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from socketkit.threats.hijacking import find, ports
from socketkit.threats.view import Remembered, UnixPlace
from tests.threats.findings.looking import about, seen
from tests.threats.made_up import Row, ids, view
from tests.threats.namespaces import Network


@pytest.mark.parametrize(
    ("one", "two", "expected"),
    [
        ("udp://127.0.0.1:53", "udp://127.0.0.1:53", ["HJ1"]),
        ("udp4://*:53?plaintext=yes", "udp://127.0.0.1:53", ["HJ1"]),
        ("udp://*:53?plaintext=yes", "udp://[::1]:53", ["HJ1"]),
        ("udp4://*:53?plaintext=yes", "udp6://*:53?plaintext=yes", []),
        ("udp://127.0.0.1:53", "udp://127.0.0.1:54", []),
    ],
)
def test_two_users_of_a_port(one: str, two: str, expected: list[str]) -> None:
    rows = [Row(one, uid=33), Row(two, uid=1000)]
    assert [check for check, _ in ids(find(view(*rows)))] == expected
    assert ids(find(view(Row(one), Row(two)))) == []  # one user's
    assert ids(find(view(Row(one), Row(two, uid=None)))) == []  # nobody knows whose


def test_reused_address() -> None:
    assert ids(find(view(Row("udp://127.0.0.1:9999", reuse_address=True)))) == [("HJ2", "medium")]
    assert ids(find(view(Row("udp://*:5353?plaintext=yes", reuse_address=True)))) == [("HJ2", "info")]
    assert ids(find(view(Row("udp://127.0.0.1:9999", reuse_address=None)))) == []


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (UnixPlace(5, 5, 0o600, None, False), []),
        (UnixPlace(5, None, 0o600, None, False), []),
        (UnixPlace(6, 5, 0o600, None, False), [("HJ4", "high")]),
        (UnixPlace(None, 5, 0, None, False), [("HJ4", "low")]),
        (UnixPlace(5, 5, 0o600, "/srv/x", False), [("HJ3", "high")]),
        (UnixPlace(5, 5, 0o600, "/tmp", True), [("HJ3", "low")]),
    ],
)
def test_path_of_a_unix_socket(place: UnixPlace, expected: list[tuple[str, str]]) -> None:
    row = Row("unix:///srv/x/a.sock")
    assert ids(find(view(row, unix_places={row.inode: place}))) == expected


@pytest.mark.parametrize(
    ("answered", "unanswered", "seconds", "expected"),
    [
        (1000, 0, 100, [("HJ6", "medium")]),
        (20, 0, 100, []),
        (1200, 6_000_000, 86_400, [("HJ6", "medium")]),  # one connection, for ten minutes of a day
        (1200, 0, 86_400, []),
    ],
)
def test_challenge_acks(answered: int, unanswered: int, seconds: float, expected: list[tuple[str, str]]) -> None:
    names = ("TcpExt.TCPChallengeACK", "TcpExt.TCPACKSkippedChallenge")
    before = Remembered(counters=dict.fromkeys(names, 100), counters_at=1000.0)
    counters = dict(zip(names, (100 + answered, 100 + unanswered), strict=True))
    assert ids(find(view(counters=counters, before=before, uptime=1000.0 + seconds))) == expected
    assert ids(find(view(counters=counters))) == []


def test_port_that_the_kernel_deals_out() -> None:
    row, names = Row("tcp://*:40000?plaintext=yes"), {"net.ipv4.ip_local_port_range": "32768 60999"}
    (found,) = find(view(row, sysctls=names))
    assert (found.id, found.commands) == ("HJ7", ("sysctl -w net.ipv4.ip_local_reserved_ports=40000",))
    names["net.ipv4.ip_local_reserved_ports"] = "8080,39990-40000"
    assert ids(find(view(row, sysctls=names))) == []
    assert ports("") == set()


# --- on this machine

BIND = """
import os, socket, sys
os.setuid(65534)
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
sock.bind(("127.0.0.1", int(sys.argv[1])))
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.privileged
def test_thief_of_datagrams_is_seen_until_he_is_gone() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        words = [sys.executable, "-Sc", BIND, str(port)]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as thief:
            assert thief.stdout is not None
            assert thief.stdout.readline() == b"ready\n"
            assert ("HJ1", "high") in about(find(seen()), str(port))
        assert "HJ1" not in dict(about(find(seen()), str(port)))


def test_reused_address_is_seen_if_the_kernel_tells() -> None:
    for reuse in (1, 0):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
            view = seen()
            (row,) = [row for row in view.listeners if row.scheme == "udp" and row.local and row.local.port == port]
            expected = [("HJ2", "medium")] if row.reuse_address and reuse else []
            assert about(find(view), str(port)) == expected


def test_unix_socket_in_an_open_folder_until_it_is_closed(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    path = str(folder / "a.sock")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        sock.listen()
        for mode, expected in ((0o777, [("HJ3", "high")]), (0o1777, [("HJ3", "low")]), (0o755, [])):
            os.chmod(folder, mode)
            assert about(find(seen()), path) == expected


def test_unix_socket_that_was_replaced_until_it_is_closed(tmp_path: Path) -> None:
    path = str(tmp_path / "a.sock")
    with socket.socket(socket.AF_UNIX) as new:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(path)
            sock.listen()
            assert about(find(seen()), path) == []
            os.unlink(path)
            assert about(find(seen()), path) == [("HJ4", "low")]
            new.bind(path)
            new.listen()
            assert about(find(seen()), path) == [("HJ4", "high")]
        assert about(find(seen()), path) == []


def test_abstract_name_is_seen() -> None:
    name = f"socketkit-findings-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"\0{name}")
        sock.listen()
        assert about(find(seen()), name) == [("HJ5", "low")]
    assert about(find(seen()), name) == []


@pytest.mark.privileged
@pytest.mark.slow
def test_dealt_port_until_it_is_reserved(network: Callable[..., Network]) -> None:
    server = network("server")["server"]
    with server.entered(), socket.create_server(("0.0.0.0", 40_000)):
        (found,) = [one for one in find(seen()) if one.id == "HJ7" and "40000" in one.subject]
        server.run(*found.commands[0].split())
        assert about(find(seen()), "40000", "HJ7") == []
