"""TLS on a connection: whom the policy accepts there, which identity is shown, and the handshake with just that.

The engine shakes hands (`_core.Stream._secure`); an unknown key ends it before anything was sent. How an address
becomes a connection that needs it: types/tls.py.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from . import _core
from .endpoint import Endpoint
from .errors import ConnectError, ListenError, UntrustedPeer, raisable
from .identity import Identity
from .known_peers import KnownPeers
from .schemes import ip_address
from .trusting import decide

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .connection import Connection
    from .trust import Trust
    from .trusting import Decision


async def start(
    stream: Connection,
    *,
    server_side: bool | None,
    name: str | None,
    alpn: Sequence[str],
    trust: Trust | None,
    identity: Identity | None,
) -> None:
    """TLS on a connection that is there: see `Stream.start_tls`."""
    serving = stream._called is None if server_side is None else server_side
    if serving:
        if trust is not None:
            raise ValueError("trust= says whom a client trusts, and this side is the server")
        mine = identity or Identity.of_user()
        server = _core.ServerTls(mine._pem, True, protocols(alpn), alternative=mine._alternative)
        await shake(stream, server, "localhost")
    else:
        where = _place(stream, name)
        own = client_identity(where, identity)
        decision = decide(where, trust, KnownPeers(), own.fingerprint if own else None)
        client = client_side(decision, own, protocols(alpn), shown=identity is not None)
        await shake(stream, client, server_name(where), decision)
    stream._endpoint = secured(stream._endpoint)
    stream._local = None


def _place(stream: Connection, name: str | None) -> Endpoint:
    """Where a client is, as known_peers calls it."""
    where = stream._called or stream.peer.endpoint
    if where.carrier in ("unix", "mem") and not where.path:
        # Who has called over a Unix socket has no name: the one that he called is the place.
        where = stream._endpoint
    if where.carrier == "mem":
        return Endpoint.parse(f"tls+unix://@mem-{where.host}")
    if where.host is None:
        return secured(where)
    return secured(where).replace(host=name or where.host)


async def shake(
    stream: Connection, side: _core.ClientTls | _core.ServerTls, name: str, decision: Decision | None = None
) -> None:
    try:
        await stream._secure(side, name)
    except UntrustedPeer as failure:
        stream.abort()
        if decision is None:
            raise
        refusal = decision.refusal(failure.presented)
        if decision.roots and failure.presented not in decision.revoked:
            refusal.reason = f"{failure.reason}; {refusal.reason}"
        raise refusal from failure
    except BaseException:
        stream.abort()
        raise
    stream._peer = None  # it has proved more than it had


def client_identity(endpoint: Endpoint, given: Identity | None) -> Identity | None:
    """Who a client is: as told, else this user, if there can be a file for him."""
    if (path := endpoint.query.get("key")) is not None:
        if given is not None:
            raise ValueError("both the address (key) and identity= say who this side is: leave one out")
        return Identity.load(path)
    if given is not None:
        return given
    try:
        return Identity.of_user()
    except OSError:
        return None


def client_side(
    decision: Decision, identity: Identity | None, alpn: list[bytes], *, shown: bool = False
) -> _core.ClientTls:
    """TLS's side for this decision. The same one is used again, so that sessions are resumed.

    Who is vouched for by authorities is not shown who calls unless that was asked for (`shown`): on the open network an
    identity follows its user from server to server.
    """
    card = identity if not decision.roots or shown or "key" in decision.endpoint.query else None
    key = (decision.pins, decision.revoked, _version(decision.roots), decision.anyone, card, tuple(alpn))
    made = _clients.pop(key, None)
    if made is None:
        try:
            made = _core.ClientTls(
                [_core.fingerprint_bytes(pin) for pin in decision.pins],
                [_core.fingerprint_bytes(pin) for pin in decision.revoked],
                True if decision.roots == "system" else decision.roots,
                decision.anyone,
                card._pem if card else None,
                alpn,
            )
        except ValueError as failure:
            raise raisable(ConnectError)("connect", decision.endpoint, str(failure), errno.EINVAL) from failure
    _clients[key] = made  # the last one used is the last one to go
    if len(_clients) > CLIENTS_KEPT:
        del _clients[next(iter(_clients))]
    return made


def _version(roots: str | None) -> object:
    """Tells a file of authorities from the same one after a change; it is read once."""
    if roots is None or roots == "system":
        return roots
    from os import stat

    try:
        found = stat(roots)
    except OSError:
        return roots  # whoever reads it says why
    return roots, found.st_ino, found.st_size, found.st_ctime_ns


def server_side(
    endpoint: Endpoint, identity: Identity, clients: bool | str, protocol: str | None = None
) -> _core.ServerTls:
    """TLS's side; with a `protocol` that callers must name, else with those that the address offers."""
    offered = [protocol] if protocol else endpoint.query.get("alpn", "").split(",")
    try:
        return _core.ServerTls(
            identity._pem, clients, protocols(offered), required=protocol is not None, alternative=identity._alternative
        )
    except ValueError as failure:
        raise raisable(ListenError)("listen", endpoint, str(failure), errno.EINVAL) from failure


def secured(endpoint: Endpoint) -> Endpoint:
    """The address of a plain connection as the one under TLS."""
    if endpoint.carrier == "tls" or "tls" in endpoint.modifiers:
        return endpoint
    query = {name: value for name, value in endpoint.query.items() if name != "plaintext"}
    if endpoint.carrier == "mem":
        return endpoint
    if endpoint.carrier == "unix":
        return endpoint.replace(scheme="tls+unix", query=query)
    return endpoint.replace(scheme="tls", query=query)


def server_name(endpoint: Endpoint) -> str:
    name = endpoint.query.get("sni") or endpoint.host or "localhost"
    if endpoint.carrier != "tls" or name == "*":
        return "localhost"
    return name.partition("%")[0] if ip_address(name.partition("%")[0]) else name.rstrip(".")


def protocols(names: Sequence[str]) -> list[bytes]:
    return [name.encode() for name in names if name]


_clients: dict[tuple[object, ...], _core.ClientTls] = {}
CLIENTS_KEPT = 64
