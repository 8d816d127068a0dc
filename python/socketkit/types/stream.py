"""Stream sockets over TCP: resolving, connecting with Happy Eyeballs, listening on one port of both families."""

from __future__ import annotations

import errno
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from ..connection import Connection, adopt
from ..errors import ConnectError, ListenError, SocketError, from_errno, raisable
from ..exposure import plain_text_refusal, require_private
from ..race import Race
from ..schemes import SCHEMES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..drivers import Driver
    from ..endpoint import Endpoint
    from ..limits import Limits

    Address = tuple[int, tuple[Any, ...]]

_Connection = TypeVar("_Connection", bound=Connection)


async def connect(kind: type[_Connection], endpoint: Endpoint, driver: Driver, limits: Limits) -> _Connection:
    """A connection to the first address of `endpoint` that answers. ConnectError with every attempt if none does."""
    addresses = await resolve(endpoint, driver, "connect", ConnectError)

    async def attempt(address: Address) -> _Connection:
        return await _attempt(kind, address, endpoint, driver, limits)

    if len(addresses) == 1:
        return await attempt(addresses[0])

    def defeat(failures: Sequence[BaseException]) -> ConnectError:
        return defeated(endpoint, [failure for failure in failures if isinstance(failure, SocketError)])

    return await driver.run(Race(addresses, attempt, kind.abort, defeat))


def permitted(endpoint: Endpoint, addresses: Sequence[Address]) -> list[Address]:
    """Those of `addresses` to which `connect` would go; ConnectError if it would go to none."""
    refusals = [_refusal(endpoint, address) for address in addresses]
    allowed = [address for address, refusal in zip(addresses, refusals, strict=True) if refusal is None]
    if not allowed:
        raise defeated(endpoint, [refusal for refusal in refusals if refusal is not None])
    return allowed


async def open_listeners(
    endpoint: Endpoint,
    driver: Driver,
    limits: Limits,
    permit: Callable[[Endpoint, Sequence[Address]], None] = require_private,
    bind: Callable[[int, tuple[Any, ...], Limits], socket.socket] | None = None,
) -> tuple[list[int], Endpoint]:
    """Listening descriptors for `endpoint`, and the endpoint that was taken.

    All of its addresses are taken, with one port; else ListenError. `permit` raises if they must not be. `bind` makes a
    listening socket on an address (default: one of TCP).
    """
    addresses = await resolve(endpoint, driver, "listen", ListenError)
    permit(endpoint, addresses)
    tries = FREE_PORT_TRIES if endpoint.port == 0 and len(addresses) > 1 else 1
    for left in reversed(range(tries)):
        try:
            sockets = _bind_all(addresses, endpoint, limits, bind or _bind)
            break
        except ListenError as failure:
            if failure.errno != errno.EADDRINUSE or not left:
                raise
    port = sockets[0].getsockname()[1]
    host = endpoint.host if endpoint.host is not None else "localhost"
    return [sock.detach() for sock in sockets], endpoint.replace(host=host, port=port)


def defeated(endpoint: Endpoint, attempts: Sequence[SocketError]) -> ConnectError:
    """The error when no address of `endpoint` could be connected; the attempts are in it."""
    last = attempts[-1]
    error = raisable(ConnectError)("connect", endpoint, _in_one(attempts), last.errno)
    error.attempts = tuple(attempts)
    error.__cause__ = last
    return error


def _refusal(endpoint: Endpoint, address: Address) -> ConnectError | None:
    _, sockaddr = address
    return plain_text_refusal(endpoint, endpoint.from_sockaddr(endpoint.scheme, sockaddr), sockaddr)


def _in_one(attempts: Sequence[SocketError]) -> str:
    """What all attempts say; a reason that they share is said once."""
    if len({attempt.reason for attempt in attempts}) == 1:
        return f"{attempts[0].reason} (tried {', '.join(str(attempt.endpoint) for attempt in attempts)})"
    return f"every address failed ({'; '.join(f'{attempt.endpoint}: {attempt.reason}' for attempt in attempts)})"


async def _attempt(
    kind: type[_Connection], address: Address, endpoint: Endpoint, driver: Driver, limits: Limits
) -> _Connection:
    if refusal := _refusal(endpoint, address):
        raise refusal
    family, sockaddr = address
    where = endpoint.from_sockaddr(endpoint.scheme, sockaddr)
    try:
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        number = sock.connect_ex(sockaddr)
        if number not in (0, errno.EINPROGRESS):
            sock.close()
            raise from_errno(ConnectError, "connect", where, number)
        _prepare(sock, limits)
    except SocketError:
        raise
    except OSError as failure:
        raise from_errno(ConnectError, "connect", where, failure.errno or errno.EIO) from failure
    stream = adopt(kind, sock.detach(), where, driver, limits.bounds(), sockaddr=sockaddr, connecting=number != 0)
    try:
        await stream._connected()
        if stream.local == stream.peer.endpoint:
            # A connect to a free port of the ephemeral range can meet itself (RFC 9293 §3.5, simultaneous open).
            raise raisable(ConnectError)("connect", where, "it met itself: nothing listens there", errno.ECONNREFUSED)
    except BaseException:
        stream.abort()
        raise
    return stream


async def settled(sock: socket.socket, where: Endpoint, driver: Driver, limits: Limits) -> socket.socket:
    """The socket, once its connection attempt has ended well; ConnectError, and no socket, if it has not."""
    waiting = adopt(Connection, sock.detach(), where, driver, limits.bounds(), connecting=True)
    try:
        await waiting._connected()
        return wrapped(waiting._detach())
    except BaseException:
        waiting.abort()
        raise


def wrapped(fd: int) -> socket.socket:
    """A descriptor that does not block, as a socket that knows it."""
    sock = socket.socket(fileno=fd)
    sock.setblocking(False)
    return sock


async def resolve(endpoint: Endpoint, driver: Driver, operation: str, kind: type[SocketError]) -> Sequence[Address]:
    """The addresses to connect to, or to listen on (`operation` says which); raises `kind` if there are none."""
    family = _FAMILIES[SCHEMES[endpoint.scheme].family]
    host, port = endpoint.host, endpoint.port or 0
    fixed = _FIXED.get((host or "localhost").lower())
    if fixed is not None:
        listening = operation != "connect"
        chosen = [known for known in fixed[listening] if family in (socket.AF_UNSPEC, known[0])]
        return [(known, (address, port)) for known, address in chosen]
    with suppress(socket.gaierror, UnicodeError):
        # An address that is written in numbers needs no resolver, and no thread to wait for one.
        found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        return [(entry[0], entry[4]) for entry in found]
    try:
        return await driver.resolve(host or "", port, family)
    except socket.gaierror as failure:
        reason = _NAME_REASONS.get(failure.errno or 0) or str(failure.strerror).lower()
        raise raisable(kind)(operation, endpoint, reason, failure.errno) from failure
    except UnicodeError as failure:
        raise raisable(kind)(operation, endpoint, "the name is no valid host name", errno.EINVAL) from failure


def _bind_all(
    addresses: Sequence[Address],
    endpoint: Endpoint,
    limits: Limits,
    bind: Callable[[int, tuple[Any, ...], Limits], socket.socket],
) -> list[socket.socket]:
    """One listening socket per address, all on the port of the first; none if one fails."""
    sockets: list[socket.socket] = []
    try:
        for family, sockaddr in addresses:
            port = sockets[0].getsockname()[1] if sockets else sockaddr[1]
            try:
                sockets.append(bind(family, (sockaddr[0], port, *sockaddr[2:]), limits))
            except OSError as failure:
                # A machine without IPv6 (or without IPv4) is served by the other one; a name's own addresses must all
                # be there.
                if failure.errno in _NO_FAMILY and _is_pair(endpoint) and (sockets or _other_family(addresses, family)):
                    continue
                raise from_errno(ListenError, "listen", endpoint, failure.errno or errno.EIO) from failure
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _bind(family: int, sockaddr: tuple[Any, ...], limits: Limits) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        # A restarted server takes its port back although old connections linger (TIME_WAIT); two listeners still cannot
        # share it.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Linux: accepted sockets inherit the options, which saves system calls for each.
        _prepare(sock, limits)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(sockaddr)
        sock.listen(limits.backlog)
    except BaseException:
        with suppress(OSError):
            sock.close()
        raise
    return sock


def _prepare(sock: socket.socket, limits: Limits) -> None:
    """The options of a TCP connection (man 7 tcp): no delay, and bounds on the kernel's memory and patience."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, limits.notsent_bytes)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(limits.user_timeout_seconds * 1000))


def _other_family(addresses: Sequence[Address], family: int) -> bool:
    return any(other != family for other, _ in addresses)


def _is_pair(endpoint: Endpoint) -> bool:
    return (endpoint.host or "localhost").lower() in _FIXED


_FAMILIES = {None: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}

_LOOPBACK = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
_EVERYWHERE = ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::"))
# host -> (addresses to connect to, addresses to listen on). localhost is not resolved: a hosts file must not send it
# elsewhere (RFC 6761 §6.3). What listens everywhere is reached over loopback.
_FIXED = {"localhost": (_LOOPBACK, _LOOPBACK), "*": (_LOOPBACK, _EVERYWHERE)}

_NO_FAMILY = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
FREE_PORT_TRIES = 16

_NAME_REASONS = {
    socket.EAI_NONAME: "unknown name: check its spelling, or write an IP address",
    socket.EAI_AGAIN: "the name cannot be resolved now: check the network and /etc/resolv.conf",
    socket.EAI_NODATA: "the name has no address of this family",
    socket.EAI_ADDRFAMILY: "the name has no address of this family",
}
