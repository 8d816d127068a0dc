"""Probes on real sockets: what they look like on the wire, and what is found of them in answers."""

from __future__ import annotations

import select
import socket
from socket import AF_INET, AF_INET6

import pytest

from socketkit.inspect.icmp import Refusal, checksum, echo_request
from socketkit.inspect.probe_sockets import Arrival, Complaint
from socketkit.inspect.route import Probe
from socketkit.inspect.route_probes import EchoProbes, Found, Probes, TcpProbes, UdpProbes, open_probes
from socketkit.inspect.targets import Target

LOOPBACK = Target("127.0.0.1", AF_INET, ("127.0.0.1", 0))
LOOPBACK6 = Target("::1", AF_INET6, ("::1", 0, 0, 0))
EXPIRED = Refusal(AF_INET, 11, 0)


def found(probes: Probes) -> list[Found]:
    """The next answers; waits for them."""
    poll = select.poll()
    for fd, writable in probes.descriptors():
        poll.register(fd, select.POLLIN | (select.POLLOUT if writable else 0))
    for _ in range(100):
        if answers := list(probes.found()):
            return answers
        poll.poll(100)
    raise AssertionError("no answer")


@pytest.fixture
def closed_port() -> int:
    """One on which nobody listens, neither UDP nor TCP."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("target", [LOOPBACK, LOOPBACK6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("kind", ["udp", "tcp"])
def test_closed_port_is_reached(kind: str, target: Target, closed_port: int) -> None:
    probes = open_probes(kind, target, closed_port, find_mtu=False)
    try:
        assert probes.send(Probe(7, 3, 0), varied=False) == 0
        (answer,) = found(probes)
        assert (answer.number, answer.source) == (7, target.address)
        assert answer.refusal is None or answer.refusal.port_unreachable
    finally:
        probes.close()


def test_accepted_connection_is_reset(closed_port: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        probes = TcpProbes(LOOPBACK, server.getsockname()[1])
        probes.send(Probe(9, 3, 0), varied=False)
        (answer,) = found(probes)
        assert (answer.number, answer.refusal) == (9, None)
        connection, _ = server.accept()
        with connection, pytest.raises(ConnectionResetError):
            connection.recv(1)


def test_somebody_who_sends_datagrams_back_is_reached() -> None:
    with socket.socket(AF_INET, socket.SOCK_DGRAM) as echo:
        echo.bind(("127.0.0.1", 0))
        probes = UdpProbes(LOOPBACK, echo.getsockname()[1], find_mtu=False)
        try:
            probes.send(Probe(513, 3, 0), varied=False)
            data, caller = echo.recvfrom(100)
            echo.sendto(b"nonsense", caller)
            echo.sendto(data, caller)
            (answer,) = found(probes)
            assert (answer.number, answer.source, answer.refusal) == (513, "127.0.0.1", None)
        finally:
            probes.close()


def test_ports_of_a_flow_stay_the_same_until_they_must_vary() -> None:
    with socket.socket(AF_INET, socket.SOCK_DGRAM) as there:
        there.bind(("127.0.0.1", 0))
        there.settimeout(5)
        port = there.getsockname()[1]
        probes = UdpProbes(LOOPBACK, port, find_mtu=False)
        try:
            for number in range(1, 6):
                probes.send(Probe(number, number, 0), varied=False)
            assert len({there.recvfrom(100)[1] for _ in range(5)}) == 1
            probes.send(Probe(6, 6, 0), varied=True)
            (answer,) = found(probes)  # another port, on which nobody is
            assert answer.number == 6
        finally:
            probes.close()


def test_varied_ports_tell_where_nothing_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    probes = UdpProbes(LOOPBACK, 40_000, find_mtu=False)
    try:
        sent: list[tuple[object, ...]] = []
        monkeypatch.setattr(probes._socket, "send", lambda data, to, hops: sent.append(to) or 0)
        for number in (5, 6):
            probes.send(Probe(number, number, 0), varied=True)
        complaints = [Complaint(b"", to, ("198.51.100.1", 0), EXPIRED, 113, 0, 1) for to in sent]
        complaints.append(Complaint(b"", ("127.0.0.1", 40_000), ("198.51.100.1", 0), EXPIRED, 113, 0, 1))
        complaints.append(Complaint(b"x" * 40, ("127.0.0.1", 40_000), ("198.51.100.1", 0), EXPIRED, 113, 0, 1))
        monkeypatch.setattr(probes._socket, "complaints", lambda: iter(complaints))
        assert [answer.number for answer in probes.found()] == [5, 6, None]
    finally:
        probes.close()


@pytest.mark.privileged
def test_checksum_of_echo_requests_is_that_of_the_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    probes = EchoProbes(LOOPBACK, find_mtu=False)
    try:
        sent: list[bytes] = []
        monkeypatch.setattr(probes._socket, "send", lambda data, to, hops: sent.append(data) or 0)
        for number in (1, 2, 999, 0xFFFF):
            probes.send(Probe(number, 1, 0), varied=False)
        assert len({data[:6] for data in sent}) == 1  # type, code, checksum, identifier
        assert len({data[6:8] for data in sent}) == 4
        assert {checksum(data) for data in sent} == {0xFFFF}
    finally:
        probes.close()


@pytest.mark.privileged
def test_forged_echoes_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    probes = EchoProbes(LOOPBACK, find_mtu=False)
    try:
        mine, token = probes._echoes.identifier, probes._token

        def reply(identifier: int, payload: bytes) -> Arrival:
            data = echo_request(AF_INET, identifier, 5, payload)
            return Arrival(b"\0" + data[1:], ("127.0.0.1", 0), 1, 64)

        def error(identifier: int, payload: bytes) -> Complaint:
            quoted = echo_request(AF_INET, identifier, 6, payload)
            return Complaint(quoted, ("127.0.0.1", 0), ("198.51.100.1", 0), EXPIRED, 113, 0, 1)

        arrivals = [reply(mine ^ 1, token), reply(mine, b"x" * 8), reply(mine, b""), reply(mine, token + b"rest")]
        complaints = [error(mine ^ 1, token), error(mine, b"x" * 8), error(mine, b""), error(mine, token)]
        monkeypatch.setattr(probes._socket, "arrivals", lambda: iter(arrivals))
        monkeypatch.setattr(probes._socket, "complaints", lambda: iter(complaints))
        answers = list(probes.found())
        assert [(answer.number, answer.refusal) for answer in answers] == [(6, EXPIRED), (6, EXPIRED), (5, None)]
    finally:
        probes.close()


@pytest.mark.parametrize(("target", "headers"), [(LOOPBACK, 28), (LOOPBACK6, 48)], ids=["IPv4", "IPv6"])
def test_size_of_packets(target: Target, headers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    probes = UdpProbes(target, None, find_mtu=True)
    try:
        sent: list[int] = []
        monkeypatch.setattr(probes._socket, "send", lambda data, to, hops: sent.append(len(data)) or 0)
        for size in (0, 1500, 68):
            probes.send(Probe(1, 1, size), varied=False)
        assert sent == [32, 1500 - headers, 68 - headers]
    finally:
        probes.close()


def test_errors_that_are_read_while_looking_for_the_mtu_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    probes = UdpProbes(LOOPBACK, None, find_mtu=True)
    try:
        to, by = ("127.0.0.1", 33_434), ("198.51.100.1", 0)
        complaints = [
            Complaint(probes._token + b"\0\5", to, by, EXPIRED, 113, 0, 1),
            Complaint(b"", to, None, None, 90, 1500, 1),
        ]
        monkeypatch.setattr(probes._socket, "complaints", lambda: iter([complaints.pop(0) for _ in complaints[:]]))
        assert probes.local_mtu() == 1500
        assert [answer.number for answer in probes.found()] == [5]
        assert list(probes.found()) == []
    finally:
        probes.close()
