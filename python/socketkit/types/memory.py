"""`mem://name`: connections inside the process, on socket pairs; no name of theirs is visible outside.

They are kernel sockets all the same, so whatever works on a Unix socket works on them: both kinds of code, threads,
descriptors, relay.
"""

from __future__ import annotations

import errno
from itertools import count
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakValueDictionary

from .. import _core
from ..connection import adopt
from ..errors import ConnectError, ListenError, from_errno, raisable

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..connection import Connection
    from ..drivers import Driver
    from ..endpoint import Endpoint
    from ..limits import Limits

_Connection = TypeVar("_Connection", bound="Connection")


async def connect(kind: type[_Connection], endpoint: Endpoint, driver: Driver, limits: Limits) -> _Connection:
    port = _ports.get(endpoint.host or "")
    try:
        if port is None:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "no such name")
        fd = port.call()
    except OSError as failure:
        raise from_errno(ConnectError, "connect", endpoint, failure.errno or errno.EIO) from failure
    return adopt(kind, fd, endpoint, driver, limits.bounds())


def open_port(endpoint: Endpoint, limits: Limits) -> tuple[_core.MemoryPort, Endpoint, Callable[[], None]]:
    """A port under the endpoint's name (a fresh one if it has none), the endpoint, and what frees the name again."""
    name = endpoint.host or next(name for name in map(str, _numbers) if name not in _ports)
    if name in _ports:
        raise raisable(ListenError)("listen", endpoint, "already in use in this process", errno.EADDRINUSE)
    port = _ports[name] = _core.MemoryPort(limits.backlog)
    return port, endpoint.replace(host=name), lambda: _free(name, port)


def _free(name: str, port: _core.MemoryPort) -> None:
    if _ports.get(name) is port:
        del _ports[name]


# Weak: a listener that was dropped without being closed frees its name too.
_ports: WeakValueDictionary[str, _core.MemoryPort] = WeakValueDictionary()
_numbers = count(1)
