"""Denial of service, made in a network and found by `audit` there, until what the finding says was done."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from socketkit.threats import flooding, state, view
from socketkit.threats.finding import Finding
from tests.threats.auditing import Auditor, QuickAuditor, until
from tests.threats.namespaces import Host, Network

pytestmark = [pytest.mark.privileged, pytest.mark.slow]

MakeNetwork = Callable[..., Network]
PORT = 7171
NOBODY = "10.77.99.99"  # answers no SYN-ACK, so that what it began stays half open
SYNS = 200
CALLERS = 10


def listening(host: Host, backlog: int) -> socket.socket:
    with host.entered():
        return socket.create_server(("0.0.0.0", PORT), backlog=backlog)


def counter(host: Host, name: str) -> int:
    with host.entered():
        lines = Path("/proc/thread-self/net/netstat").read_text().splitlines()
    names, values = (line.split() for line in lines[:2])
    return int(values[names.index(name)])


def test_syns_that_come_too_fast_until_there_is_room_for_them(
    network: MakeNetwork, program: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each look counts from the one before it, however soon it comes.
    monkeypatch.setattr(state, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(view, "LEAST_SECONDS", 0.0)
    net = network("server", "attacker")
    server, attacker = net["server"], net["attacker"]
    auditor = Auditor(server, tmp_path)

    def flood() -> None:
        """Made anew for each look: the kernel forgets callers of a full queue after few seconds."""
        before = counter(server, "SyncookiesSent") + half_open()
        words = ("-q", "-n", "-S", "-a", NOBODY, "-s", "20000", "-p", str(PORT), "-c", str(SYNS), "-i", "u500")
        attacker.start(program("hping3"), *words, server.ip4)
        until(lambda: counter(server, "SyncookiesSent") + half_open() - before, lambda more: more >= SYNS // 2)

    def half_open() -> int:
        with server.entered():
            lines = Path("/proc/thread-self/net/tcp").read_text().splitlines()[1:]
        return sum(line.split()[3] == "03" for line in lines)

    def look() -> list[Finding]:
        flood()
        return quick.new()

    def listed() -> str:
        flood()
        return auditor.run("socketkit", "ls", "--json", "state=syn-received")

    with listening(server, backlog=8):
        quick = QuickAuditor(server)
        (found,) = until(look, lambda found: found and found[0].socket)
        assert (found.id, found.severity) == ("DS3", "medium")
        assert f"tcp4://*:{PORT}" in str(found.socket)
        assert f"[{os.getpid()}]" in str(found.process)
        assert "socketkit ls state=syn-received" in found.remedy
        until(listed, lambda said: NOBODY in said)
    with listening(server, backlog=1024):
        quick.new()  # of the floods so far
        before = counter(server, "SyncookiesSent")
        flood()
        assert "DS3" not in {one.id for one in quick.new()}
        assert counter(server, "SyncookiesSent") == before


@pytest.fixture
def called(network: MakeNetwork) -> Iterator[tuple[Network, list[socket.socket], list[socket.socket]]]:
    """A server and its callers: both ends of each connection."""
    net = network("server", "caller")
    with ExitStack() as stack, listening(net["server"], backlog=64) as listener:
        callers, served = [], []
        for _ in range(CALLERS):
            with net["caller"].entered():
                callers.append(stack.enter_context(socket.create_connection((net["server"].ip4, PORT))))
            served.append(stack.enter_context(listener.accept()[0]))
        yield net, callers, served


@pytest.fixture
def bystander(network: MakeNetwork) -> Iterator[socket.socket]:
    """A connection in another network with the same addresses, as two containers may have: at the server's end."""
    net = network("server", "caller")
    with listening(net["server"], backlog=1) as listener:
        with net["caller"].entered():
            calling = socket.create_connection((net["server"].ip4, PORT))
        with calling, listener.accept()[0] as served:
            yield served


Called = tuple[Network, list[socket.socket], list[socket.socket]]


def test_drips_until_they_are_closed(
    called: Called, bystander: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flooding, "DRIP_SECONDS", 1.0)
    net, callers, served = called
    server = net["server"]
    quick = QuickAuditor(server)

    def drip() -> list[Finding]:
        for caller, taken in zip(callers, served, strict=True):
            caller.send(b".")
            taken.recv(1)
        return quick.new()

    (found,) = until(drip, len)
    assert (found.id, found.socket, found.severity) == ("DS5", f"tcp4://*:{PORT}", "medium")
    assert found.process is not None and f"[{os.getpid()}]" in found.process
    assert f"{CALLERS} connections" in found.evidence and net["caller"].ip4 in found.evidence
    for taken in served:
        taken.send(b"answer")
    assert quick.new() == []  # who is answered does not drip
    (remedy,) = found.commands
    assert f"closed {CALLERS} sockets" in Auditor(server, tmp_path).apply(remedy)
    assert quick.new() == []
    with pytest.raises(ConnectionError):
        served[0].recv(1)
    assert bystander.getpeername()[0] == callers[0].getsockname()[0]
    bystander.setblocking(False)
    with pytest.raises(BlockingIOError):
        bystander.recv(1)


def test_peer_that_never_reads_until_it_is_closed(
    called: Called, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flooding, "STALLED_SECONDS", 1.0)
    net, callers, served = called
    server, (stalled, *_), (taken, *others) = net["server"], callers, served
    quick = QuickAuditor(server)
    taken.setblocking(False)

    def fill() -> list[Finding]:
        try:
            while True:
                taken.send(bytes(65_536))
        except BlockingIOError:
            return quick.new()

    (found,) = until(fill, len)
    peer = "{}:{}".format(*stalled.getsockname())
    assert (found.id, found.severity) == ("DS6", "medium")
    assert found.socket is not None and peer in found.socket
    assert found.process is not None and f"[{os.getpid()}]" in found.process
    (remedy,) = found.commands
    assert "closed 1 socket" in Auditor(server, tmp_path).apply(remedy)
    assert quick.new() == []
    with pytest.raises(ConnectionError):
        taken.recv(1)
    others[0].send(b"x")  # nobody else was closed
