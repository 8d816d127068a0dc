"""Unix domain sockets (man 7 unix): paths that are nobody else's, abstract names, private by default.

Streams are opened here; records (seqpacket.py) and datagrams (datagram.py) take their names by the same rules.

A name on this machine says nothing about who took it. So a client asks the kernel who listens, and a server takes no
path that another user could take from it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import struct
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from ..connection import adopt
from ..errors import ConnectError, ListenError, explained, from_errno, raisable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..connection import Connection
    from ..drivers import Driver
    from ..endpoint import Endpoint
    from ..limits import Limits

_Connection = TypeVar("_Connection", bound="Connection")


async def connect(kind: type[_Connection], endpoint: Endpoint, driver: Driver, limits: Limits) -> _Connection:
    """A connection to the server at `endpoint`, if it is one that may be there (`require_known`)."""
    sock = await connect_socket(endpoint, driver)
    return adopt(kind, sock.detach(), endpoint, driver, limits.bounds())


async def connect_socket(endpoint: Endpoint, driver: Driver, kind: int = socket.SOCK_STREAM) -> socket.socket:
    """A connected socket of this kind (stream or seqpacket)."""
    expected = expected_user(endpoint)
    sock = unix_socket(kind)
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
        # Nothing has been sent by then: a stranger who was there first gets no byte.
        raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("iII"))
        require_known(struct.unpack("iII", raw)[1], endpoint, expected)
    except BaseException:
        sock.close()
        raise
    return sock


def open_listener(endpoint: Endpoint, limits: Limits, kind: int = socket.SOCK_STREAM) -> tuple[int, Callable[[], None]]:
    """A listening descriptor, and what removes its path again if it is still the same socket's."""
    sock = unix_socket(kind)
    try:
        remove = take_name(sock, endpoint, "listen", lambda: sock.listen(limits.backlog))
        return sock.detach(), remove
    finally:
        sock.close()


def take_name(
    sock: socket.socket, endpoint: Endpoint, operation: str, begin: Callable[[], None] | None = None
) -> Callable[[], None]:
    """Bind a socket to the name of `endpoint`; gives what removes its path again if it is still the same socket's.

    `begin` is called while no other starter can look whether somebody is there. ListenError for `operation` if the name
    is taken, or if anybody could take it away again.
    """
    try:
        path = endpoint.path or ""
        if path.startswith("@"):
            sock.bind(sockaddr(endpoint))
            if begin is not None:
                begin()
            return _nothing
        # The mode of the descriptor becomes that of the path (net/unix/af_unix.c, unix_bind_bsd): no moment at which it
        # is open to all.
        mode = int(endpoint.query.get("mode", "0600"), 8)
        os.fchmod(sock.fileno(), mode)
        _require_lasting(path, endpoint, operation)
        with _locked_folder(path, endpoint, operation):
            _clear(path, endpoint, operation)
            sock.bind(path)
            if begin is not None:
                begin()
            if "mode" in endpoint.query:
                os.chmod(path, mode)  # the umask has taken away from it what was asked for
            born = os.lstat(path)
        return lambda: _remove(path, endpoint, born)
    except OSError as failure:
        if isinstance(failure, ListenError):
            raise
        raise from_errno(ListenError, operation, endpoint, failure.errno or errno.EIO) from failure


def sockaddr(endpoint: Endpoint) -> str | bytes:
    """The address as the kernel wants it: a leading NUL makes a name abstract."""
    path = endpoint.path or ""
    return b"\0" + os.fsencode(path[1:]) if path.startswith("@") else path


def unattended(endpoint: Endpoint) -> str | None:
    """The path at which to connect without asking each time who listens; None if that must be asked.

    Without links, and with nothing in it where a user could listen whose server `connect` refuses.
    """
    path = endpoint.path or ""
    if path.startswith("@"):
        return None
    folder = os.path.realpath(os.path.dirname(path))
    real = f"{folder}/{os.path.basename(path)}"
    known = {os.geteuid(), ROOT, expected_user(endpoint), _keeper(os.path.dirname(path))}
    try:
        there = [os.stat(above) for above in (folder, *_above(folder))]
    except OSError:
        return None
    others = stat.S_IWGRP | stat.S_IWOTH
    kept = all(
        each.st_uid in known and not (each.st_mode & others and not each.st_mode & stat.S_ISVTX) for each in there
    )
    kept = kept and not there[0].st_mode & others and not os.path.islink(real)
    return real if kept and len(os.fsencode(real)) <= LONGEST_PATH_BYTES else None


def require_known(uid: int, endpoint: Endpoint, expected: int | None) -> None:
    """Raise ConnectError unless the server is ours, root's, of the user that the address names or the folder's owner.

    `uid` is the kernel's word for who has the name: for who called listen(2) where there are connections.
    """
    if uid in (os.geteuid(), ROOT, expected):
        return
    path = endpoint.path or ""
    abstract = path.startswith("@")
    folder = os.path.dirname(path)
    if not abstract and uid == _keeper(folder):
        return
    anybody = abstract or any(_is_open_to_all(above) for above in (folder, *_above(folder)))
    doubt = "and anybody could" if anybody else "who is neither you, nor root, nor the folder's owner"
    accept = endpoint.replace(query={**endpoint.query, "uid": str(uid)})
    refusal = raisable(ConnectError)(
        "connect",
        endpoint,
        f"{_described(uid)} listens there, {doubt}: write {accept} if that is your server, "
        "or have it listen in a folder of its own, as in /run/NAME",
        errno.EPERM,
    )
    raise explained(refusal, "hijacking")


def expected_user(endpoint: Endpoint) -> int | None:
    """The number of the user that the address names; ConnectError if there is no such user."""
    user = endpoint.query.get("uid")
    if user is None or user.isdecimal():
        return None if user is None else int(user)
    import pwd

    try:
        return pwd.getpwnam(user).pw_uid
    except (KeyError, ValueError):
        reason = f"no user of this machine is called {user}: `getent passwd` lists them; a number will do, too"
        raise raisable(ConnectError)("connect", endpoint, reason, errno.EINVAL) from None


def _keeper(folder: str) -> int | None:
    """The owner of the folder; None where anybody may make folders, so that owning one proves nothing."""
    try:
        if any(os.stat(above).st_mode & stat.S_IWOTH for above in _above(folder)):
            return None
        return os.stat(folder).st_uid
    except OSError:
        return None


def _require_lasting(path: str, endpoint: Endpoint, operation: str) -> None:
    """Raise ListenError if anybody could put a socket of his own in the place of the one at `path`."""
    real = os.path.realpath(os.path.dirname(path))
    for folder in (real, *_above(real)):
        if _is_open_to_all(folder, sticky=False):
            reason = (
                f"anybody could replace the socket, because everybody may rename what is in {folder}: "
                f"take another folder, or `chmod +t {folder}`"
            )
            raise raisable(ListenError)(operation, endpoint, reason, errno.EPERM)


def _is_open_to_all(folder: str, *, sticky: bool = True) -> bool:
    """Whether every user may make entries in it; `sticky=False`: and may rename and remove those of others, too."""
    try:
        mode = os.stat(folder).st_mode
    except OSError:
        return False
    return bool(mode & stat.S_IWOTH) and (sticky or not mode & stat.S_ISVTX)


def _above(folder: str) -> list[str]:
    """The folders above this one: those by which it is reached as it is written, and those in which it really is."""
    found = []
    for lower in (folder, os.path.realpath(folder)):
        while (upper := os.path.dirname(lower)) != lower:
            found.append(upper)
            lower = upper
    return found


def _described(uid: int) -> str:
    import pwd

    try:
        return f"user {pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"


def unix_socket(kind: int) -> socket.socket:
    return socket.socket(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)


def _clear(path: str, endpoint: Endpoint, operation: str) -> None:
    """Remove a socket that nobody listens on; anything else that is there stays and is an error."""
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(there.st_mode):
        raise raisable(ListenError)(operation, endpoint, "the path exists and is no socket: remove it", errno.EEXIST)
    # A datagram socket: a live stream socket answers "wrong type" (EPROTOTYPE), and its listener sees no caller that
    # says nothing. A live datagram socket sees nothing either, and says no only if it has a peer of its own (EPERM).
    with unix_socket(socket.SOCK_DGRAM) as probe:
        if probe.connect_ex(path) != errno.ECONNREFUSED:
            raise from_errno(ListenError, operation, endpoint, errno.EADDRINUSE)
    os.unlink(path)


def _remove(path: str, endpoint: Endpoint, born: os.stat_result) -> None:
    with suppress(OSError), _locked_folder(path, endpoint, "close"):
        there = os.lstat(path)
        if (there.st_dev, there.st_ino) == (born.st_dev, born.st_ino):
            os.unlink(path)


@contextmanager
def _locked_folder(path: str, endpoint: Endpoint, operation: str) -> Iterator[None]:
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
                    raise raisable(ListenError)(operation, endpoint, reason, errno.EAGAIN) from None
                time.sleep(0.005)
        yield
    finally:
        os.close(folder)


def _nothing() -> None:
    return None


ROOT = 0
LONGEST_PATH_BYTES = 107
FULL_BACKLOG_WAIT_SECONDS = 0.001
LOCK_SECONDS = 1.0
