"""Every kind of network socket, by one address: usable, fast and safe."""

from __future__ import annotations

from ._core import __version__
from .connection import Credentials, Peer, Stream
from .endpoint import Endpoint
from .errors import (
    BrokenConnection,
    BusyConnection,
    ClosedConnection,
    ConnectError,
    EndOfStream,
    EndpointError,
    IdentityError,
    ListenError,
    PeerViolation,
    SocketError,
    Unsupported,
    UntrustedPeer,
)
from .identity import Identity
from .limits import Limits
from .listener import Listener
from .relaying import RelayReport
from .trust import Trust
from .verbs import bind, connect, listen, relay, serve

__all__ = [
    "BrokenConnection",
    "BusyConnection",
    "ClosedConnection",
    "ConnectError",
    "Credentials",
    "EndOfStream",
    "Endpoint",
    "EndpointError",
    "Identity",
    "IdentityError",
    "Limits",
    "ListenError",
    "Listener",
    "Peer",
    "PeerViolation",
    "RelayReport",
    "SocketError",
    "Stream",
    "Trust",
    "Unsupported",
    "UntrustedPeer",
    "__version__",
    "bind",
    "connect",
    "listen",
    "relay",
    "serve",
]
