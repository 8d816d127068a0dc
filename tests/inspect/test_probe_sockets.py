"""What the kernel says of probes: replies with time and hops, errors with who sent them, permission and its remedy."""

from __future__ import annotations

import errno
import select
import socket
import struct
import time
from collections.abc import Callable
from socket import AF_INET, AF_INET6, IPPROTO_IP, SOL_SOCKET

import pytest

from socketkit import SocketError
from socketkit.inspect import probe_sockets
from socketkit.inspect.icmp import Refusal, echo_request, parse_echo
from socketkit.inspect.probe_sockets import Arrival, Complaint, EchoSocket, ProbeSocket, explained
from socketkit.types.raw import how_to_be_permitted

LOOPBACK = {AF_INET: ("127.0.0.1", 0), AF_INET6: ("::1", 0, 0, 0)}
families = pytest.mark.parametrize("family", [AF_INET, AF_INET6], ids=["IPv4", "IPv6"])


def wait(probe: ProbeSocket) -> None:
    """Until a message or an error is there."""
    poll = select.poll()
    poll.register(probe.fileno(), select.POLLIN)
    assert poll.poll(5000)


@families
@pytest.mark.privileged
def test_echo(family: int) -> None:
    echoes = EchoSocket(family)
    try:
        before_ns = time.monotonic_ns()
        assert echoes.send(echo_request(family, echoes.identifier, 7, b"hello"), LOOPBACK[family]) == 0
        arrived: list[Arrival] = []
        while not arrived:
            wait(echoes)
            # On loopback a raw socket over IPv6 would see the request, too, but for its filter.
            arrived = list(echoes.arrivals())
        (arrival,) = arrived
        echo = parse_echo(arrival.data)
        assert echo is not None
        assert (echo.identifier, echo.sequence, echo.payload) == (echoes.identifier, 7, b"hello")
        assert arrival.source[0] == LOOPBACK[family][0]
        assert arrival.hops_left == 64
        assert before_ns <= arrival.at_ns <= time.monotonic_ns()
    finally:
        echoes.close()


@families
def test_error_queue_says_who_refused_what(family: int) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as closed:
        closed.bind(LOOPBACK[family])
        to = (LOOPBACK[family][0], closed.getsockname()[1], *LOOPBACK[family][2:])
    probe = ProbeSocket(family, socket.SOCK_DGRAM)
    try:
        assert probe.send(b"probe", to, hops=3) == 0
        wait(probe)
        assert list(probe.arrivals()) == []  # the pending error is not raised: the queue has it
        (complaint,) = probe.complaints()
        assert (complaint.quoted, complaint.destination[:2]) == (b"probe", to[:2])
        assert complaint.source is not None
        assert complaint.source[0] == to[0]
        assert complaint.refusal is not None
        assert complaint.refusal.port_unreachable
        assert complaint.reason == "port unreachable"
        assert list(probe.complaints()) == []
    finally:
        probe.close()


def test_what_this_machine_refuses() -> None:
    probe = ProbeSocket(AF_INET, socket.SOCK_DGRAM)
    try:
        assert probe.send(bytes(70_000), ("127.0.0.1", 9)) == errno.EMSGSIZE
        assert probe.send(b"", ("255.255.255.255", 9)) == errno.EACCES
    finally:
        probe.close()


@pytest.mark.parametrize(
    ("number", "mtu_bytes", "words"),
    [
        (errno.EMSGSIZE, 1500, "too large for the interface (MTU 1500)"),
        (errno.EMSGSIZE, 0, "too large for the interface"),
        (errno.EACCES, 0, "not permitted: a broadcast address, or a firewall of this machine"),
        (errno.ENETUNREACH, 0, "no route to the network"),
    ],
)
def test_words_for_what_this_machine_refuses(number: int, mtu_bytes: int, words: str) -> None:
    assert explained(number, mtu_bytes) == words
    assert Complaint(b"", ("", 0), None, None, number, mtu_bytes, 0).reason == words


def test_link_local_address_without_interface() -> None:
    assert "fe80::1%eth0" in explained(errno.EINVAL)


def test_who_may_not_ping_is_told_how(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(errno.EPERM, "no")

    monkeypatch.setattr(socket, "socket", refused)
    with pytest.raises(SocketError, match="ping_group_range") as caught:
        EchoSocket(AF_INET)
    assert "CAP_NET_RAW" in str(caught.value)
    assert caught.value.errno == errno.EPERM


def test_remedy_names_this_interpreter() -> None:
    assert "setcap cap_net_raw+ep /" in how_to_be_permitted(ping=True)


def test_other_failures_are_not_taken_for_missing_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EMFILE, "no")

    monkeypatch.setattr(socket, "socket", refused)
    with pytest.raises(SocketError, match="ulimit"):
        EchoSocket(AF_INET)


@pytest.mark.parametrize(
    ("age_ns", "counts"), [(5_000_000, True), (-5_000_000_000, False), (120_000_000_000, False)], ids=str
)
def test_clock_that_was_set_meanwhile(age_ns: int, counts: bool) -> None:
    stamp = time.time_ns() - age_ns
    control = [((SOL_SOCKET, probe_sockets.SO_TIMESTAMPNS), struct.pack("@qq", *divmod(stamp, 1_000_000_000)))]
    at_ns, now_ns = probe_sockets._arrived_at_ns(control), time.monotonic_ns()
    assert at_ns <= now_ns
    assert (now_ns - at_ns >= age_ns) is counts or not counts
    assert (now_ns - at_ns < 1_000_000_000) or counts


def test_without_a_timestamp_it_is_now() -> None:
    before_ns = time.monotonic_ns()
    assert before_ns <= probe_sockets._arrived_at_ns([]) <= time.monotonic_ns()


def extended_error(origin: int, kind: int, code: int, info: int, offender: bytes) -> bytes:
    return struct.pack("=IBBBxI4x", errno.EHOSTUNREACH, origin, kind, code, info) + offender


@pytest.mark.parametrize(
    ("offender", "source"),
    [
        (struct.pack("=HH4s8x", AF_INET, 0, bytes([192, 0, 2, 7])), ("192.0.2.7", 0)),
        (struct.pack("=HHI16sI", AF_INET6, 0, 0, bytes(15) + b"\1", 3), ("::1", 0, 0, 3)),
        (bytes(16), None),
        (b"\2", None),
        (b"", None),
    ],
)
def test_offender(offender: bytes, source: tuple[object, ...] | None) -> None:
    complaint = probe_sockets._complaint(AF_INET, b"", ("", 0), extended_error(2, 3, 1, 0, offender), 0)
    assert complaint.source == source
    assert complaint.refusal == Refusal(AF_INET, 3, 1)


def test_error_of_this_machine_has_no_source() -> None:
    complaint = probe_sockets._complaint(AF_INET, b"", ("", 0), extended_error(1, 0, 0, 1400, bytes(16)), 0)
    assert (complaint.source, complaint.refusal, complaint.mtu_bytes) == (None, None, 1400)


@pytest.mark.privileged
def test_raw_socket_where_there_are_no_ping_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[..., socket.socket] = socket.socket

    def without_ping_sockets(family: int, kind: int, protocol: int = 0) -> socket.socket:
        if kind & socket.SOCK_RAW != socket.SOCK_RAW:
            raise PermissionError(errno.EACCES, "no")
        return real(family, kind, protocol)

    monkeypatch.setattr(socket, "socket", without_ping_sockets)
    for family in (AF_INET, AF_INET6):
        echoes = EchoSocket(family)
        assert echoes.raw
        assert 0 <= echoes.identifier <= 0xFFFF
        echoes.limit_hops(9)
        option = (IPPROTO_IP, socket.IP_TTL) if family == AF_INET else (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS)
        assert echoes.sock.getsockopt(*option) == 9
        echoes.close()
