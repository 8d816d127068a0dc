"""`mem://name`: connections inside the process, on socket pairs; no name of theirs is visible outside.

They are kernel sockets all the same, so whatever works on a Unix socket works on them: both kinds of code, threads,
descriptors, relay.
"""

from __future__ import annotations

import errno
import socket
from itertools import count
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakValueDictionary

from .. import _core
from ..connection import adopt
from ..errors import ConnectError, ListenError, from_errno, raisable
from .options import Opened, nothing

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..connection import Connection
    from ..drivers import Driver
    from ..endpoint import Endpoint
    from ..limits import Limits

_Connection = TypeVar("_Connection", bound="Connection")


async def connect(kind: type[_Connection], endpoint: Endpoint, driver: Driver, limits: Limits) -> _Connection:
    return adopt(kind, _call(endpoint, records=False), endpoint, driver, limits.bounds())


async def connect_socket(endpoint: Endpoint, driver: Driver, limits: Limits) -> Opened:
    """A socket that keeps borders, connected to whoever listens under the name."""
    return Opened(socket.socket(fileno=_call(endpoint, records=True)), "unix-record", endpoint, nothing)


def _call(endpoint: Endpoint, *, records: bool) -> int:
    port = _ports.get(endpoint.host or "")
    try:
        if port is None:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "no such name")
        if port.records != records:
            listens, remedy = ("messages", ", Messages") if port.records else ("streams", "")
            reason = f'who listens there accepts {listens}: write connect("{endpoint}"{remedy})'
            raise raisable(ConnectError)("connect", endpoint, reason, errno.EPROTOTYPE)
        return port.call()
    except ConnectError:
        raise
    except OSError as failure:
        raise from_errno(ConnectError, "connect", endpoint, failure.errno or errno.EIO) from failure


def open_port(
    endpoint: Endpoint, limits: Limits, *, records: bool = False
) -> tuple[_core.MemoryPort, Endpoint, Callable[[], None]]:
    """A port under the endpoint's name (a fresh one if it has none), the endpoint, and what frees the name again."""
    name = endpoint.host or next(name for name in map(str, _numbers) if name not in _ports)
    if name in _ports:
        raise raisable(ListenError)("listen", endpoint, "already in use in this process", errno.EADDRINUSE)
    port = _ports[name] = _core.MemoryPort(limits.backlog, records)
    return port, endpoint.replace(host=name), lambda: _free(name, port)


def _free(name: str, port: _core.MemoryPort) -> None:
    if _ports.get(name) is port:
        del _ports[name]


# Weak: a listener that was dropped without being closed frees its name too.
_ports: WeakValueDictionary[str, _core.MemoryPort] = WeakValueDictionary()
_numbers = count(1)
