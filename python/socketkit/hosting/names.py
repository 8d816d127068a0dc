"""By which names a service is called, so that nobody else's name leads to it.

Whoever owns a name can have it lead to this machine after his page was loaded from elsewhere (DNS rebinding). To the
browser the two are one site: the page reads what it likes of a service that is open to this machine, or to a network.
So what is asked for by a name of somebody else's is refused. Not under TLS: there no certificate of ours is for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..http.exchange import answer, plain
from .addresses import reach_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..http.asgi import Application, Receive, Scope, Send
    from .places import Place


class Names:
    """`application` for those who call it by a name of its own. Any port will do: `ssh -L` leads here by another one.

    `literal`: by any address of digits, too, which no DNS can lead elsewhere.
    """

    def __init__(self, application: Application, names: Sequence[str], *, literal: bool) -> None:
        self._application = application
        self._names = {name.lower() for name in names}
        self._literal = literal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or self._admits(scope):
            await self._application(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 4403})  # before it is accepted: a 403 (ASGI)
        else:
            await answer(send, plain(403, REFUSAL))

    def _admits(self, scope: Scope) -> bool:
        # Of two of them one would be read by us, and the other one by somebody before us.
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        name = _name(hosts[0].decode("latin-1")) if len(hosts) == 1 else None
        return name is not None and (name in self._names or (self._literal and _is_literal(name)))


def named(application: Application, place: Place) -> Application:
    """The application as it is called at a place; itself where names are of no matter."""
    endpoint = place.endpoint
    if endpoint.carrier not in ("tcp", "tcp4", "tcp6"):
        return application
    own = [*LOOPBACK, _written(place.host), *place.names]
    if endpoint.host is None or endpoint.host == "localhost" or _is_loopback(endpoint.host):
        return Names(application, own, literal=False)
    from .authority import local_names

    return Names(application, [*own, *local_names([])], literal=True)


def _name(host: str) -> str | None:
    """What stands before the port; None if that is no port."""
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        return host.lower()
    return name.lower() if port.isascii() and port.isdigit() else None


def _written(host: str) -> str:
    """An address as it stands in an URL."""
    return f"[{host}]" if ":" in host else host


def _is_literal(name: str) -> bool:
    from ipaddress import ip_address

    try:
        ip_address(name[1:-1].partition("%")[0] if name[:1] + name[-1:] == "[]" else name)
    except ValueError:
        return False
    return ":" not in name or name[:1] == "["


def _is_loopback(host: str) -> bool:
    try:
        return reach_of(host) == "this machine"
    except ValueError:  # a name
        return False


LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
REFUSAL = "This service is called by its address, or by localhost. Another name is let in by --name NAME at its start."
