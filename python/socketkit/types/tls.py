"""TLS 1.3 over TCP and Unix sockets: who is trusted, which identity is shown, and what that makes of an address.

The handshake and the records are the engine's. One connection's path: the carrier connects (`stream`, `unix`), the
policy decides whom to accept (`trusting.decide`), the engine shakes hands with exactly that policy, and an unknown key
ends it before anything was sent. A listener's callers shake hands before `accept` hears of them.
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
from ..schemes import ip_address
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
) -> _Connection:
    """A connection whose peer has proved to be the one that was meant; UntrustedPeer, and nothing sent, if it has not.

    On first use, where that is allowed, the key that was seen becomes the known one of the place. With `first_use`
    false only where the address or the caller says so: `unknown_key` then tells what to ask a person.
    """
    mine = _client_identity(endpoint, identity)
    decision = decide(endpoint, trust, KnownPeers(), mine.fingerprint if mine else None)
    try:
        return await _connect(kind, endpoint, driver, limits, decision, mine)
    except UntrustedPeer as failure:
        presented = failure.presented
        allowed = decision.first_use and (first_use or decision.told)
        if not allowed or presented is None or presented in decision.revoked:
            raise
    # Said once more with the key that was seen: the first handshake ended before this side's identity was shown.
    KnownPeers().add(decision.place, presented, "first use")
    return await _connect(kind, endpoint, driver, limits, decide(endpoint, trust, KnownPeers()), mine)


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
    endpoint: Endpoint, driver: Driver, limits: Limits, identity: Identity | None
) -> tuple[list[int], Endpoint, Callable[[], None], _core.ServerTls]:
    """Listening descriptors, the endpoint with the key that callers must expect, what frees it again, and TLS's side.

    Beyond this machine only the keys in authorized_peers are let in, unless the address says `public=yes`.
    """
    mine = _listener_identity(endpoint, identity)
    if endpoint.carrier == "unix":
        from . import unix

        tls = _server(endpoint, mine, clients=True)
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
        tls = _server(endpoint, mine, clients)
    except BaseException:
        from os import close

        for fd in fds:
            close(fd)
        raise
    return fds, _as_called(taken, mine), lambda: None, tls


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
        side = _core.ServerTls((identity or Identity.of_user())._pem, True, _protocols(alpn))
        await _shake(stream, side, "localhost")
    else:
        where = _place(stream, name)
        mine = _client_identity(where, identity)
        decision = decide(where, trust, KnownPeers(), mine.fingerprint if mine else None)
        await _shake(stream, _client(decision, mine, _protocols(alpn)), _server_name(where), decision)
    stream._endpoint = _secured(stream._endpoint)


def _place(stream: Connection, name: str | None) -> Endpoint:
    """Where a client is, as known_peers calls it."""
    where = stream._called or stream.peer.endpoint
    if where.carrier in ("unix", "mem") and not where.path:
        # Who has called over a Unix socket has no name: the one that he called is the place.
        where = stream._endpoint
    if where.carrier == "mem":
        return Endpoint.parse(f"tls+unix://@mem-{where.host}")
    if where.host is None:
        return _secured(where)
    return _secured(where).replace(host=name or where.host)


async def _connect(
    kind: type[_Connection],
    endpoint: Endpoint,
    driver: Driver,
    limits: Limits,
    decision: Decision,
    identity: Identity | None,
) -> _Connection:
    if endpoint.carrier == "unix":
        from . import unix as carrier
    else:
        from . import stream as carrier  # type: ignore[no-redef]
    side = _client(decision, identity, _protocols(endpoint.query.get("alpn", "").split(",")))
    stream = await carrier.connect(kind, endpoint, driver, limits)
    await _shake(stream, side, _server_name(endpoint), decision)
    return stream


async def _shake(
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


def _client_identity(endpoint: Endpoint, given: Identity | None) -> Identity | None:
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


def _client(decision: Decision, identity: Identity | None, alpn: list[bytes]) -> _core.ClientTls:
    """TLS's side for this decision. The same one is used again, so that sessions are resumed.

    Who is vouched for by authorities is not shown who calls unless that was asked for: on the open network an identity
    follows its user from server to server.
    """
    shown = identity if identity and (not decision.roots or "key" in decision.endpoint.query) else None
    key = (decision.pins, decision.revoked, _version(decision.roots), decision.anyone, shown, tuple(alpn))
    made = _clients.pop(key, None)
    if made is None:
        try:
            made = _core.ClientTls(
                [_core.fingerprint_bytes(pin) for pin in decision.pins],
                [_core.fingerprint_bytes(pin) for pin in decision.revoked],
                True if decision.roots == "system" else decision.roots,
                decision.anyone,
                shown._pem if shown else None,
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


def _server(endpoint: Endpoint, identity: Identity, clients: bool | str) -> _core.ServerTls:
    try:
        return _core.ServerTls(identity._pem, clients, _protocols(endpoint.query.get("alpn", "").split(",")))
    except ValueError as failure:
        raise raisable(ListenError)("listen", endpoint, str(failure), errno.EINVAL) from failure


def _as_called(endpoint: Endpoint, identity: Identity) -> Endpoint:
    """What a caller writes: with the key to expect, without what concerns this side alone."""
    kept = {name: value for name, value in endpoint.query.items() if name not in ("key", "public")}
    return endpoint.replace(query={**kept, "pin": identity.fingerprint})


def _secured(endpoint: Endpoint) -> Endpoint:
    """The address of a plain connection as the one under TLS."""
    if endpoint.carrier == "tls" or "tls" in endpoint.modifiers:
        return endpoint
    query = {name: value for name, value in endpoint.query.items() if name != "plaintext"}
    if endpoint.carrier == "mem":
        return endpoint
    if endpoint.carrier == "unix":
        return endpoint.replace(scheme="tls+unix", query=query)
    return endpoint.replace(scheme="tls", query=query)


def _server_name(endpoint: Endpoint) -> str:
    name = endpoint.query.get("sni") or endpoint.host or "localhost"
    if endpoint.carrier != "tls" or name == "*":
        return "localhost"
    return name.partition("%")[0] if ip_address(name.partition("%")[0]) else name.rstrip(".")


def _protocols(names: Sequence[str]) -> list[bytes]:
    return [name.encode() for name in names if name]


_clients: dict[tuple[object, ...], _core.ClientTls] = {}
CLIENTS_KEPT = 64
