"""Every kind of network socket, by one address: usable, fast and safe."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
from .limits import Limits
from .listener import Listener
from .relaying import RelayReport
from .verbs import bind, connect, listen, relay, serve

if TYPE_CHECKING:
    from .identity import Identity
    from .trust import Trust
else:

    def __getattr__(name: str) -> object:
        # Programs that open plain sockets only need not read what keys and certificates need.
        if name not in ("Identity", "Trust"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from . import identity, trust

        globals().update(Identity=identity.Identity, Trust=trust.Trust)
        return globals()[name]


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
