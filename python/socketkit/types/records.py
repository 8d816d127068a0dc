"""Records over TLS and TCP: what `seqpacket+tls://` and `seqpacket+tcp://` open (docs/protocols/sk-seq.md).

The connection is made by the module of what carries it (`tls`, `stream`), which also decides what may leave this
machine. Over TLS both sides must agree on the protocol before the first record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from ..connection import Connection
from . import stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from .. import _core
    from ..drivers import Driver
    from ..endpoint import Endpoint
    from ..identity import Identity
    from ..limits import Limits
    from ..trust import Trust

_Connection = TypeVar("_Connection", bound=Connection)

PROTOCOL = "sk-seq/1"


async def connect(
    kind: type[_Connection],
    endpoint: Endpoint,
    driver: Driver,
    limits: Limits,
    *,
    trust: Trust | None = None,
    identity: Identity | None = None,
    first_use: bool = True,
) -> _Connection:
    """A connection of class `kind` (a `records.Records`) to `endpoint`; `trust` and `identity` are for TLS.

    ConnectError if the peer's TLS does not agree on the protocol; else what `tls.connect` and `stream.connect` raise.
    """
    if endpoint.carrier == "tcp":
        return await stream.connect(kind, endpoint, driver, limits)
    from . import tls

    return await tls.connect(
        kind, endpoint, driver, limits, trust=trust, identity=identity, first_use=first_use, protocol=PROTOCOL
    )


async def open_listener(
    endpoint: Endpoint, driver: Driver, limits: Limits, identity: Identity | None = None
) -> tuple[list[int], Endpoint, Callable[[], None], _core.ServerTls | None]:
    """Listening descriptors, the endpoint that callers write, what frees it again, and TLS's side if there is TLS."""
    if endpoint.carrier == "tcp":
        fds, taken = await stream.open_listeners(endpoint, driver, limits)
        return fds, taken, lambda: None, None
    from . import tls

    return await tls.open_listener(endpoint, driver, limits, identity, PROTOCOL)
