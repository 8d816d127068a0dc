"""Every kind of network socket, by one address: usable, fast and safe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._core import Datagram, SocketEntry, __version__
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
    MessageTooLarge,
    PeerViolation,
    SocketError,
    UnreachablePeer,
    Unsupported,
    UntrustedPeer,
)
from .limits import Limits
from .listener import Listener
from .messages import Messages
from .relaying import RelayReport
from .verbs import bind, connect, listen, relay, serve

if TYPE_CHECKING:
    from .datagrams import Datagrams
    from .identity import Identity
    from .inspect.first_bytes import FirstBytes
    from .inspect.processes import Process
    from .inspect.scan import scan
    from .inspect.table import sockets
    from .inspect.uses import Use, use_of
    from .inspect.watch import watch
    from .threats.audit import audit
    from .threats.finding import Finding
    from .trust import Trust
else:
    # Programs that open plain sockets only need not read what keys and certificates, or the machine's table, need.
    _LATER = {
        "Datagrams": "datagrams",
        "Finding": "threats.finding",
        "FirstBytes": "inspect.first_bytes",
        "Identity": "identity",
        "Process": "inspect.processes",
        "Trust": "trust",
        "Use": "inspect.uses",
        "audit": "threats.audit",
        "scan": "inspect.scan",
        "sockets": "inspect.table",
        "use_of": "inspect.uses",
        "watch": "inspect.watch",
    }

    def __getattr__(name: str) -> object:
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        globals()[name] = getattr(import_module(f".{_LATER[name]}", __name__), name)
        return globals()[name]


__all__ = [
    "BrokenConnection",
    "BusyConnection",
    "ClosedConnection",
    "ConnectError",
    "Credentials",
    "Datagram",
    "Datagrams",
    "EndOfStream",
    "Endpoint",
    "EndpointError",
    "Finding",
    "FirstBytes",
    "Identity",
    "IdentityError",
    "Limits",
    "ListenError",
    "Listener",
    "MessageTooLarge",
    "Messages",
    "Peer",
    "PeerViolation",
    "Process",
    "RelayReport",
    "SocketEntry",
    "SocketError",
    "Stream",
    "Trust",
    "UnreachablePeer",
    "Unsupported",
    "UntrustedPeer",
    "Use",
    "__version__",
    "audit",
    "bind",
    "connect",
    "listen",
    "relay",
    "scan",
    "serve",
    "sockets",
    "use_of",
    "watch",
]
