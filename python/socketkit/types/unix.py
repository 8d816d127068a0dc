"""Unix domain stream sockets (man 7 unix): paths that are nobody else's, abstract names, private by default."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from ..connection import adopt
from ..errors import ConnectError, ListenError, from_errno, raisable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..connection import Connection
    from ..drivers import Driver
    from ..endpoint import Endpoint
    from ..limits import Limits

_Connection = TypeVar("_Connection", bound="Connection")


async def connect(kind: type[_Connection], endpoint: Endpoint, driver: Driver, limits: Limits) -> _Connection:
    sock = _socket()
    try:
        wait = FULL_BACKLOG_WAIT_SECONDS
        while True:
            number = sock.connect_ex(sockaddr(endpoint))
            if number != errno.EAGAIN:
                break
            # The listener's backlog is full, and nothing tells when it is not (man 2 connect, EAGAIN).
            # Limits.connect_seconds bounds it.
            await driver.sleep(wait)
            wait = min(2 * wait, 0.1)
        if number:
            raise from_errno(ConnectError, "connect", endpoint, number)
        return adopt(kind, sock.detach(), endpoint, driver, limits)
    finally:
        sock.close()


def open_listener(endpoint: Endpoint, limits: Limits) -> tuple[int, Callable[[], None]]:
    """A listening descriptor, and what removes its path again if it is still the same socket's."""
    sock = _socket()
    try:
        path = endpoint.path or ""
        if path.startswith("@"):
            sock.bind(sockaddr(endpoint))
            sock.listen(limits.backlog)
            return sock.detach(), _nothing
        # The mode of the descriptor becomes that of the path (net/unix/af_unix.c, unix_bind_bsd): no moment at which it
        # is open to all.
        mode = int(endpoint.query.get("mode", "0600"), 8)
        os.fchmod(sock.fileno(), mode)
        with _locked_folder(path, endpoint):
            _clear(path, endpoint)
            sock.bind(path)
            sock.listen(limits.backlog)
            if "mode" in endpoint.query:
                os.chmod(path, mode)  # the umask has taken away from it what was asked for
            born = os.lstat(path)
        return sock.detach(), lambda: _remove(path, endpoint, born)
    except OSError as failure:
        if isinstance(failure, ListenError):
            raise
        raise from_errno(ListenError, "listen", endpoint, failure.errno or errno.EIO) from failure
    finally:
        sock.close()


def sockaddr(endpoint: Endpoint) -> str | bytes:
    """The address as the kernel wants it: a leading NUL makes a name abstract."""
    path = endpoint.path or ""
    return b"\0" + os.fsencode(path[1:]) if path.startswith("@") else path


def _socket() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)


def _clear(path: str, endpoint: Endpoint) -> None:
    """Remove a socket that nobody listens on; anything else that is there stays and is an error."""
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(there.st_mode):
        raise raisable(ListenError)("listen", endpoint, "the path exists and is no socket: remove it", errno.EEXIST)
    # A datagram socket: a live stream socket answers "wrong type" (EPROTOTYPE), and its listener sees no caller that
    # says nothing.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as probe:
        if probe.connect_ex(path) != errno.ECONNREFUSED:
            raise from_errno(ListenError, "listen", endpoint, errno.EADDRINUSE)
    os.unlink(path)


def _remove(path: str, endpoint: Endpoint, born: os.stat_result) -> None:
    with suppress(OSError), _locked_folder(path, endpoint):
        there = os.lstat(path)
        if (there.st_dev, there.st_ino) == (born.st_dev, born.st_ino):
            os.unlink(path)


@contextmanager
def _locked_folder(path: str, endpoint: Endpoint) -> Iterator[None]:
    """One starter at a time per folder.

    Else two could both find a dead socket, and the second would remove the first one's.
    """
    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Starters hold it for microseconds. Whoever may read a folder may lock it too, and must not hold us for ever.
        given_up_at = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > given_up_at:
                    reason = "another program keeps the path's folder locked: `lslocks` tells which"
                    raise raisable(ListenError)("listen", endpoint, reason, errno.EAGAIN) from None
                time.sleep(0.005)
        yield
    finally:
        os.close(folder)


def _nothing() -> None:
    return None


FULL_BACKLOG_WAIT_SECONDS = 0.001
LOCK_SECONDS = 1.0
