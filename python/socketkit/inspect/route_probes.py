"""The probes of `trace` on real sockets: how each kind sends a number with so many hops, and finds it in the answers.

All three work without root where the kernel has an error queue (UDP and TCP) or ping sockets (ICMP). The probes of one
route keep what routers tell flows apart by, so that all take the same way where several lead on (as Paris traceroute):
UDP its two ports, ICMP its identifier and its checksum. A TCP connection to a port exists but once, so that each of its
probes has another source port, and may take another way.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import time
from socket import AF_INET, SO_ERROR, SO_LINGER, SOL_SOCKET
from typing import TYPE_CHECKING, NamedTuple, Protocol

from .icmp import ECHO_REPLY, ECHO_REQUEST, HEADER_BYTES, echo_request, parse_echo
from .probe_sockets import EchoSocket, ProbeSocket

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .icmp import Refusal
    from .probe_sockets import Complaint
    from .route import Probe
    from .targets import Target


class Found(NamedTuple):
    """An answer to the probe of this number; None: what the router quotes is too little to tell to which."""

    number: int | None
    source: str
    refusal: Refusal | None
    """None: it is the host itself that answered."""
    at_ns: int


class Probes(Protocol):
    """The probes to one host."""

    def send(self, probe: Probe, *, varied: bool) -> int:
        """The kernel's number if it does not take it, else 0."""

    def found(self) -> Iterator[Found]: ...

    def local_mtu(self) -> int:
        """What the interface takes, after send() has said EMSGSIZE; 0 if the kernel does not say."""

    def descriptors(self) -> Iterator[tuple[int, bool]]: ...

    def close(self) -> None: ...


class _DatagramProbes:
    """What UDP and ICMP have in common: one socket for all probes, and a payload that begins with a token."""

    def __init__(self, probe_socket: ProbeSocket, target: Target, *, find_mtu: bool) -> None:
        self._socket, self._target = probe_socket, target
        self._token = os.urandom(TOKEN_BYTES)
        self._headers_bytes = HEADER_BYTES + (20 if target.family == AF_INET else 40)
        self._kept: list[Complaint] = []
        """What local_mtu() has read beside what it looked for."""
        if find_mtu:
            probe_socket.probe_mtu()

    def local_mtu(self) -> int:
        mtu_bytes = 0
        for complaint in self._socket.complaints():
            if complaint.refusal is not None:
                self._kept.append(complaint)
            elif complaint.errno == errno.EMSGSIZE:
                mtu_bytes = complaint.mtu_bytes
        return mtu_bytes

    def _complaints(self) -> Iterator[Complaint]:
        kept, self._kept = self._kept, []
        yield from kept
        yield from self._socket.complaints()

    def descriptors(self) -> Iterator[tuple[int, bool]]:
        yield self._socket.fileno(), False

    def close(self) -> None:
        self._socket.close()

    def _filled(self, head: bytes, probe: Probe) -> bytes:
        size = probe.packet_bytes - self._headers_bytes if probe.packet_bytes else PAYLOAD_BYTES
        return head + bytes(max(0, size - len(head)))


class UdpProbes(_DatagramProbes):
    """Datagrams to a port on which nobody listens; the host says so, and routers that hops are used up."""

    def __init__(self, target: Target, port: int | None, *, find_mtu: bool) -> None:
        super().__init__(ProbeSocket(target.family, socket.SOCK_DGRAM), target, find_mtu=find_mtu)
        self._port = port or UDP_PORT
        self._numbers: dict[int, int] = {}
        """By port, of the probes whose ports vary."""

    def send(self, probe: Probe, *, varied: bool) -> int:
        port = self._port
        if varied:
            port = (self._port + 1 + probe.number % VARIED_PORTS) & 0xFFFF or self._port
            self._numbers[port] = probe.number
        address, _, *rest = self._target.sockaddr
        payload = self._filled(self._token + probe.number.to_bytes(2, "big"), probe)
        return self._socket.send(payload, (address, port, *rest), probe.hops)

    def found(self) -> Iterator[Found]:
        for complaint in self._complaints():
            if complaint.refusal is not None and complaint.source is not None:
                payload, source = complaint.quoted, str(complaint.source[0])
                number = self._numbers.get(complaint.destination[1])
                if number is None and len(payload) >= TOKEN_BYTES + 2:
                    if not payload.startswith(self._token):
                        continue  # it quotes what was never sent
                    number = int.from_bytes(payload[TOKEN_BYTES : TOKEN_BYTES + 2], "big")
                yield Found(number, source, complaint.refusal, complaint.at_ns)
        for arrival in self._socket.arrivals():
            # Somebody listens there after all, and sends back what he gets.
            if arrival.data.startswith(self._token) and arrival.source[0] == self._target.address:
                number = int.from_bytes(arrival.data[TOKEN_BYTES : TOKEN_BYTES + 2], "big")
                yield Found(number, str(arrival.source[0]), None, arrival.at_ns)


class EchoProbes(_DatagramProbes):
    """Echo requests; the host replies, and routers say that hops are used up."""

    def __init__(self, target: Target, *, find_mtu: bool) -> None:
        self._echoes = EchoSocket(target.family, "trace")
        super().__init__(self._echoes, target, find_mtu=find_mtu)

    def send(self, probe: Probe, *, varied: bool) -> int:
        # With the complement of the sequence in the payload the checksum is the same for all.
        payload = self._filled(self._token + (0xFFFF - probe.number).to_bytes(2, "big"), probe)
        request = echo_request(self._target.family, self._echoes.identifier, probe.number, payload)
        return self._socket.send(request, self._target.sockaddr, probe.hops)

    def found(self) -> Iterator[Found]:
        family = self._target.family
        for complaint in self._complaints():
            quoted = parse_echo(complaint.quoted)
            if quoted is None or complaint.refusal is None or complaint.source is None:
                continue
            ours = quoted.identifier == self._echoes.identifier and quoted.kind == ECHO_REQUEST[family]
            if ours and quoted.payload.startswith(self._token[: len(quoted.payload)]):
                yield Found(quoted.sequence, str(complaint.source[0]), complaint.refusal, complaint.at_ns)
        for arrival in self._socket.arrivals():
            echo = parse_echo(arrival.data)
            if echo is None or echo.kind != ECHO_REPLY[family] or echo.identifier != self._echoes.identifier:
                continue
            if echo.payload.startswith(self._token):
                yield Found(echo.sequence, str(arrival.source[0]), None, arrival.at_ns)


class TcpProbes:
    """Attempts to connect; the host accepts or refuses, and routers say that hops are used up.

    What was accepted is reset at once.
    """

    def __init__(self, target: Target, port: int | None) -> None:
        self._target = target
        self._port = port or TCP_PORT
        self._sockets: dict[int, tuple[ProbeSocket, int]] = {}
        """By number, with the time of sending."""
        self._reached: list[Found] = []

    def send(self, probe: Probe, *, varied: bool) -> int:
        now_ns = time.monotonic_ns()
        for number in [number for number, (_, sent_ns) in self._sockets.items() if now_ns - sent_ns > TCP_WAIT_NS]:
            self._sockets.pop(number)[0].close()
        try:
            attempt = ProbeSocket(self._target.family, socket.SOCK_STREAM, buffer_bytes=SMALL_BYTES)
        except OSError as failure:
            return failure.errno or errno.EMFILE
        attempt.limit_hops(probe.hops)
        attempt.sock.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        address, _, *rest = self._target.sockaddr
        failed = attempt.sock.connect_ex((address, self._port, *rest))
        if failed in (0, errno.ECONNREFUSED):
            attempt.close()
            self._reached.append(Found(probe.number, self._target.address, None, time.monotonic_ns()))
            return 0
        if failed != errno.EINPROGRESS:
            attempt.close()
            return failed
        self._sockets[probe.number] = attempt, now_ns
        return 0

    def found(self) -> Iterator[Found]:
        while self._reached:
            yield self._reached.pop()
        poll = select.poll()
        numbers = {attempt.fileno(): number for number, (attempt, _) in self._sockets.items()}
        for fd in numbers:
            poll.register(fd, select.POLLIN | select.POLLOUT)
        for fd, _ in poll.poll(0):
            attempt, _ = self._sockets.pop(numbers[fd])
            try:
                yield from self._outcome(numbers[fd], attempt)
            finally:
                attempt.close()

    def _outcome(self, number: int, attempt: ProbeSocket) -> Iterator[Found]:
        for complaint in attempt.complaints():
            if complaint.refusal is not None and complaint.source is not None:
                yield Found(number, str(complaint.source[0]), complaint.refusal, complaint.at_ns)
                return
        if attempt.sock.getsockopt(SOL_SOCKET, SO_ERROR) in (0, errno.ECONNREFUSED):
            yield Found(number, self._target.address, None, time.monotonic_ns())

    def local_mtu(self) -> int:
        return 0

    def descriptors(self) -> Iterator[tuple[int, bool]]:
        return ((attempt.fileno(), True) for attempt, _ in self._sockets.values())

    def close(self) -> None:
        for attempt, _ in self._sockets.values():
            attempt.close()
        self._sockets.clear()


def open_probes(kind: str, target: Target, port: int | None, *, find_mtu: bool) -> Probes:
    """The probes of this kind to one host. Raises OSError if the kernel does not let us."""
    if kind == "tcp":
        return TcpProbes(target, port)
    return UdpProbes(target, port, find_mtu=find_mtu) if kind == "udp" else EchoProbes(target, find_mtu=find_mtu)


TOKEN_BYTES = 8
PAYLOAD_BYTES = 32
SMALL_BYTES = 512
UDP_PORT = 33_434  # traceroute's first
VARIED_PORTS = 1_024
TCP_PORT = 80
TCP_WAIT_NS = 950_000_000
