"""Sequenced packets that the kernel carries: connections that keep the borders of messages.

- `seqpacket+unix`: as Unix streams (unix.py), and each record is received whole. Of an end and of an empty record the
  kernel gives 0 bytes; but with a record, and not with the end, it tells who sent it (SO_PASSCRED, man 7 unix), so that
  they are told apart by that.
- `sctp`: one-to-one sockets (RFC 6458 §4). Each send is one message; one that is longer than what a receive takes comes
  in parts, of which the last has MSG_EOR. There are no empty messages, and there is no half-close: an end ends both
  ways (RFC 9260 §9.2).
- `seqpacket+vsock` (vsock.py): each record is received whole, or cut where it is longer than what a receive takes.
"""

from __future__ import annotations

import errno
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..endpoint import Endpoint
from ..errors import ConnectError, SocketError, Unsupported, from_errno, raisable
from ..exposure import plain_text_refusal
from ..race import Race
from . import unix, vsock
from .options import Opened, nothing
from .stream import defeated, resolve, settled, wrapped
from .stream import open_listeners as open_stream_listeners
from .vsock import connect as connect  # streams of vsock, which is opened here for both shapes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..drivers import Driver
    from ..limits import Limits

    Address = tuple[int, tuple[Any, ...]]


async def connect_socket(endpoint: Endpoint, driver: Driver, limits: Limits) -> Opened:
    """A connected socket to who listens at `endpoint`."""
    match endpoint.carrier:
        case "unix":
            sock = _tell_senders(await unix.connect_socket(endpoint, driver, socket.SOCK_SEQPACKET))
            return Opened(sock, "unix-record", endpoint, nothing)
        case "vsock":
            return Opened(await vsock.connect_socket(endpoint, driver, limits), "vsock", endpoint, nothing)
        case _:
            return await _connect_sctp(endpoint, driver, limits)


async def open_listener(endpoint: Endpoint, driver: Driver, limits: Limits) -> Opened:
    """A socket that listens at `endpoint`; those in `held` listen, too, on its other addresses."""
    match endpoint.carrier:
        case "unix":
            fd, remove = unix.open_listener(endpoint, limits, socket.SOCK_SEQPACKET)
            sock = _tell_senders(wrapped(fd))
            return Opened(sock, "unix-record", endpoint, remove)
        case "vsock":
            records = "seqpacket" in endpoint.modifiers
            fd, taken = vsock.open_listener(endpoint, limits, socket.SOCK_SEQPACKET if records else socket.SOCK_STREAM)
            return Opened(wrapped(fd), "vsock" if records else "stream", taken, nothing)
        case _:
            _require_sctp("listen", endpoint)
            fds, taken = await open_stream_listeners(endpoint, driver, limits, bind=_bind_sctp)
            first, *others = (wrapped(fd) for fd in fds)
            return Opened(first, "sctp", taken, nothing, tuple(others))


async def _connect_sctp(endpoint: Endpoint, driver: Driver, limits: Limits) -> Opened:
    _require_sctp("connect", endpoint)
    addresses = await resolve(endpoint, driver, "connect", ConnectError)

    async def attempt(address: Address) -> Opened:
        return await _attempt_sctp(endpoint, address, driver, limits)

    if len(addresses) == 1:
        return await attempt(addresses[0])

    def defeat(failures: Sequence[BaseException]) -> ConnectError:
        return defeated(endpoint, [failure for failure in failures if isinstance(failure, SocketError)])

    return await driver.run(Race(addresses, attempt, lambda late: late.sock.close(), defeat))


async def _attempt_sctp(endpoint: Endpoint, address: Address, driver: Driver, limits: Limits) -> Opened:
    family, known = address
    where = Endpoint.from_sockaddr(endpoint.scheme, known)
    if refusal := plain_text_refusal(endpoint, where, known):
        raise refusal
    try:
        sock = _sctp_socket(family)
    except OSError as failure:
        raise from_errno(ConnectError, "connect", where, failure.errno or errno.EIO) from failure
    number = sock.connect_ex(known)
    if number not in (0, errno.EINPROGRESS):
        sock.close()
        raise from_errno(ConnectError, "connect", where, number)
    if number:
        sock = await settled(sock, where, driver, limits)
    return Opened(sock, "sctp", where, nothing)


def _bind_sctp(family: int, known: tuple[Any, ...], limits: Limits) -> socket.socket:
    sock = _sctp_socket(family)
    try:
        # A restarted server takes its port back; two listeners cannot share it, as with TCP.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(known)
        sock.listen(limits.backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def _sctp_socket(family: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, IPPROTO_SCTP)
    with suppress(OSError):
        sock.setsockopt(IPPROTO_SCTP, SCTP_NODELAY, 1)  # messages do not wait to fill packets
        # As large as the machine allows, which is twice what a sender has under way: what finds no room is thrown away,
        # and sent again only after a second, then two, then four (RFC 9260 §6.3).
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SCTP_RECEIVE_BYTES)
    return sock


def _tell_senders(sock: socket.socket) -> socket.socket:
    """Have the kernel say with each record who sent it: no end has that. Whom a listener accepts, inherits it."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    return sock


def _require_sctp(operation: str, endpoint: Endpoint) -> None:
    """Raise Unsupported if no address can be reached for want of the protocol itself."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError):
            socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC, IPPROTO_SCTP).close()
            return
    kind = raisable(Unsupported)
    raise kind(operation, endpoint, "this kernel lacks SCTP: `modprobe sctp`", errno.EPROTONOSUPPORT)


IPPROTO_SCTP = 132
SCTP_NODELAY = 3
SCTP_RECEIVE_BYTES = 1 << 20
