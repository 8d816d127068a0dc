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


def _inherit(
    endpoint: Endpoint, operation: str, kind: type[SocketError], *, listening: bool
) -> tuple[socket.socket, Endpoint]:
    fd = _descriptor(endpoint, operation, kind)
    try:
        sock = socket.socket(fileno=fd)
    except OSError as failure:
        raise from_errno(kind, operation, endpoint, failure.errno or errno.EBADF) from failure
    try:
        scheme = _SCHEMES.get(sock.family)
        if scheme is None or sock.type != socket.SOCK_STREAM:
            raise raisable(Unsupported)(operation, endpoint, "the descriptor is no TCP or Unix stream socket")
        accepts = bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
        if accepts != listening:
            what, remedy = ("listens", "listen") if accepts else ("does not listen", "connect")
            raise raisable(kind)(operation, endpoint, f"the descriptor {what}: use {remedy}()", errno.EINVAL)
        sockaddr = sock.getsockname()
        if scheme == "tcp" and (refusal := inherited_refusal(endpoint, kind, operation, sockaddr)):
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


_SCHEMES = {socket.AF_INET: "tcp", socket.AF_INET6: "tcp", socket.AF_UNIX: "unix"}

# man 3 sd_listen_fds
LISTEN_FDS_START = 3
