"""From an address to an open socket: which module knows its scheme. Written once for both drivers."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from . import _core
from .drivers import TimeLimit
from .endpoint import Endpoint
from .errors import ConnectError, Unsupported, raisable
from .listener import LOG_SECONDS, make_listener
from .messages import Messages, accepted_messages, adopt_messages
from .schemes import SCHEMES

if TYPE_CHECKING:
    from .connection import Connection
    from .datagrams import DatagramSocket
    from .drivers import Driver
    from .identity import Identity
    from .limits import Limits
    from .listener import Listening
    from .messages import Faces
    from .trust import Trust
    from .types.options import Opened

_Connection = TypeVar("_Connection", bound="Connection")
_Listening = TypeVar("_Listening", bound="Listening")
_Datagrams = TypeVar("_Datagrams", bound="DatagramSocket")


class OpenSocket(Protocol):
    async def __call__(self, endpoint: Endpoint, driver: Driver, limits: Limits) -> Opened: ...


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
    if is_over_stream(endpoint):
        from .records import Records

        if not issubclass(kind, Records):
            _require_shape("connect", endpoint, "Stream")
    connect = connector(endpoint, trust, identity, first_use=first_use)
    try:
        stream = await driver.within(limits.connect_seconds, connect(kind, endpoint, driver, limits))
        stream._called = endpoint
        return stream
    except TimeLimit as late:
        raise raisable(ConnectError)(
            "connect", endpoint, f"no answer within {limits.connect_seconds:g} s", _TIMED_OUT
        ) from late


async def open_messages(
    faces: Faces,
    address: str | Endpoint,
    driver: Driver,
    limits: Limits,
    trust: Trust | None = None,
    identity: Identity | None = None,
) -> Any:
    """A connection to `address` that keeps borders, within `limits.connect_seconds`."""
    endpoint = Endpoint.parse(address)
    _require_shape("connect", endpoint, "Messages")
    if is_over_stream(endpoint):
        return await open_stream(faces.records(), endpoint, driver, limits, trust, identity)
    _require_tls(endpoint, trust=trust, identity=identity)
    connect = socket_connector(endpoint)

    async def open_it() -> Any:
        opened = await connect(endpoint, driver, limits)
        return adopt_messages(faces.messages, opened, endpoint, driver, limits.bounds(), connected=True)

    try:
        return await driver.within(limits.connect_seconds, open_it())
    except TimeLimit as late:
        raise raisable(ConnectError)(
            "connect", endpoint, f"no answer within {limits.connect_seconds:g} s", _TIMED_OUT
        ) from late


async def open_datagrams(kind: type[_Datagrams], address: str | Endpoint, driver: Driver, limits: Limits) -> _Datagrams:
    """A bound datagram socket of class `kind`."""
    endpoint = Endpoint.parse(address)
    _require_shape("bind", endpoint, "Datagrams")
    bind = binder(endpoint)
    opened = await bind(endpoint, driver, limits)
    made = adopt_messages(kind, opened, endpoint, driver, limits.bounds(), connected=False)
    made._limits = limits
    made._told = (0, -LOG_SECONDS)
    return made


async def open_message_listener(
    kind: type[_Listening],
    faces: Faces,
    address: str | Endpoint,
    driver: Driver,
    limits: Limits,
    identity: Identity | None = None,
) -> _Listening:
    """A listener of class `kind` on `address`, whose connections keep borders."""
    endpoint = Endpoint.parse(address)
    _require_shape("listen", endpoint, "Messages")
    if is_over_stream(endpoint):
        from .types import records

        fds, taken, remove, side = await records.open_listener(endpoint, driver, limits, identity)
        return make_listener(kind, faces.records(), taken, driver, limits, fds=fds, remove=remove, tls=side)
    _require_tls(endpoint, identity=identity)
    match endpoint.scheme:
        case "seqpacket+unix" | "sctp" | "seqpacket+vsock":
            from .types import seqpacket

            opened = await seqpacket.open_listener(endpoint, driver, limits)
            return make_listener(
                kind,
                faces.messages,
                opened.where,
                driver,
                limits,
                fds=[sock.detach() for sock in (opened.sock, *opened.held)],
                remove=opened.remove,
                unix=endpoint.carrier == "unix",
                make=accepted_messages,
            )
        case "mem":
            from .types import memory

            port, taken, remove = memory.open_port(endpoint, limits, records=True)
            return make_listener(
                kind, faces.messages, taken, driver, limits, port=port, remove=remove, make=accepted_messages
            )
        case "fd":
            from .types import inherited

            fd, taken = inherited.open_record_listener(endpoint)
            return make_listener(kind, faces.messages, taken, driver, limits, fds=[fd], make=accepted_messages)
        case _:
            raise _nobody_calls(endpoint)


async def open_shaped_listener(
    kind: type[_Listening],
    faces: Faces,
    shape: type,
    address: str | Endpoint,
    driver: Driver,
    limits: Limits,
    identity: Identity | None = None,
) -> _Listening:
    """A listener of class `kind`, whose connections have that shape."""
    if keeps_borders(shape):
        return await open_message_listener(kind, faces, address, driver, limits, identity)
    return await open_listener(kind, faces.stream, address, driver, limits, identity)


def keeps_borders(shape: type) -> bool:
    """Whether the shape that was asked for is `Messages`; TypeError if it is none."""
    if issubclass(shape, Messages):
        return True
    if issubclass(shape, _core.Stream):
        return False
    raise TypeError(f"a connection's shape is Stream or Messages, not {shape.__name__}")


async def require_openable(endpoint: Endpoint, shape: type, driver: Driver, limits: Limits) -> None:
    """Raise now what `connect` would raise each time.

    For a scheme that nothing opens, for plain text to afar, and for a socket that takes a privilege.
    """
    if not keeps_borders(shape) or is_over_stream(endpoint):
        connector(endpoint)
    else:
        _require_shape("connect", endpoint, "Messages")
        connect = socket_connector(endpoint)
        if endpoint.scheme in ("udp", "udp4", "udp6", "icmp", "raw+ip"):
            (await connect(endpoint, driver, limits)).sock.close()  # nothing is sent by it
    if endpoint.carrier in ("tcp", "tcp4", "tcp6"):
        from .types import stream

        stream.permitted(endpoint, await stream.resolve(endpoint, driver, "connect", ConnectError))


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
    _require_shape("listen", endpoint, "Stream")
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
        case "vsock":
            from .types import vsock

            fd, taken = vsock.open_listener(endpoint, limits)
            return make_listener(kind, stream_kind, taken, driver, limits, fds=[fd])
        case "mem":
            from .types import memory

            port, taken, remove = memory.open_port(endpoint, limits)
            return make_listener(kind, stream_kind, taken, driver, limits, port=port, remove=remove)
        case _:
            raise unsupported("listen", endpoint)


def unsupported(operation: str, endpoint: Endpoint) -> Unsupported:
    """The error for a scheme that parses and cannot be opened yet."""
    opened = [name for name in SCHEMES if name == "mem" or name.rpartition("+")[2] not in _MISSING]
    reason = f"this version of socketkit lacks {_missing(endpoint)}; it opens {', '.join(opened)}"
    return raisable(Unsupported)(operation, endpoint, reason)


def _missing(endpoint: Endpoint) -> str:
    return _MISSING.get(endpoint.carrier, "its socket type")


def connector(
    endpoint: Endpoint, trust: Trust | None = None, identity: Identity | None = None, *, first_use: bool = True
) -> Connect:
    """What connects to endpoints of this scheme; Unsupported if nothing does."""
    if not is_over_stream(endpoint):
        _require_shape("connect", endpoint, "Stream")
    _require_tls(endpoint, trust=trust, identity=identity)
    match endpoint.scheme:
        case "seqpacket+tls" | "seqpacket+tcp":
            from functools import partial

            from .types import records

            return partial(records.connect, trust=trust, identity=identity, first_use=first_use)
        case "vsock":
            from .types import vsock

            return vsock.connect
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


def is_over_stream(endpoint: Endpoint) -> bool:
    """Whether it keeps borders by framing records in a stream."""
    return endpoint.scheme in ("seqpacket+tls", "seqpacket+tcp")


def _require_shape(operation: str, endpoint: Endpoint, shape: str) -> None:
    """Raise Unsupported, with what to write instead, if connections of this scheme have no such shape."""
    shapes = SCHEMES[endpoint.scheme].shapes
    if shape in shapes:
        return
    if endpoint.carrier in _MISSING:
        raise unsupported(operation, endpoint)
    ways = {
        "Stream": f'connect("{endpoint}") or listen("{endpoint}")',
        "Messages": f'connect("{endpoint}", Messages)',
        "Datagrams": f'bind("{endpoint}")',
    }
    known = [ways[known] for known in shapes if known in ways]
    what = {"Stream": "a stream", "Messages": "messages", "Datagrams": "datagrams from anybody"}[shape]
    raise raisable(Unsupported)(operation, endpoint, f"it does not carry {what}: write {' or '.join(known)}")


def _nobody_calls(endpoint: Endpoint) -> Unsupported:
    reason = f'nobody connects to it: bind("{endpoint}") hears from everybody'
    return raisable(Unsupported)("listen", endpoint, reason)


def socket_connector(endpoint: Endpoint) -> OpenSocket:
    """What makes a connected kernel socket of this scheme; Unsupported if nothing does."""
    match endpoint.scheme:
        case "udp" | "udp4" | "udp6" | "dgram+unix":
            from .types import datagram

            return datagram.connect_socket
        case "seqpacket+unix" | "sctp" | "seqpacket+vsock":
            from .types import seqpacket

            return seqpacket.connect_socket
        case "icmp" | "raw+ip":
            from .types import raw

            return raw.connect_socket
        case "mem":
            from .types import memory

            return memory.connect_socket
        case "fd":
            from .types import inherited

            return inherited.connect_socket
        case _:
            raise unsupported("connect", endpoint)


def binder(endpoint: Endpoint) -> OpenSocket:
    """What binds a socket of this scheme that hears from anybody; Unsupported if nothing does."""
    match endpoint.scheme:
        case "udp" | "udp4" | "udp6" | "dgram+unix":
            from .types import datagram

            return datagram.open_bound
        case "icmp" | "raw+ip":
            from .types import raw

            return raw.open_bound
        case "raw+ethernet":
            from .types import ethernet

            return ethernet.open_bound
        case "fd":
            from .types import inherited

            return inherited.open_bound
        case _:
            raise unsupported("bind", endpoint)


def is_tls(endpoint: Endpoint) -> bool:
    return endpoint.carrier == "tls" or "tls" in endpoint.modifiers


_MISSING = {
    "quic": "QUIC",
    "mem": "datagrams inside a process",
    "bt-rfcomm": "Bluetooth",
    "bt-l2cap": "Bluetooth",
}

_TIMED_OUT = errno.ETIMEDOUT
