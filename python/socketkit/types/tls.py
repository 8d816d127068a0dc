"""TLS 1.3 over TCP and Unix sockets: what `tls://` and `tls+unix://` open.

One connection's path: the carrier connects (`stream`, `unix`), the policy decides whom to accept (`trusting.decide`),
the engine shakes hands with exactly that policy (`securing`), and an unknown key ends it before anything was sent. A
listener's callers shake hands before `accept` hears of them.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, TypeVar

from .. import _core, home
from ..authorized_peers import AuthorizedPeers
from ..connection import Connection
from ..endpoint import Endpoint
from ..errors import ConnectError, ListenError, UntrustedPeer, raisable
from ..exposure import is_loopback, require_identified
from ..identity import Identity
from ..known_peers import KnownPeers
from ..securing import client_identity, client_side, protocols, server_name, server_side, shake
from ..trusting import decide

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..drivers import Driver
    from ..limits import Limits
    from ..trust import Trust
    from ..trusting import Decision
    from .stream import Address

_Connection = TypeVar("_Connection", bound="Connection")


async def connect(
    kind: type[_Connection],
    endpoint: Endpoint,
    driver: Driver,
    limits: Limits,
    *,
    trust: Trust | None = None,
    identity: Identity | None = None,
    first_use: bool = True,
    protocol: str | None = None,
) -> _Connection:
    """A connection whose peer has proved to be the one that was meant; UntrustedPeer, and nothing sent, if it has not.

    On first use, where that is allowed, the key that was seen becomes the known one of the place. With `first_use`
    false only where the address or the caller says so: `unknown_key` then tells what to ask a person. `protocol` is the
    one that the peer must agree on (ALPN, RFC 7301), instead of those that the address offers.
    """
    mine = client_identity(endpoint, identity)
    decision = decide(endpoint, trust, KnownPeers(), mine.fingerprint if mine else None)
    try:
        return await _connect(
            kind, endpoint, driver, limits, decision, mine, shown=identity is not None, protocol=protocol
        )
    except UntrustedPeer as failure:
        presented = failure.presented
        allowed = decision.first_use and (first_use or decision.told)
        if not allowed or presented is None or presented in decision.revoked:
            raise
    # Said once more with the key that was seen: the first handshake ended before this side's identity was shown.
    KnownPeers().add(decision.place, presented, "first use")
    decision = decide(endpoint, trust, KnownPeers())
    return await _connect(kind, endpoint, driver, limits, decision, mine, protocol=protocol)


def unknown_key(endpoint: Endpoint, failure: UntrustedPeer) -> tuple[str, str] | None:
    """The place and the key to ask about, if the peer was refused only because this is its first use; else None.

    Judged by an attempt that failed, not by one made to look: a peer that is known would take that for a caller.
    """
    decision = decide(endpoint, None, KnownPeers())
    presented = failure.presented
    if not decision.first_use or presented is None or presented in decision.revoked:
        return None
    return decision.place, presented


async def open_listener(
    endpoint: Endpoint, driver: Driver, limits: Limits, identity: Identity | None, protocol: str | None = None
) -> tuple[list[int], Endpoint, Callable[[], None], _core.ServerTls]:
    """Listening descriptors, the endpoint with the key that callers must expect, what frees it again, and TLS's side.

    Beyond this machine only the keys in authorized_peers are let in, unless the address says `public=yes`. With a
    `protocol` only callers that name it (ALPN) are, instead of those that the address offers.
    """
    mine = _listener_identity(endpoint, identity)
    if endpoint.carrier == "unix":
        from . import unix

        tls = server_side(endpoint, mine, clients=True)
        fd, remove = unix.open_listener(endpoint, limits)
        return [fd], _as_called(endpoint, mine), remove, tls
    from . import stream

    clients: bool | str = "public" not in endpoint.query

    def permit(endpoint: Endpoint, addresses: Sequence[Address]) -> None:
        nonlocal clients
        peers = AuthorizedPeers()
        require_identified(endpoint, addresses, bool(peers.fingerprints()))
        if clients and not all(is_loopback(sockaddr) for _, sockaddr in addresses):
            clients = peers.path

    fds, taken = await stream.open_listeners(endpoint, driver, limits, permit)
    try:
        tls = server_side(endpoint, mine, clients, protocol)
    except BaseException:
        from os import close

        for fd in fds:
            close(fd)
        raise
    return fds, _as_called(taken, mine), lambda: None, tls


async def _connect(
    kind: type[_Connection],
    endpoint: Endpoint,
    driver: Driver,
    limits: Limits,
    decision: Decision,
    identity: Identity | None,
    *,
    shown: bool = False,
    protocol: str | None = None,
) -> _Connection:
    if endpoint.carrier == "unix":
        from . import unix as carrier
    else:
        from . import stream as carrier  # type: ignore[no-redef]
    offered = [protocol] if protocol else endpoint.query.get("alpn", "").split(",")
    side = client_side(decision, identity, protocols(offered), shown=shown)
    stream = await carrier.connect(kind, endpoint, driver, limits)
    await shake(stream, side, server_name(endpoint), decision)
    if protocol and stream.alpn != protocol:
        stream.abort()
        reason = f"the peer speaks TLS, and not {protocol} in it: it agreed on {stream.alpn or 'no protocol'} (ALPN)"
        raise raisable(ConnectError)("connect", endpoint, reason, errno.EPROTO)
    return stream


def _listener_identity(endpoint: Endpoint, given: Identity | None) -> Identity:
    query = endpoint.query
    for word in ("ca", "sni", "trust"):
        if word in query:
            reason = f"{word} is for who connects; a listener's callers are listed in {home.file('authorized_peers')}"
            raise raisable(ListenError)("listen", endpoint, reason, errno.EINVAL)
    if "key" in query and given is not None:
        raise ValueError("both the address (key) and identity= say who this side is: leave one out")
    mine = given or (Identity.load(query["key"]) if "key" in query else Identity.of_user())
    if query.get("pin", mine.fingerprint) != mine.fingerprint:
        reason = f"the address expects another key: this side's is {mine.fingerprint}"
        raise raisable(ListenError)("listen", endpoint, reason, errno.EINVAL)
    return mine


def _as_called(endpoint: Endpoint, identity: Identity) -> Endpoint:
    """What a caller writes: with the key to expect, without what concerns this side alone."""
    kept = {name: value for name, value in endpoint.query.items() if name not in ("key", "public")}
    return endpoint.replace(query={**kept, "pin": identity.fingerprint})
