"""First bytes over the loopback interface: what is kept, what is found, and what is refused."""

from __future__ import annotations

import errno
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

import pytest

from socketkit import Endpoint, _core
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
    flows, names = {"packets", "dropped", "flows", "pushed_out"}, {"answers", "answers_cut", "names_pushed_out"}
    assert set(collector.counters()) == flows | names


# `www.example.com` is `192.0.2.1` for a minute (RFC 1035 §4.1).
ANSWER = (
    bytes.fromhex("000781800001000100000000")
    + b"\3www\7example\3com\0\0\1\0\1"
    + bytes.fromhex("c00c000100010000003c0004c0000201")
)


def packet(source: int, target: int, payload: bytes) -> bytes:
    """An Ethernet frame with a UDP datagram between two ports of 10.0.0.1."""
    datagram = struct.pack("!HHHH", source, target, 8 + len(payload), 0) + payload
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(datagram), 0, 0, 64, 17, 0, b"\n\0\0\1", b"\n\0\0\1")
    return bytes(12) + b"\x08\0" + header + datagram


@pytest.mark.parametrize("port", [53, 5353, 5355])
def test_names_that_led_to_an_address(port: int) -> None:
    collector = _core.FirstBytes([])
    collector.feed(1, packet(40_000, port, b"a question"), 1)
    collector.feed(1, packet(port, 40_000, ANSWER), 2_000_000_000)
    assert collector.resolved("192.0.2.1") == (["www.example.com"], 2_000_000_000, 60)
    assert collector.resolved("::ffff:192.0.2.1") == collector.resolved("192.0.2.1")
    assert collector.resolved("192.0.2.2") is None
    assert (collector.counters()["answers"], collector.counters()["answers_cut"]) == (1, 0)
    with pytest.raises(ValueError, match="no IP address"):
        collector.resolved("www.example.com")


def test_an_answer_that_nobody_asked_for_names_nothing() -> None:
    collector = _core.FirstBytes([])
    collector.feed(1, packet(53, 40_000, ANSWER), 1)
    assert collector.resolved("192.0.2.1") is None
    collector.feed(1, packet(40_000, 53, b"a question"), 2)
    collector.feed(1, packet(53, 40_000, ANSWER[:-1]), 3)
    assert (collector.counters()["answers"], collector.counters()["answers_cut"]) == (1, 1)


@privileged
def test_an_answer_is_seen_as_it_passes(collector: FirstBytes) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as asking, socket.socket(type=socket.SOCK_DGRAM) as answering:
        asking.bind(("127.0.0.1", 0))
        answering.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        answering.bind(("127.0.0.1", 5355))
        answering.sendto(ANSWER, asking.getsockname())
        known = until(lambda: collector.resolved("192.0.2.1"))
    assert (known.names, known.seconds) == (("www.example.com",), 60)
    assert abs(known.at - time.time()) < 60


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
