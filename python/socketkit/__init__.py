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

    def __getattr__(name: str) -> object:
        # Programs that open plain sockets only need not read what keys and certificates need.
        # Nor those that open no datagram sockets.
        if name == "Datagrams":
            from . import datagrams

            globals()["Datagrams"] = datagrams.Datagrams
        elif name == "scan":
            from .inspect.scan import scan

            globals()["scan"] = scan
        elif name == "watch":
            from .inspect.watch import watch

            globals()["watch"] = watch
        elif name in ("Identity", "Trust"):
            from . import identity, trust

            globals().update(Identity=identity.Identity, Trust=trust.Trust)
        elif name in ("Process", "sockets"):
            from .inspect import table

            globals().update(Process=table.Process, sockets=table.sockets)
        elif name == "FirstBytes":
            from .inspect import first_bytes

            globals()["FirstBytes"] = first_bytes.FirstBytes
        elif name in ("Use", "use_of"):
            from .inspect import uses

            globals().update(Use=uses.Use, use_of=uses.use_of)
        elif name in ("Finding", "audit"):
            from .threats import audit, finding

            globals().update(Finding=finding.Finding, audit=audit.audit)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
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
    "FirstBytes",
    "Finding",
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
