"""Floods, found: in views that were made up, and on this machine, until the remedy was applied."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from socket import AF_INET, SOCK_DGRAM, create_connection, create_server, socket

import pytest

from socketkit.inspect.selection import Selection
from socketkit.threats.flooding import find
from socketkit.threats.view import Remembered
from tests.threats.findings.looking import about, seen
from tests.threats.made_up import Program, Row, ids, view
from tests.threats.namespaces import Network

LISTENER = "tcp://192.0.2.1:7171?plaintext=yes"


def callers(number: int, host: str = "198.51.100.7", **known: object) -> list[Row]:
    return [Row("tcp://192.0.2.1:7171", f"tcp://{host}:{50_000 + count}", **known) for count in range(number)]


def test_full_queue() -> None:
    assert ids(find(view(Row(LISTENER, backlog=128, backlog_limit=128)))) == [("DS1", "high")]
    assert ids(find(view(Row(LISTENER, backlog=127, backlog_limit=128)))) == []
    assert ids(find(view(Row(LISTENER, backlog=0, backlog_limit=0)))) == []


def test_syn_cookies() -> None:
    name = "TcpExt.SyncookiesSent"
    assert ids(find(view(sysctls={"net.ipv4.tcp_syncookies": "0"}))) == [("DS2", "medium")]
    before = Remembered(counters={name: 5}, counters_at=900.0)
    assert ids(find(view(counters={name: 9}, before=before))) == [("DS3", "medium")]
    assert ids(find(view(counters={name: 5}, before=before))) == []


def test_one_source() -> None:
    assert ids(find(view(Row(LISTENER), *callers(40)))) == [("DS4", "medium")]
    crowd = [row for last in range(200) for row in callers(1, f"198.51.100.{last}")]
    assert ids(find(view(Row(LISTENER), *callers(40), *crowd))) == []
    assert ids(find(view(Row(LISTENER), *callers(10)))) == []


@pytest.mark.parametrize(
    ("name", "where"), [("", "--own"), ("blue", """'namespace="blue"'"""), ("pid 12", """'namespace="pid 12"'""")]
)
def test_what_closes_them_means_their_namespace_only(name: str, where: str) -> None:
    rows = [Row(LISTENER, namespace_name=name), *callers(40, namespace_name=name)]
    (found,) = find(view(*rows))
    (command,) = found.commands
    assert command == f"socketkit ls --kill {where} peer=198.51.100.7 local-port=7171"
    selection = Selection(" ".join(word for word in shlex.split(command)[3:] if word != "--own"))
    assert [selection.matches(row) for row in rows] == [False] + [True] * 40  # type: ignore[arg-type]
    (stranger,) = callers(1, namespace_name="pid 1")
    assert selection.matches(stranger) == (not name)  # type: ignore[arg-type]


def test_slow_drip() -> None:
    slow = {"youngest_seconds": 60.0, "received_bytes": 60, "quiet_seconds": 1.0}
    assert ids(find(view(Row(LISTENER), *callers(10, **slow)))) == [("DS5", "medium")]
    assert ids(find(view(Row(LISTENER), *callers(10, **{**slow, "sent_bytes": 9})))) == []
    assert ids(find(view(Row(LISTENER), *callers(10, **{**slow, "received_bytes": 60_000})))) == []


def test_peer_that_never_reads() -> None:
    stalled = {"send_queue": 200_000, "quiet_seconds": 40.0}
    assert ids(find(view(*callers(1, **stalled)))) == [("DS6", "medium")]
    assert ids(find(view(*callers(1, **{**stalled, "quiet_seconds": 1.0})))) == []


@pytest.mark.parametrize(("number", "expected"), [(95, [("DS7", "high")]), (50, [])])
def test_descriptors(number: int, expected: list[tuple[str, str]]) -> None:
    process = Program()
    assert ids(find(view(Row(LISTENER, processes=(process,)), descriptors={process.pid: (number, 100)}))) == expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("udp://*:53?plaintext=yes", [("DS8", "medium")]),
        ("udp://*:11211?plaintext=yes", [("DS8", "high")]),
        ("udp://127.0.0.1:11211", []),
        ("tcp://*:53?plaintext=yes", []),
        ("udp://*:7171?plaintext=yes", []),
    ],
)
def test_amplifier(address: str, expected: list[tuple[str, str]]) -> None:
    assert ids(find(view(Row(address)))) == expected


# --- on this machine


def test_full_queue_until_they_are_accepted() -> None:
    with ExitStack() as stack:
        listener = stack.enter_context(create_server(("127.0.0.1", 0), backlog=2))
        port = listener.getsockname()[1]
        for _ in range(3):
            stack.enter_context(create_connection(listener.getsockname()))
        assert about(find(seen()), f":{port}") == [("DS1", "high")]
        for _ in range(3):
            stack.enter_context(listener.accept()[0])
        assert about(find(seen()), f":{port}") == []


def test_one_source_until_it_goes() -> None:
    with create_server(("127.0.0.1", 0), backlog=64) as listener:
        port = listener.getsockname()[1]
        with ExitStack() as stack:
            for _ in range(40):
                stack.enter_context(create_connection(listener.getsockname()))
                stack.enter_context(listener.accept()[0])
            assert about(find(seen()), f":{port}") == [("DS4", "info")]  # from this machine itself
        assert about(find(seen()), f":{port}") == []


HOARDER = """
import os, resource, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 4096))
listener = socket.create_server(("127.0.0.1", 0))
kept = [os.dup(0) for _ in range(58)]
print(listener.getsockname()[1], flush=True)
sys.stdin.readline()
"""


@pytest.mark.privileged
def test_descriptors_until_more_are_allowed(program: Callable[[str], str]) -> None:
    words = [sys.executable, "-Sc", HOARDER]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as hoarder:
        assert hoarder.stdout is not None
        assert hoarder.stdout.readline()
        (found,) = [one for one in find(seen()) if one.id == "DS7" and f"[{hoarder.pid}]" in (one.process or "")]
        subprocess.run([program("prlimit"), *found.commands[0].split()[1:]], check=True)
        assert not [one for one in find(seen()) if one.id == "DS7" and f"[{hoarder.pid}]" in (one.process or "")]


@pytest.mark.privileged
@pytest.mark.slow
def test_cookies_and_an_amplifier_until_they_are_mended(network: Callable[..., Network]) -> None:
    server = network("server")["server"]
    server.set(ipv4__tcp_syncookies=0)
    with server.entered():
        (found,) = [one for one in find(seen()) if one.id == "DS2"]
        server.run(*found.commands[0].split())
        with socket(AF_INET, SOCK_DGRAM) as sock:
            sock.bind(("0.0.0.0", 123))
            view = seen()
            assert [one for one in find(view) if one.id == "DS2"] == []
            assert about(find(view), "udp4://*:123 py", "DS8") == [("DS8", "high")]
        with socket(AF_INET, SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 123))
            assert about(find(seen()), ":123 py", "DS8") == []
