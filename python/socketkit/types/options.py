"""The options that several kinds of message socket share, and what a type hands over once its socket is ready.

Values are those of Linux's headers where Python has no name for them.
"""

from __future__ import annotations

import errno
import socket
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from ..errors import SocketError, raisable
from ..sockaddr import interface_index

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..endpoint import Endpoint


class Opened(NamedTuple):
    """A kernel socket that is bound, listens or is connected, does not block, and is the receiver's to close.

    `kind` is what `_core.MessageSocket` calls it. `where` is the endpoint that was taken, or the peer's. `remove` takes
    away the path that the socket has, if any. `held` are sockets to keep open as long as this one.
    """

    sock: socket.socket
    kind: str
    where: Endpoint
    remove: Callable[[], None]
    held: tuple[socket.socket, ...] = ()


def nothing() -> None:
    """What is to be removed of a socket without a path."""


def bind_to_interface(sock: socket.socket, name: str, endpoint: Endpoint, operation: str) -> None:
    """Nothing comes or goes by another interface than this one; not even from this machine, but by `lo`."""
    index = interface_index(name, operation, endpoint)
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_BINDTOIFINDEX, index)
    except PermissionError as failure:
        reason = "before Linux 5.7, `interface` needs CAP_NET_RAW: run it as root, or leave the parameter out"
        raise raisable(SocketError)(operation, endpoint, reason, errno.EPERM) from failure


def send_groups_by(sock: socket.socket, name: str, endpoint: Endpoint, operation: str) -> None:
    """Multicast leaves by this interface, whatever the routes say."""
    index = interface_index(name, operation, endpoint)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
    if speaks_ipv4(sock):
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, _MREQN.pack(bytes(4), bytes(4), index))


def limit_hops(sock: socket.socket, hops: int) -> None:
    """What is sent dies at the router after so many, multicast too."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hops)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, hops)
    if speaks_ipv4(sock):
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, hops)


def report_errors(sock: socket.socket) -> None:
    """ICMP errors are queued, with who sent them and which peer they are about (man 7 ip, IP_RECVERR)."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
    if speaks_ipv4(sock):
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)


def report_arrivals(sock: socket.socket, *, destination: bool) -> None:
    """With each datagram come its time and ECN bits; with `destination` the address that it came to."""
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
        if destination:  # of IPv4 datagrams too: a dual-stack socket reports it mapped
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    if speaks_ipv4(sock):
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        if destination:  # with the address to answer from, which IPv6's does not have of a mapped one
            sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)


def speaks_ipv4(sock: socket.socket) -> bool:
    """Whether options of IPv4 mean something to it; IPv6's raw and ping sockets have no other protocol."""
    if sock.family == socket.AF_INET6:
        return sock.type == socket.SOCK_DGRAM and sock.proto in (0, socket.IPPROTO_UDP)
    return sock.family == socket.AF_INET


IP_MTU_DISCOVER, IP_RECVERR, IP_PKTINFO, IP_MULTICAST_ALL = 10, 11, 8, 49
IPV6_MTU_DISCOVER, IPV6_RECVERR, IPV6_MULTICAST_ALL = 23, 25, 29
PMTUDISC_DO = 2
SO_TIMESTAMPNS, SO_BINDTOIFINDEX = 35, 62
LOOPBACK_INDEX = 1  # in every network namespace (LOOPBACK_IFINDEX)

_MREQN = Struct("=4s4si")
