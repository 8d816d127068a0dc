"""`fd://3`, `fd://name`: sockets that were open when the program started (systemd socket activation, a parent process).

By number: that descriptor. By name: the first of LISTEN_FDS whose LISTEN_FDNAMES entry is the name (man 3
sd_listen_fds). Who made the socket chose its address: whether plain text may use it is judged by that (exposure.py).
"""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, TypeVar

from ..connection import adopt
from ..endpoint import Endpoint
from ..errors import ConnectError, ListenError, SocketError, Unsupported, from_errno, raisable
from ..exposure import inherited_refusal
from .options import Opened, nothing

if TYPE_CHECKING:
    from ..connection import Connection
    from ..drivers import Driver
    from ..limits import Limits

_Connection = TypeVar("_Connection", bound="Connection")


async def connect(kind: type[_Connection], endpoint: Endpoint, driver: Driver, limits: Limits) -> _Connection:
    """The connection that descriptor is; it is owned from here on."""
    sock, where = _inherit(endpoint, "connect", ConnectError, listening=False)
    return adopt(kind, sock.detach(), where, driver, limits.bounds())


def open_listener(endpoint: Endpoint, limits: Limits) -> tuple[int, Endpoint]:
    """The listening descriptor and where it listens; it is owned from here on."""
    sock, where = _inherit(endpoint, "listen", ListenError, listening=True)
    if where.scheme == "tcp" and "plaintext" in endpoint.query:
        where = where.replace(query={"plaintext": "yes"})  # what it says must connect as it stands
    return sock.detach(), where


async def connect_socket(endpoint: Endpoint, driver: Driver, limits: Limits) -> Opened:
    """The connected socket that keeps borders."""
    sock, where = _inherit(endpoint, "connect", ConnectError, listening=False, sorts=_BORDERS)
    try:
        sock.getpeername()
    except OSError as failure:
        sock.detach()
        reason = f'it is connected to nobody: bind("{endpoint}") hears from everybody'
        raise raisable(ConnectError)("connect", endpoint, reason, errno.ENOTCONN) from failure
    return Opened(sock, _kind(sock), where, nothing)


async def open_bound(endpoint: Endpoint, driver: Driver, limits: Limits) -> Opened:
    """The bound datagram socket; with one socket in several processes, each datagram goes to one of them."""
    sock, where = _inherit(endpoint, "bind", ListenError, listening=False, sorts=(socket.SOCK_DGRAM,))
    return Opened(sock, _kind(sock), where, nothing)


def open_record_listener(endpoint: Endpoint) -> tuple[int, Endpoint]:
    """The listening descriptor of a socket that keeps borders, and where it listens; it is owned from here on."""
    sock, where = _inherit(endpoint, "listen", ListenError, listening=True, sorts=(socket.SOCK_SEQPACKET,))
    return sock.detach(), where


def _kind(sock: socket.socket) -> str:
    if sock.family == socket.AF_UNIX:
        return "unix-record" if sock.type == socket.SOCK_SEQPACKET else "unix-datagram"
    return "udp6" if sock.family == socket.AF_INET6 else "udp4"


def _inherit(
    endpoint: Endpoint,
    operation: str,
    kind: type[SocketError],
    *,
    listening: bool,
    sorts: tuple[socket.SocketKind, ...] = (socket.SOCK_STREAM,),
) -> tuple[socket.socket, Endpoint]:
    fd = _descriptor(endpoint, operation, kind)
    try:
        sock = socket.socket(fileno=fd)
    except OSError as failure:
        raise from_errno(kind, operation, endpoint, failure.errno or errno.EBADF) from failure
    try:
        scheme = _SCHEMES.get((sock.family, sock.type))
        if scheme is None or sock.type not in sorts:
            wanted = " or ".join(_SORTS[sort] for sort in sorts)
            carrier = "TCP" if sorts == (socket.SOCK_STREAM,) else "UDP"
            raise raisable(Unsupported)(operation, endpoint, f"the descriptor is no {carrier} or Unix {wanted} socket")
        accepts = bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
        if accepts != listening:
            what, remedy = ("listens", "listen") if accepts else ("does not listen", "connect")
            raise raisable(kind)(operation, endpoint, f"the descriptor {what}: use {remedy}()", errno.EINVAL)
        sockaddr = sock.getsockname()
        if scheme in ("tcp", "udp") and (refusal := inherited_refusal(endpoint, kind, operation, sockaddr)):
            raise refusal
        sock.setblocking(False)
        os.set_inheritable(fd, False)
    except BaseException:
        sock.detach()  # it stays the program's
        raise
    return sock, Endpoint.from_sockaddr(scheme, sockaddr)


def _descriptor(endpoint: Endpoint, operation: str, kind: type[SocketError]) -> int:
    name = endpoint.host or ""
    if name.isascii() and name.isdecimal():
        return int(name)
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        reason = "no sockets were handed to this process: LISTEN_PID is not its own (start it by socket activation)"
        raise raisable(kind)(operation, endpoint, reason, errno.ENOENT)
    count = os.environ.get("LISTEN_FDS", "")
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")[: int(count) if count.isdecimal() else 0]
    if name not in names:
        known = ", ".join(filter(None, names)) or "none"
        raise raisable(kind)(operation, endpoint, f"no such name in LISTEN_FDNAMES, which has: {known}", errno.ENOENT)
    return LISTEN_FDS_START + names.index(name)


_SCHEMES = {
    (socket.AF_INET, socket.SOCK_STREAM): "tcp",
    (socket.AF_INET6, socket.SOCK_STREAM): "tcp",
    (socket.AF_UNIX, socket.SOCK_STREAM): "unix",
    (socket.AF_INET, socket.SOCK_DGRAM): "udp",
    (socket.AF_INET6, socket.SOCK_DGRAM): "udp",
    (socket.AF_UNIX, socket.SOCK_DGRAM): "dgram+unix",
    (socket.AF_UNIX, socket.SOCK_SEQPACKET): "seqpacket+unix",
}
_SORTS = {socket.SOCK_STREAM: "stream", socket.SOCK_DGRAM: "datagram", socket.SOCK_SEQPACKET: "seqpacket"}
_BORDERS = (socket.SOCK_DGRAM, socket.SOCK_SEQPACKET)

# man 3 sd_listen_fds
LISTEN_FDS_START = 3
