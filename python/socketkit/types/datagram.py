"""Datagram sockets: UDP, and Unix datagrams. Which addresses are taken, with which options, and who may hear.

One socket carries everything that one `bind` hears:

- No host is both loopback addresses and no other: a dual-stack socket that is bound to the loopback interface. What
  another machine sends cannot reach it, nor can what it sends leave, whatever is written to it.
- `*` is a dual-stack socket on every interface. IPv4 peers of both are mapped (RFC 4291 §2.5.5.2), and are shown and
  addressed as IPv4 (sockaddr.py).
- A port is never shared by accident. SO_REUSEADDR would let any user take datagrams that are ours; SO_REUSEPORT lets
  this user only, and only where each of his processes asks for it (`share=yes`). On a multicast group, where each
  socket gets a copy of its own, sharing is SO_REUSEADDR.
"""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress
from struct import Struct
from typing import TYPE_CHECKING, Any

from .. import sockaddr
from ..endpoint import Endpoint
from ..errors import ConnectError, EndpointError, ListenError, SocketError, from_errno, raisable
from ..exposure import is_multicast, plain_text_refusal, require_private, sending_refusal
from . import options, unix
from .options import Opened, nothing
from .owner import peer_owner
from .stream import defeated, resolve

if TYPE_CHECKING:
    from ..drivers import Driver
    from ..limits import Limits

    Address = tuple[int, tuple[Any, ...]]


async def open_bound(endpoint: Endpoint, driver: Driver, limits: Limits) -> Opened:
    """A socket on the addresses of `endpoint`, which hears whoever sends; ListenError if it cannot have them."""
    if endpoint.carrier == "unix":
        return _bound_unix(endpoint)
    addresses = list(dict.fromkeys(await resolve(endpoint, driver, "bind", ListenError)))
    require_private(endpoint, addresses, "bind")
    if len(addresses) > 1:
        if not _is_pair(endpoint):
            found = ", ".join(sorted(str(known[0]) for _, known in addresses))
            reason = f"the name has several addresses, and a datagram socket takes one: write one of {found}"
            raise raisable(ListenError)("bind", endpoint, reason, errno.EINVAL)
        return _bound_pair(endpoint, addresses)
    return _bound(endpoint, *addresses[0])


async def connect_socket(endpoint: Endpoint, driver: Driver, limits: Limits) -> Opened:
    """A socket whose one peer is the first address of `endpoint` that can be one.

    The addresses are tried as RFC 6724 sorts them. Nothing is sent, so that is no proof of somebody there.
    """
    if endpoint.carrier == "unix":
        return _connected_unix(endpoint)
    if endpoint.port == 0:
        reason = "nobody has port 0: write the port that the peer is bound to"
        raise raisable(ConnectError)("connect", endpoint, reason, errno.EADDRNOTAVAIL)
    failures = []
    for family, known in dict.fromkeys(await resolve(endpoint, driver, "connect", ConnectError)):
        try:
            return _connected(endpoint, family, known)
        except SocketError as failure:
            failures.append(failure)
    raise failures[0] if len(failures) == 1 else defeated(endpoint, failures)


def addressed(bound: Endpoint, to: Endpoint, family: int) -> bytes:
    """The raw address of `to`, for a socket of this family that is bound to `bound`.

    EndpointError if it is no address for it, SocketError if it may not be sent to from there.
    """
    raw = sockaddr.packed(to, family)
    if family != socket.AF_UNIX:
        where = sockaddr.unpacked(bound.scheme, raw)
        if where is not None and (refusal := sending_refusal(bound, to, (where.host, where.port))):
            raise refusal
    return raw


def join(sock: socket.socket, group: str, interface: str | None = None, source: str | None = None) -> None:
    """Hear what is sent to a multicast group: on this interface (default: where the route to it leads), from this
    source alone (default: from all).

    EndpointError if it is no group's address, or one that this socket cannot hear; SocketError if the kernel refuses.
    """
    _membership(sock, "join", group, interface, source)


def leave(sock: socket.socket, group: str, interface: str | None = None, source: str | None = None) -> None:
    """Undo the `join` that was called with the same arguments."""
    _membership(sock, "leave", group, interface, source)


def _bound_pair(endpoint: Endpoint, addresses: list[Address]) -> Opened:
    """Both versions of IP in one socket, on loopback or everywhere."""
    everywhere = endpoint.host == "*"
    try:
        sock = _udp_socket(socket.AF_INET6, "bind", endpoint)
    except SocketError as failure:
        if failure.errno != errno.EAFNOSUPPORT:
            raise
        return _bound(endpoint, *addresses[0])  # a machine without IPv6
    try:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        if not everywhere:
            if endpoint.query.get("interface", "lo") != "lo":
                reason = (
                    f"no host is this machine alone, and it has no other interface than lo: write {_here(endpoint)}"
                )
                raise raisable(ListenError)("bind", endpoint, reason, errno.EINVAL)
            try:
                sock.setsockopt(socket.SOL_SOCKET, options.SO_BINDTOIFINDEX, options.LOOPBACK_INDEX)
            except PermissionError:
                sock.close()
                return _held_pair(endpoint, addresses)
        _configure(sock, endpoint, "bind")
        _bind(sock, ("::", endpoint.port), endpoint)
        _report(sock, destination=True)
        return Opened(sock, "udp6", _taken(endpoint, sock), nothing)
    except BaseException:
        sock.close()
        raise


def _held_pair(endpoint: Endpoint, addresses: list[Address]) -> Opened:
    """127.0.0.1, and ::1 on the same port, so that nobody else can have it: for Linux before 5.7.

    There only root may bind a socket to the loopback interface. What is sent to ::1 is not read; whoever connects to
    localhost tries 127.0.0.1 first.
    """
    for left in reversed(range(FREE_PORT_TRIES)):
        opened = _bound(endpoint, *addresses[0])
        held = _udp_socket(socket.AF_INET6, "bind", endpoint)
        try:
            held.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if "share" in endpoint.query:
                held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            _bind(held, ("::1", opened.sock.getsockname()[1]), endpoint)
            held.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # the least that the kernel takes
            return opened._replace(held=(held,))
        except SocketError as failure:
            held.close()
            if failure.errno == errno.EADDRNOTAVAIL:  # IPv6 without ::1
                return opened
            opened.sock.close()
            if failure.errno != errno.EADDRINUSE or endpoint.port or not left:
                raise
    raise AssertionError("the last try raises or returns")


def _bound(endpoint: Endpoint, family: int, known: tuple[Any, ...]) -> Opened:
    """A socket on one address; on a multicast group it hears what is sent to that alone."""
    group = is_multicast(known[0])
    sock = _udp_socket(family, "bind", endpoint)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not known[0].startswith("::ffff:"))
        _configure(sock, endpoint, "bind", group)
        known = _scoped(known, endpoint, "bind", group)
        _bind(sock, known, endpoint)
        if group:
            _membership(sock, "join", known[0], endpoint.query.get("interface"), None, endpoint)
        _report(sock, destination=_is_unspecified(known[0]))
        return Opened(sock, _kind(family), _taken(endpoint, sock), nothing)
    except BaseException:
        sock.close()
        raise


def _connected(endpoint: Endpoint, family: int, known: tuple[Any, ...]) -> Opened:
    where = Endpoint.from_sockaddr(endpoint.scheme, known)
    if refusal := plain_text_refusal(endpoint, where, known):
        raise refusal
    sock = _udp_socket(family, "connect", where)
    try:
        group = is_multicast(known[0])
        _configure(sock, endpoint, "connect", group)
        try:
            sock.connect(_scoped(known, endpoint, "connect", group))
        except OSError as failure:
            raise _connect_failure(where, failure.errno or errno.EIO) from failure
        if sock.getsockname() == sock.getpeername():
            # The kernel took the port that was asked for as our own: we would talk to ourselves.
            reason = "it met itself: nothing is bound there"
            raise raisable(ConnectError)("connect", where, reason, errno.ECONNREFUSED)
        options.report_errors(sock)
        _receive_merged(sock)
        return Opened(sock, _kind(family), where, nothing)
    except BaseException:
        sock.close()
        raise


def _udp_socket(family: int, operation: str, endpoint: Endpoint) -> socket.socket:
    try:
        return socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    except OSError as failure:
        raise from_errno(_error(operation), operation, endpoint, failure.errno or errno.EIO) from failure


def _configure(sock: socket.socket, endpoint: Endpoint, operation: str, group: bool = False) -> None:
    """What the address asks for, before the socket has its own."""
    query = endpoint.query
    if operation == "bind" and "share" in query:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR if group else socket.SO_REUSEPORT, 1)
    if name := query.get("interface"):
        if not group and not _stays(endpoint, operation):  # that is bound to lo already, which can be done once
            options.bind_to_interface(sock, name, endpoint, operation)
        options.send_groups_by(sock, name, endpoint, operation)
    if "hops" in query:
        options.limit_hops(sock, int(query["hops"]))
    if "broadcast" in query:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    ipv6 = sock.family == socket.AF_INET6
    # By default a socket hears the groups that any process has joined (man 7 ip, IP_MULTICAST_ALL).
    sock.setsockopt(socket.IPPROTO_IP, options.IP_MULTICAST_ALL, 0)
    if ipv6:
        sock.setsockopt(socket.IPPROTO_IPV6, options.IPV6_MULTICAST_ALL, 0)
    if "fragment" in query:
        sock.setsockopt(socket.IPPROTO_IP, options.IP_MTU_DISCOVER, options.PMTUDISC_DO)
        if ipv6:
            sock.setsockopt(socket.IPPROTO_IPV6, options.IPV6_MTU_DISCOVER, options.PMTUDISC_DO)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_DONTFRAG, 1)
    if "loop" in query:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        if ipv6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)


def _bind(sock: socket.socket, known: tuple[Any, ...], endpoint: Endpoint) -> None:
    try:
        sock.bind(known)
    except OSError as failure:
        number = failure.errno or errno.EIO
        if number == errno.EADDRINUSE:
            reason = "already in use: see who holds it with `ss -lpun`, or take port 0 for a free one"
            raise raisable(ListenError)("bind", endpoint, reason, number) from failure
        if number == errno.EINVAL and known[0].startswith(("fe80:", "ff")):
            reason = f"the address is one on each network: say which, as in {_with_interface(endpoint)}"
            raise raisable(ListenError)("bind", endpoint, reason, number) from failure
        raise from_errno(ListenError, "bind", endpoint, number) from failure


def _report(sock: socket.socket, *, destination: bool) -> None:
    """What comes with each datagram. `destination`: the address it came to, unless that is the socket's only one."""
    options.report_errors(sock)
    options.report_arrivals(sock, destination=destination)
    _receive_merged(sock)


def _receive_merged(sock: socket.socket) -> None:
    """The kernel may give several datagrams of one peer at once (UDP_GRO, Linux 5.0); the engine takes them apart."""
    with suppress(OSError):
        sock.setsockopt(SOL_UDP, UDP_GRO, 1)


def _connect_failure(where: Endpoint, number: int) -> SocketError:
    if number == errno.EACCES:
        allowed = where.replace(query={"broadcast": "yes"})
        reason = f"a broadcast address, at which every machine of the network listens: write {allowed} to send there"
        return raisable(ConnectError)("connect", where, reason, number)
    if number == errno.EINVAL and where.host is not None and where.host.startswith(("fe80:", "ff")):
        reason = f"the address is one on each network: say which, as in {_with_interface(where)}"
        return raisable(ConnectError)("connect", where, reason, number)
    return from_errno(ConnectError, "connect", where, number)


def _scoped(known: tuple[Any, ...], endpoint: Endpoint, operation: str, group: bool) -> tuple[Any, ...]:
    """An IPv6 group's address needs the interface as its zone; `interface` gives it where no zone is written."""
    name = endpoint.query.get("interface")
    if name and len(known) > 3 and not known[3] and (group or known[0].startswith("fe80:")):
        return (*known[:3], sockaddr.interface_index(name, operation, endpoint))
    return known


def _taken(endpoint: Endpoint, sock: socket.socket) -> Endpoint:
    """What was bound. A name is not in it: whoever sends from here is judged by the address."""
    bound = sock.getsockname()
    if _is_pair(endpoint):
        return endpoint.replace(host=endpoint.host or "localhost", port=bound[1])
    host = Endpoint.from_sockaddr(endpoint.scheme, bound).host
    return endpoint.replace(host=host, port=bound[1])


def _stays(endpoint: Endpoint, operation: str) -> bool:
    return operation == "bind" and endpoint.scheme == "udp" and endpoint.host != "*" and _is_pair(endpoint)


def _is_pair(endpoint: Endpoint) -> bool:
    return (endpoint.host or "localhost").lower() in ("localhost", "*")


def _is_unspecified(host: str) -> bool:
    return host in ("0.0.0.0", "::", "::ffff:0.0.0.0")


def _kind(family: int) -> str:
    return "udp6" if family == socket.AF_INET6 else "udp4"


def _error(operation: str) -> type[SocketError]:
    return ConnectError if operation == "connect" else ListenError


def _here(endpoint: Endpoint) -> str:
    everywhere = endpoint.replace(host="*", query={**endpoint.query, "plaintext": "yes"})
    return f"{everywhere}, or leave `interface` out"


def _with_interface(endpoint: Endpoint) -> str:
    return str(endpoint.replace(query={**endpoint.query, "interface": "eth0"}))


# --- groups


def _membership(
    sock: socket.socket,
    operation: str,
    group: str,
    interface: str | None,
    source: str | None,
    endpoint: Endpoint | None = None,
) -> None:
    host, _, zone = group.partition("%")
    if not is_multicast(host):
        raise EndpointError("not a multicast address", group, 0, "they are 224.0.0.0 to 239.255.255.255 and ff00::/8")
    ipv6 = ":" in host
    where = Endpoint(scheme="udp", host=group if ipv6 else host, port=sock.getsockname()[1])
    if ipv6 != (sock.family == socket.AF_INET6) and not (not ipv6 and _is_dual(sock)):
        raise EndpointError(f"a group of IPv{6 if ipv6 else 4}, and the socket speaks the other version", group, 0)
    _require_hearing(sock, group, host)
    name = interface or zone
    index = sockaddr.interface_index(name, operation, endpoint or where) if name else 0
    family, level = (socket.AF_INET6, socket.IPPROTO_IPV6) if ipv6 else (socket.AF_INET, socket.IPPROTO_IP)
    request = _INDEX.pack(index) + _storage(host, family)
    if source is not None:
        request += _storage(source, family)
    try:
        sock.setsockopt(level, _MEMBERSHIPS[operation, source is not None], request)
    except OSError as failure:
        raise _membership_failure(operation, endpoint or where, failure.errno or errno.EIO) from failure


def _storage(host: str, family: int) -> bytes:
    """The address as a `struct sockaddr_storage`."""
    scheme = "udp6" if family == socket.AF_INET6 else "udp4"
    return sockaddr.packed(Endpoint(scheme=scheme, host=host, port=0), family).ljust(STORAGE_BYTES, b"\0")


def _require_hearing(sock: socket.socket, group: str, host: str) -> None:
    """EndpointError if nothing that is sent to the group can reach this socket: the kernel would not say so."""
    bound = sock.getsockname()[0].partition("%")[0]
    if bound == host:
        return
    if not _is_unspecified(bound):
        hint = f"bind udp://*:{sock.getsockname()[1]} to hear several groups, or the group itself to hear one"
        raise EndpointError(f"the socket is bound to {bound} and hears nothing else", group, 0, hint)
    if sock.getsockopt(socket.SOL_SOCKET, options.SO_BINDTOIFINDEX) == options.LOOPBACK_INDEX:
        hint = "bind * to hear other machines"
        raise EndpointError("the socket is bound to this machine, and hears no network", group, 0, hint)


def _is_dual(sock: socket.socket) -> bool:
    return sock.family == socket.AF_INET6 and not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


def _membership_failure(operation: str, where: Endpoint, number: int) -> SocketError:
    reasons = {
        errno.EADDRINUSE: "the socket has joined it already",
        errno.ENODEV: "no route leads to the group: say by which interface, with interface=",
        errno.EADDRNOTAVAIL: "the socket has not joined it, or not on this interface or from this source"
        if operation == "leave"
        else "the interface takes no multicast of this kind",
        errno.ENOBUFS: "too many groups: raise net.ipv4.igmp_max_memberships or igmp_max_msf",
        errno.EINVAL: "it was joined for all sources, or is not joined: leave it as it was joined",
    }
    reason = reasons.get(number)
    return (
        raisable(SocketError)(operation, where, reason, number)
        if reason
        else from_errno(SocketError, operation, where, number)
    )


# --- Unix


def _bound_unix(endpoint: Endpoint) -> Opened:
    sock = unix.unix_socket(socket.SOCK_DGRAM)
    try:
        return Opened(sock, "unix-datagram", endpoint, unix.take_name(sock, endpoint, "bind"))
    except BaseException:
        sock.close()
        raise


def _connected_unix(endpoint: Endpoint) -> Opened:
    """A socket whose peer is the one at that name, with a name of its own to be answered at.

    Nothing is sent before the owner of the peer is known (`unix.require_known`). SO_PEERCRED tells none here: the
    kernel's socket table is asked (owner.py), and where that is silent the owner of the path counts; an abstract name
    has no owner then, and is refused. From here on only the peer can send to this socket (man 7 unix, connected
    datagram sockets), whoever learns its name.
    """
    expected = unix.expected_user(endpoint)
    sock = unix.unix_socket(socket.SOCK_DGRAM)
    try:
        number = sock.connect_ex(unix.sockaddr(endpoint))
        if number == errno.EPERM:
            reason = "the socket there has a peer of its own, and takes nothing from others"
            raise raisable(ConnectError)("connect", endpoint, reason, number)
        if number:
            raise from_errno(ConnectError, "connect", endpoint, number)
        owner = peer_owner(sock)
        unix.require_known(owner if owner is not None else _path_owner(endpoint), endpoint, expected)
        # Only now: a socket that has a name and no peer takes datagrams from anybody. The kernel chooses an abstract
        # one (man 7 unix, autobind).
        sock.bind("")
        return Opened(sock, "unix-datagram", endpoint, nothing)
    except BaseException:
        sock.close()
        raise


def _path_owner(endpoint: Endpoint) -> int:
    path = endpoint.path or ""
    if not path.startswith("@"):
        with suppress(OSError):
            return os.stat(path).st_uid
    reason = "the kernel does not tell who has this name: have it bound to a path, whose owner counts"
    raise raisable(ConnectError)("connect", endpoint, reason, errno.EPERM)


SOL_UDP, UDP_GRO = 17, 104
FREE_PORT_TRIES = 16
STORAGE_BYTES = 128

# MCAST_JOIN_GROUP and its like (RFC 3678 section 5): one set of requests for both versions of IP.
_MEMBERSHIPS = {("join", False): 42, ("leave", False): 45, ("join", True): 46, ("leave", True): 47}
_INDEX = Struct("@I0P")  # padded as the structure behind it
