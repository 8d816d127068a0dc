"""Below the transport: `icmp://HOST` and `raw+ip://HOST?proto=NUMBER`.

- `icmp` is a ping socket (linux/net/ipv4/ping.c), which needs no privilege where net.ipv4.ping_group_range has the
  user's group. The kernel writes the identifier and the checksum of what is sent, and gives the replies to this
  socket's own requests. Elsewhere it is a raw socket, by CAP_NET_RAW: it gets every echo reply that comes to the
  machine, and of ICMP over IPv4 it sends what it is given, with the checksum that is written there.
  A message begins with the type byte in both.
- `raw+ip` sends and receives what follows the IP header. `header=yes` writes and reads the header, too; of IPv6 it
  only writes it, for the kernel gives none (RFC 3542 §3).

The kernel gives IPv4 packets to raw sockets with their header. The engine cuts it off for the kind "icmp4-raw", which
stands for every IPv4 raw socket that is to have none; "raw4" is one that has it. Of IPv6 there is no header to cut.

One socket speaks one version of IP. Of no host, `localhost` and `*` it is IPv4: write `[::1]` or `[::]` for the other.
"""

from __future__ import annotations

import errno
import os
import socket
from struct import Struct
from typing import TYPE_CHECKING, Any

from .. import _core
from ..endpoint import Endpoint
from ..errors import ConnectError, ListenError, SocketError, from_errno, raisable
from . import options
from .options import Opened, nothing
from .stream import defeated, resolve

if TYPE_CHECKING:
    from ..drivers import Driver
    from ..limits import Limits


async def open_bound(endpoint: Endpoint, driver: Driver, limits: Limits) -> Opened:
    """A socket on the address of `endpoint`, which hears whoever sends to it."""
    addresses = list(dict.fromkeys(await resolve(endpoint, driver, "bind", ListenError)))
    if len(addresses) > 1 and (endpoint.host or "localhost").lower() not in ("localhost", "*"):
        found = ", ".join(sorted(str(known[0]) for _, known in addresses))
        reason = f"the name has several addresses, and a raw socket takes one: write one of {found}"
        raise raisable(ListenError)("bind", endpoint, reason, errno.EINVAL)
    family, known = addresses[0]
    sock, kind = _made(endpoint, family, "bind", endpoint)
    try:
        try:
            sock.bind((known[0], 0, *known[2:]))
        except OSError as failure:
            raise from_errno(ListenError, "bind", endpoint, failure.errno or errno.EIO) from failure
        options.report_arrivals(sock, destination=known[0] in ("0.0.0.0", "::"))
        host = Endpoint.from_sockaddr(endpoint.scheme, known).host
        return Opened(sock, kind, endpoint.replace(host="*" if endpoint.host == "*" else host), nothing)
    except BaseException:
        sock.close()
        raise


async def connect_socket(endpoint: Endpoint, driver: Driver, limits: Limits) -> Opened:
    """A socket that sends to the first address of `endpoint` that can be reached, and hears that alone."""
    failures = []
    for family, known in dict.fromkeys(await resolve(endpoint, driver, "connect", ConnectError)):
        where = Endpoint.from_sockaddr(endpoint.scheme, known)
        where = where.replace(query={"proto": endpoint.query["proto"]} if "proto" in endpoint.query else None)
        try:
            return _connected(endpoint, family, known, where)
        except SocketError as failure:
            failures.append(failure)
    raise failures[0] if len(failures) == 1 else defeated(endpoint, failures)


def _connected(endpoint: Endpoint, family: int, known: tuple[Any, ...], where: Endpoint) -> Opened:
    sock, kind = _made(endpoint, family, "connect", where)
    try:
        try:
            sock.connect((known[0], 0, *known[2:]))
        except OSError as failure:
            raise from_errno(ConnectError, "connect", where, failure.errno or errno.EIO) from failure
        return Opened(sock, kind, where, nothing)
    except BaseException:
        sock.close()
        raise


def _made(endpoint: Endpoint, family: int, operation: str, where: Endpoint) -> tuple[socket.socket, str]:
    """A socket with its options, and the engine's word for its kind."""
    make = _icmp_socket if endpoint.carrier == "icmp" else _ip_socket
    try:
        sock, kind = make(endpoint, family)
    except OSError as failure:
        error = ConnectError if operation == "connect" else ListenError
        if failure.errno in (errno.EPERM, errno.EACCES):
            raise raisable(error)(
                operation, where, how_to_be_permitted(ping=endpoint.carrier == "icmp"), errno.EPERM
            ) from failure
        raise from_errno(error, operation, where, failure.errno or errno.EIO) from failure
    try:
        if name := endpoint.query.get("interface"):
            options.bind_to_interface(sock, name, endpoint, operation)
        if hops := endpoint.query.get("hops"):
            options.limit_hops(sock, int(hops))
        options.report_errors(sock)
    except BaseException:
        sock.close()
        raise
    return sock, kind


def _icmp_socket(endpoint: Endpoint, family: int) -> tuple[socket.socket, str]:
    """A ping socket; a raw one if the user may have none, or the kernel has none."""
    protocol = socket.IPPROTO_ICMPV6 if family == socket.AF_INET6 else socket.IPPROTO_ICMP
    try:
        return _socket(family, socket.SOCK_DGRAM, protocol), "icmp6" if family == socket.AF_INET6 else "icmp4"
    except OSError as failure:
        if failure.errno not in (errno.EACCES, errno.EPERM, errno.EPROTONOSUPPORT):
            raise
    sock = _socket(family, socket.SOCK_RAW, protocol)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_ICMPV6, ICMP6_FILTER, _passing(ECHO_REPLY_6))
        return sock, "icmp6-raw"
    # Not by ICMP_FILTER, which lets through every type above 31 (net/ipv4/raw.c, icmp_filter).
    _core.attach_filter(sock.fileno(), ECHO_REPLIES_ONLY, drain=True)
    return sock, "icmp4-raw"


def _ip_socket(endpoint: Endpoint, family: int) -> tuple[socket.socket, str]:
    sock = _socket(family, socket.SOCK_RAW, int(endpoint.query["proto"]))
    whole = "header" in endpoint.query
    if family == socket.AF_INET6:
        if whole:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_HDRINCL, 1)
        return sock, "raw6"
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, whole)
    return sock, "raw4" if whole else "icmp4-raw"


def _socket(family: int, kind: int, protocol: int) -> socket.socket:
    return socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol)


def _passing(kind: int) -> bytes:
    """A filter that lets one type of ICMPv6 through (RFC 3542 §3.2)."""
    words = [0xFFFFFFFF] * 8
    words[kind >> 5] &= ~(1 << (kind & 31))
    return b"".join(map(_WORD.pack, words))


def how_to_be_permitted(*, ping: bool) -> str:
    """What opens raw sockets, or ping sockets, to a user who may have none."""
    import sys

    capability = f"use sudo, or `sudo setcap cap_net_raw+ep {os.path.realpath(sys.executable)}`"
    if not ping:
        return f"raw sockets need CAP_NET_RAW: {capability} (then every program that this Python runs can listen in)"
    return (
        "your group may not ping: allow all with `sudo sysctl -w net.ipv4.ping_group_range='0 2147483647'`, "
        f"or have CAP_NET_RAW: {capability}"
    )


ECHO_REPLY_6 = 129
ICMP6_FILTER, IPV6_HDRINCL = 1, 36
# Behind the IP header the first byte is 0: keep the packet, else nothing of it (linux/filter.h).
ECHO_REPLIES_ONLY = [(0xB1, 0, 0, 0), (0x50, 0, 0, 0), (0x15, 0, 1, 0), (0x06, 0, 0, 0xFFFF), (0x06, 0, 0, 0)]

_WORD = Struct("=I")
