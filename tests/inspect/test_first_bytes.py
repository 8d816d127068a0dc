"""First bytes over the loopback interface: what is kept, what is found, and what is refused."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

import pytest

from socketkit import Endpoint
from socketkit.errors import SocketError
from socketkit.inspect.first_bytes import FirstBytes, FlowEvidence

T = TypeVar("T")


class Entry(NamedTuple):
    local: Endpoint | None
    peer: Endpoint | None = None

    @property
    def scheme(self) -> str:
        return self.local.scheme if self.local is not None else "unix"


def until(ask: Callable[[], T | None]) -> T:
    """What `ask` gives once it gives something: the ring hands packets over when its block's time is over."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        answer = ask()
        if answer:
            return answer
        time.sleep(0.01)
    raise AssertionError("it was not seen")


@pytest.fixture
def collector(no_leaks: None) -> Iterator[FirstBytes]:
    with FirstBytes(["lo"]) as collector:
        yield collector


@pytest.fixture
def pair(collector: FirstBytes) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Client and server, connected since the collector runs."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname()) as client:
            server, _ = listener.accept()
            with server:
                yield client, server


def entry_of(opened: socket.socket, scheme: str = "tcp") -> Entry:
    (host, port), (peer, peer_port) = opened.getsockname(), opened.getpeername()
    return Entry(Endpoint(scheme=scheme, host=host, port=port), Endpoint(scheme=scheme, host=peer, port=peer_port))


privileged = pytest.mark.privileged


@privileged
@pytest.mark.slow
def test_what_both_sides_said_first_is_kept(collector: FirstBytes, pair: tuple[socket.socket, socket.socket]) -> None:
    client, server = pair
    client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" + b"x" * 1_000)
    server.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

    def both() -> FlowEvidence | None:
        seen = collector.lookup(entry_of(client))
        return seen if seen is not None and seen.sent and seen.received else None

    seen = until(both)
    assert seen.sent.startswith(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nxxx") and len(seen.sent) == 127
    assert seen.received == b"HTTP/1.1 200 OK\r\n\r\n"
    assert (seen.protocol, seen.purpose, seen.encrypted) == ("HTTP/1", "web", "no")
    assert (seen.started, seen.local_began, seen.transport) == (True, True, "tcp")
    assert seen.payload_bytes == (1_027, 19)
    other = collector.lookup(entry_of(server))
    assert other is not None and (other.received, other.local_began) == (seen.sent, False)
    listening = Entry(Endpoint(scheme="tcp", host="*", port=server.getsockname()[1]))
    last = collector.lookup(listening)
    assert last is not None and last.protocol == "HTTP/1"


@privileged
@pytest.mark.slow
def test_what_ran_before_is_known_as_such(no_leaks: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname()) as client, listener.accept()[0]:
            with FirstBytes(["lo"]) as collector:
                client.sendall(b"SSH-2.0-late\r\n")
                seen = until(lambda: collector.lookup(entry_of(client)))
                assert (seen.started, seen.confidence) == (False, 0.7)


@privileged
@pytest.mark.slow
def test_an_unconnected_datagram_socket_is_found_by_its_port(collector: FirstBytes) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind(("127.0.0.1", 0))
        sender.sendto(b"page.views:1|c", receiver.getsockname())
        entry = Entry(Endpoint(scheme="udp", host="*", port=receiver.getsockname()[1]))
        seen = until(lambda: collector.lookup(entry))
        assert (seen.protocol, seen.received, seen.sent) == ("statsd", b"page.views:1|c", b"")


@privileged
def test_sockets_without_flows_have_no_evidence(collector: FirstBytes) -> None:
    assert collector.lookup(Entry(None)) is None
    assert collector.lookup(Entry(Endpoint(scheme="tcp", host="127.0.0.1", port=1))) is None
    assert collector.lookup(Entry(Endpoint.parse("unix:///run/x"))) is None
    assert collector.flow("udp", ("127.0.0.1", 1), ("127.0.0.1", 2)) is None
    assert set(collector.counters()) == {"packets", "dropped", "flows", "pushed_out"}


@privileged
def test_after_the_end_nothing_is_asked() -> None:
    collector = FirstBytes(["lo"])
    collector.close()
    collector.close()
    with pytest.raises(ValueError, match="closed"):
        collector.counters()


@privileged
def test_an_interface_that_there_is_not_is_named() -> None:
    with pytest.raises(SocketError, match=r"nowhere0: no such interface; there are .*lo") as refused:
        FirstBytes(["nowhere0"])
    assert refused.value.errno == errno.ENODEV


@privileged
def test_a_namespace_that_there_is_not_is_named(tmp_path: object) -> None:
    with pytest.raises(SocketError, match=str(tmp_path)):
        FirstBytes(["lo"], namespace=f"{tmp_path}/none")


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="name an interface"):
        FirstBytes([])
    with pytest.raises(ValueError, match="flows is 1 to"):
        FirstBytes(["lo"], flows=0)
