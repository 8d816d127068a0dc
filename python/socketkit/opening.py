"""From an address to an open socket: which module knows its scheme. Written once for both drivers."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Protocol, TypeVar

from .drivers import TimeLimit
from .endpoint import Endpoint
from .errors import ConnectError, Unsupported, raisable
from .listener import make_listener

if TYPE_CHECKING:
    from .connection import Connection
    from .drivers import Driver
    from .identity import Identity
    from .limits import Limits
    from .listener import Listening
    from .trust import Trust

_Connection = TypeVar("_Connection", bound="Connection")
_Listening = TypeVar("_Listening", bound="Listening")


class Connect(Protocol):
    async def __call__(
        self, kind: type[_Connection], endpoint: Endpoint, driver: Driver, limits: Limits
    ) -> _Connection: ...


async def open_stream(
    kind: type[_Connection],
    address: str | Endpoint,
    driver: Driver,
    limits: Limits,
    trust: Trust | None = None,
    identity: Identity | None = None,
    *,
    first_use: bool = True,
) -> _Connection:
    """A connection of class `kind` to `address`, within `limits.connect_seconds`; under TLS the handshake included.

    `first_use`: see `types.tls.connect`.
    """
    endpoint = Endpoint.parse(address)
    connect = connector(endpoint, trust, identity, first_use=first_use)
    try:
        stream = await driver.within(limits.connect_seconds, connect(kind, endpoint, driver, limits))
        stream._called = endpoint
        return stream
    except TimeLimit as late:
        raise raisable(ConnectError)(
            "connect", endpoint, f"no answer within {limits.connect_seconds:g} s", _TIMED_OUT
        ) from late


async def open_listener(
    kind: type[_Listening],
    stream_kind: type[Connection],
    address: str | Endpoint,
    driver: Driver,
    limits: Limits,
    identity: Identity | None = None,
) -> _Listening:
    """A listener of class `kind` on `address`, whose connections are of class `stream_kind`."""
    endpoint = Endpoint.parse(address)
    _require_tls(endpoint, identity=identity)
    match endpoint.scheme:
        case "tls" | "tls+unix":
            from .types import tls

            fds, taken, remove, side = await tls.open_listener(endpoint, driver, limits, identity)
            return make_listener(kind, stream_kind, taken, driver, limits, fds=fds, remove=remove, tls=side)
        case "tcp" | "tcp4" | "tcp6":
            from .types import stream

            fds, taken = await stream.open_listeners(endpoint, driver, limits)
            return make_listener(kind, stream_kind, taken, driver, limits, fds=fds)
        case "unix":
            from .types import unix

            fd, remove = unix.open_listener(endpoint, limits)
            return make_listener(kind, stream_kind, endpoint, driver, limits, fds=[fd], remove=remove)
        case "fd":
            from .types import inherited

            fd, taken = inherited.open_listener(endpoint, limits)
            return make_listener(kind, stream_kind, taken, driver, limits, fds=[fd])
        case "mem":
            from .types import memory

            port, taken, remove = memory.open_port(endpoint, limits)
            return make_listener(kind, stream_kind, taken, driver, limits, port=port, remove=remove)
        case _:
            raise unsupported("listen", endpoint)


def unsupported(operation: str, endpoint: Endpoint) -> Unsupported:
    """The error for a scheme that parses and cannot be opened yet."""
    missing = _MISSING.get(endpoint.carrier, "its socket type")
    return raisable(Unsupported)(
        operation, endpoint, f"this version of socketkit lacks {missing}; it opens {', '.join(OPENED)} as streams"
    )


def connector(
    endpoint: Endpoint, trust: Trust | None = None, identity: Identity | None = None, *, first_use: bool = True
) -> Connect:
    """What connects to endpoints of this scheme; Unsupported if nothing does."""
    _require_tls(endpoint, trust=trust, identity=identity)
    match endpoint.scheme:
        case "tls" | "tls+unix":
            from functools import partial

            from .types import tls

            return partial(tls.connect, trust=trust, identity=identity, first_use=first_use)
        case "tcp" | "tcp4" | "tcp6":
            from .types import stream

            return stream.connect
        case "unix":
            from .types import unix

            return unix.connect
        case "fd":
            from .types import inherited

            return inherited.connect
        case "mem":
            from .types import memory

            return memory.connect
        case _:
            raise unsupported("connect", endpoint)


def _require_tls(endpoint: Endpoint, **given: object) -> None:
    for name, value in given.items():
        if value is not None and not is_tls(endpoint):
            raise ValueError(f"{name}= means something under TLS only: write tls:// in {endpoint}, or leave it out")


def is_tls(endpoint: Endpoint) -> bool:
    return endpoint.carrier == "tls" or "tls" in endpoint.modifiers


OPENED = ("tcp", "tcp4", "tcp6", "tls", "unix", "tls+unix", "mem", "fd")

_MISSING = {
    "tls": "records over streams",
    "unix": "this kind of Unix socket",
    "tcp": "records over streams",
    "quic": "QUIC",
    "udp": "datagrams",
    "udp4": "datagrams",
    "udp6": "datagrams",
    "sctp": "SCTP",
    "icmp": "raw sockets",
    "ip": "raw sockets",
    "ethernet": "raw sockets",
    "vsock": "vsock",
    "bt-rfcomm": "Bluetooth",
    "bt-l2cap": "Bluetooth",
}

_TIMED_OUT = errno.ETIMEDOUT
