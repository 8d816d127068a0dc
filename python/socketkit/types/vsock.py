"""vsock (man 7 vsock): sockets between a virtual machine and its host, as streams and as records.

The kernel sends to the host what is addressed to a context id that it does not know as its own, and it knows this
machine's ids (1, and the one that the host has given it) only with the loopback transport. Without that, what is meant
for this machine would leave it: such an address is refused here, and nothing is asked of the kernel.
"""

from __future__ import annotations

import errno
import socket
from contextlib import suppress
from struct import Struct
from typing import TYPE_CHECKING, TypeVar

from ..connection import adopt
from ..errors import ConnectError, ListenError, SocketError, Unsupported, from_errno, raisable
from ..sockaddr import AF_VSOCK, CID_ANY, CID_LOCAL, PORT_ANY, local_cid
from .stream import settled

if TYPE_CHECKING:
    from ..connection import Connection
    from ..drivers import Driver
    from ..endpoint import Endpoint
    from ..limits import Limits

_Connection = TypeVar("_Connection", bound="Connection")


async def connect(kind: type[_Connection], endpoint: Endpoint, driver: Driver, limits: Limits) -> _Connection:
    """A stream to the machine with this context id: 2 is the host, 1 or none is this machine."""
    sock, under_way = _connecting(endpoint, limits, socket.SOCK_STREAM)
    stream = adopt(kind, sock.detach(), endpoint, driver, limits.bounds(), connecting=under_way)
    try:
        await stream._connected()
    except BaseException:
        stream.abort()
        raise
    return stream


async def connect_socket(endpoint: Endpoint, driver: Driver, limits: Limits) -> socket.socket:
    """A connected socket for records."""
    sock, under_way = _connecting(endpoint, limits, socket.SOCK_SEQPACKET)
    return await settled(sock, endpoint, driver, limits) if under_way else sock


def open_listener(endpoint: Endpoint, limits: Limits, kind: int = socket.SOCK_STREAM) -> tuple[int, Endpoint]:
    """A listening descriptor, and the endpoint that was taken. `*` is heard by the host and by its machines."""
    cid = _cid(endpoint)
    sock = _socket(kind, "listen", endpoint)
    try:
        if cid == CID_LOCAL and not has_loopback():
            raise _leaving("listen", endpoint)
        sock.bind((cid, endpoint.port or PORT_ANY))
        sock.listen(limits.backlog)
        port = sock.getsockname()[1]
        host = "*" if cid == CID_ANY else str(cid)
        return sock.detach(), endpoint.replace(host=host, port=port)
    except OSError as failure:
        if isinstance(failure, SocketError):
            raise
        raise _explained(ListenError, "listen", endpoint, failure.errno or errno.EIO) from failure
    finally:
        sock.close()


def has_loopback() -> bool:
    """Whether the kernel has the loopback transport: only then is context id 1 one of its own, to be bound."""
    with socket.socket(AF_VSOCK, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe, suppress(OSError):
        probe.bind((CID_LOCAL, PORT_ANY))
        return True
    return False


def _connecting(endpoint: Endpoint, limits: Limits, kind: int) -> tuple[socket.socket, bool]:
    """A socket that connects, and whether that is still under way."""
    cid = _cid(endpoint)
    cid = CID_LOCAL if cid == CID_ANY else cid  # what listens everywhere is called here, as over TCP
    sock = _socket(kind, "connect", endpoint)
    try:
        if cid in (CID_LOCAL, local_cid()) and not has_loopback():
            raise _leaving("connect", endpoint)
        # The kernel has a time limit of its own, of two seconds.
        seconds = limits.connect_seconds
        patience = _TIMEVAL.pack(int(seconds), int(seconds % 1 * 1e6) or (seconds < 1))
        set_option(sock, SO_VM_SOCKETS_CONNECT_TIMEOUT, patience)
        number = sock.connect_ex((cid, endpoint.port or 0))
        if number not in (0, errno.EINPROGRESS):
            raise _explained(ConnectError, "connect", endpoint, number)
        return sock, number != 0
    except BaseException:
        sock.close()
        raise


def set_option(sock: socket.socket, option: int, value: bytes) -> None:
    # Python's socket takes numbers of 64 bits only when it knows that its family is vsock: this view of it does not.
    view = socket.socket(socket.AF_UNIX, sock.type, fileno=sock.fileno())
    try:
        view.setsockopt(AF_VSOCK, option, value)
    finally:
        view.detach()


def _cid(endpoint: Endpoint) -> int:
    return CID_ANY if endpoint.host == "*" else int(endpoint.host or CID_LOCAL)


def _socket(kind: int, operation: str, endpoint: Endpoint) -> socket.socket:
    try:
        return socket.socket(AF_VSOCK, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    except OSError as failure:
        error = ConnectError if operation == "connect" else ListenError
        raise _explained(error, operation, endpoint, failure.errno or errno.EIO) from failure


def _leaving(operation: str, endpoint: Endpoint) -> Unsupported:
    reason = (
        "the kernel lacks vsock's loopback transport, and would send this to the machine's host: "
        "`modprobe vsock_loopback`, or write 2 for the host"
    )
    return raisable(Unsupported)(operation, endpoint, reason, errno.EADDRNOTAVAIL)


def _explained(kind: type[SocketError], operation: str, endpoint: Endpoint, number: int) -> SocketError:
    reason = _UNSUPPORTED.get(number)
    if reason is not None:
        return raisable(Unsupported)(operation, endpoint, reason, number)
    if number == errno.EADDRNOTAVAIL:
        own = local_cid()
        reason = "not this machine's context id: " + (f"it is {own}" if own is not None else "it has none")
        return raisable(kind)(operation, endpoint, reason, number)
    return from_errno(kind, operation, endpoint, number)


_UNSUPPORTED = {
    errno.EAFNOSUPPORT: "this kernel lacks vsock: `modprobe vsock`",
    errno.ENODEV: "no transport leads there: this machine is no virtual machine with vsock, nor the host of one "
    "(`modprobe vhost_vsock`)",
    errno.ESOCKTNOSUPPORT: "this kernel's vsock carries no records, which came with Linux 5.14",
}

SO_VM_SOCKETS_CONNECT_TIMEOUT = 6

_TIMEVAL = Struct("@ll")
