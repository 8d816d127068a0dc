"""The kernel's side of `ping` and `trace`: sockets that send probes, what comes to them and to their error queues.

The error queue (`man 7 ip`, IP_RECVERR) says which ICMP error came for which of our packets, and who sent it. So
neither tool needs root where the kernel lets the user open a ping socket.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
import time
from socket import AF_INET, AF_INET6, IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_IP, IPPROTO_IPV6, SOL_SOCKET
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import SocketError, explain, raisable
from ..types.raw import how_to_be_permitted
from .icmp import ECHO_REPLY, Refusal, without_ip_header

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


BUFFER_BYTES = 65_536 + 60


class Arrival(NamedTuple):
    """A message, at `at_ns` of the monotonic clock, with the hops that its packet had left."""

    data: bytes
    source: tuple[Any, ...]
    at_ns: int
    hops_left: int | None


class Complaint(NamedTuple):
    """What the error queue says of a packet of ours: where it went, what of it was quoted, who says what."""

    quoted: bytes
    destination: tuple[Any, ...]
    source: tuple[Any, ...] | None
    """None: this machine's kernel."""
    refusal: Refusal | None
    """None: no ICMP error, but `errno`."""
    errno: int
    mtu_bytes: int
    at_ns: int

    @property
    def reason(self) -> str:
        return self.refusal.words if self.refusal else explained(self.errno, self.mtu_bytes)


class ProbeSocket:
    """A datagram or raw socket, not blocking, with error queue, timestamps and hop limits switched on."""

    def __init__(self, family: int, kind: int, protocol: int = 0, *, buffer_bytes: int = BUFFER_BYTES) -> None:
        self.family = family
        self.sock = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
        self.raw = kind == socket.SOCK_RAW
        self._buffer = bytearray(buffer_bytes)
        for level, name in _WANTED[family]:
            self.sock.setsockopt(level, name, 1)
        # A burst of answers until the loop's next turn, and of requests whose neighbour must be found first; the kernel
        # gives as much of it as net.core.rmem_max and wmem_max allow.
        self.sock.setsockopt(SOL_SOCKET, socket.SO_RCVBUF, QUEUE_BYTES)
        self.sock.setsockopt(SOL_SOCKET, socket.SO_SNDBUF, QUEUE_BYTES)

    def fileno(self) -> int:
        return self.sock.fileno()

    def close(self) -> None:
        self.sock.close()

    def limit_hops(self, hops: int) -> None:
        """For every packet from now on."""
        level, unicast, multicast = _HOP_LIMITS[self.family]
        self.sock.setsockopt(level, unicast, hops)
        if self.sock.type != socket.SOCK_STREAM:
            self.sock.setsockopt(level, multicast, hops)

    def probe_mtu(self) -> None:
        """No packet is fragmented, nor held to what the kernel has learnt of the way before."""
        if self.family == AF_INET:
            self.sock.setsockopt(IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_PROBE)
        else:
            self.sock.setsockopt(IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_PROBE)

    def send(self, data: bytes, to: tuple[Any, ...], hops: int | None = None) -> int:
        """Send at once, this packet with so many hops; the kernel's number if it does not, else 0."""
        control = [] if hops is None else [(*_HOPS[self.family], struct.pack("i", hops))]
        failure = 0
        # An error that an earlier packet met is raised by the next call, whatever that does: the queue has it too.
        for _ in range(ATTEMPTS):
            try:
                self.sock.sendmsg([data], control, 0, to)
                return 0
            except OSError as refused:
                failure = refused.errno or errno.EIO
                if failure in (errno.EAGAIN, errno.EINVAL, errno.EACCES):
                    break
        return failure

    def arrivals(self, limit: int = 256) -> Iterator[Arrival]:
        for _ in range(limit):
            received = self._receive(0)
            if received is None:
                return
            data, control, source, at_ns = received
            hops_left = next((struct.unpack("i", value[:4])[0] for key, value in control if key in _ARRIVED_WITH), None)
            if self.raw and self.family == AF_INET:
                data = without_ip_header(data)
            yield Arrival(data, source, at_ns, hops_left)

    def complaints(self, limit: int = 256) -> Iterator[Complaint]:
        for _ in range(limit):
            received = self._receive(socket.MSG_ERRQUEUE)
            if received is None:
                return
            quoted, control, destination, at_ns = received
            for key, value in control:
                if key in _COMPLAINED and len(value) >= _EXTENDED_ERROR.size:
                    yield _complaint(self.family, quoted, destination, value, at_ns)

    def _receive(self, flags: int) -> tuple[bytes, list[tuple[tuple[int, int], bytes]], tuple[Any, ...], int] | None:
        for _ in range(ATTEMPTS):
            try:
                size, control, _, address = self.sock.recvmsg_into([self._buffer], CONTROL_BYTES, flags)
            except BlockingIOError:
                return None
            except OSError:
                # The pending error of an earlier packet; the error queue says the same, and for which packet.
                continue
            levelled = [((level, kind), value) for level, kind, value in control]
            return bytes(self._buffer[:size]), levelled, address or ("", 0), _arrived_at_ns(levelled)
        return None


class EchoSocket(ProbeSocket):
    """Sends echo requests with `identifier`, receives replies: a ping socket if this user may have one, else a raw one.

    Raises SocketError, which says how to be permitted, if the user may have neither.
    """

    def __init__(self, family: int, operation: str = "ping") -> None:
        protocol = IPPROTO_ICMP if family == AF_INET else IPPROTO_ICMPV6
        try:
            super().__init__(family, socket.SOCK_DGRAM, protocol)
        except OSError as failure:
            if failure.errno not in (errno.EACCES, errno.EPERM, errno.EPROTONOSUPPORT):
                raise raisable(SocketError)(operation, None, explain(failure.errno or 0), failure.errno) from failure
            try:
                super().__init__(family, socket.SOCK_RAW, protocol)
            except PermissionError as refused:
                raise raisable(SocketError)(operation, None, how_to_be_permitted(ping=True), refused.errno) from refused
        if self.raw:
            self.identifier = int.from_bytes(os.urandom(2), "big")
            self._admit_replies_only()
        else:
            # The kernel gives the identifier, as it gives ports; it drops what has another one.
            self.sock.bind(("" if family == AF_INET else "::", 0))
            self.identifier = self.sock.getsockname()[1]

    def _admit_replies_only(self) -> None:
        """A raw socket hears all ICMP of the machine; the filters have a bit for each type that is dropped."""
        if self.family == AF_INET:
            dropped = 0xFFFFFFFF & ~(1 << ECHO_REPLY[AF_INET])
            self.sock.setsockopt(SOL_RAW, ICMP_FILTER, struct.pack("I", dropped))
        else:
            words = [0xFFFFFFFF] * 8
            words[ECHO_REPLY[AF_INET6] // 32] &= ~(1 << ECHO_REPLY[AF_INET6] % 32)
            self.sock.setsockopt(IPPROTO_ICMPV6, ICMP6_FILTER, struct.pack("8I", *words))


def explained(number: int, mtu_bytes: int = 0) -> str:
    """Why this machine did not send."""
    if number == errno.EMSGSIZE:
        return f"too large for the interface (MTU {mtu_bytes})" if mtu_bytes else "too large for the interface"
    if number == errno.EACCES:
        return "not permitted: a broadcast address, or a firewall of this machine"
    if number == errno.EINVAL:
        return "not an address to send to from here (a link-local one needs its interface: fe80::1%eth0)"
    return explain(number)


def _complaint(family: int, quoted: bytes, destination: tuple[Any, ...], value: bytes, at_ns: int) -> Complaint:
    number, origin, kind, code, info = _EXTENDED_ERROR.unpack_from(value)
    if origin not in (SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6):
        return Complaint(quoted, destination, None, None, number, info, at_ns)
    by = AF_INET if origin == SO_EE_ORIGIN_ICMP else AF_INET6
    refusal = Refusal(by, kind, code, info)
    return Complaint(quoted, destination, _offender(value[_EXTENDED_ERROR.size :]), refusal, number, info, at_ns)


def _offender(raw: bytes) -> tuple[Any, ...] | None:
    """The struct sockaddr behind the error: who sent it."""
    family = int.from_bytes(raw[:2], sys.byteorder)
    if family == AF_INET and len(raw) >= 8:
        return socket.inet_ntop(AF_INET, raw[4:8]), 0
    if family == AF_INET6 and len(raw) >= 28:
        return socket.inet_ntop(AF_INET6, raw[8:24]), 0, 0, int.from_bytes(raw[24:28], sys.byteorder)
    return None


def _arrived_at_ns(control: Sequence[tuple[tuple[int, int], bytes]]) -> int:
    """When the packet came, by the monotonic clock: the kernel says it by the clock of the day, which may be set."""
    for key, value in control:
        if key == (SOL_SOCKET, SO_TIMESTAMPNS) and len(value) >= _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack_from(value)
            now_ns, day_ns = _both_clocks_ns()
            age_ns = day_ns - (seconds * 1_000_000_000 + nanoseconds)
            # Older than this it was the clock that moved.
            return now_ns - age_ns if 0 <= age_ns < OLDEST_NS else now_ns
    return time.monotonic_ns()


def _both_clocks_ns() -> tuple[int, int]:
    """The monotonic clock and that of the day, read so closely together that nothing came between."""
    for _ in range(ATTEMPTS):
        before_ns, day_ns, after_ns = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        if after_ns - before_ns < CLOSE_NS:
            break
    return before_ns, day_ns


# What the socket module has no names for (linux/in.h, linux/in6.h, linux/errqueue.h, linux/icmp.h; the same everywhere
# but for SO_TIMESTAMPNS, which alpha, mips, parisc and sparc number otherwise).
SO_TIMESTAMPNS = 35
IP_RECVTTL = 12
IP_RECVERR = 11
IP_MTU_DISCOVER = 10
IPV6_MTU_DISCOVER = 23
PMTUDISC_PROBE = 3
IPV6_RECVERR = 25
SOL_RAW = 255
ICMP_FILTER = 1
ICMP6_FILTER = 1
SO_EE_ORIGIN_ICMP = 2
SO_EE_ORIGIN_ICMP6 = 3

_EXTENDED_ERROR = struct.Struct("=IBBBxI4x")
_TIMESPEC = struct.Struct("@qq" if struct.calcsize("P") == 8 else "@ll")
_WANTED: dict[int, tuple[tuple[int, int], ...]] = {
    AF_INET: ((SOL_SOCKET, SO_TIMESTAMPNS), (IPPROTO_IP, IP_RECVERR), (IPPROTO_IP, IP_RECVTTL)),
    AF_INET6: (
        (SOL_SOCKET, SO_TIMESTAMPNS),
        (IPPROTO_IPV6, IPV6_RECVERR),
        (IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT),
    ),
}
_HOPS: dict[int, tuple[int, int]] = {
    AF_INET: (IPPROTO_IP, socket.IP_TTL),
    AF_INET6: (IPPROTO_IPV6, socket.IPV6_HOPLIMIT),
}
_HOP_LIMITS: dict[int, tuple[int, int, int]] = {
    AF_INET: (IPPROTO_IP, socket.IP_TTL, socket.IP_MULTICAST_TTL),
    AF_INET6: (IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, socket.IPV6_MULTICAST_HOPS),
}
_ARRIVED_WITH = frozenset(_HOPS.values())
_COMPLAINED = frozenset({(IPPROTO_IP, IP_RECVERR), (IPPROTO_IPV6, IPV6_RECVERR)})

CONTROL_BYTES = 512
QUEUE_BYTES = 4_194_304
OLDEST_NS = 60_000_000_000
ATTEMPTS = 4
CLOSE_NS = 2_000
