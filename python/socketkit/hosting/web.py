"""A web service, hosted: an ASGI application behind the gate, its connections in the list, and what each does.

async with host(web(application), place(Wanted(lan=True))) as hosted: ...
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from ..http.service import serve
from .gate import Gate
from .names import named

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..connection import Stream
    from ..endpoint import Endpoint
    from ..http.access import Access
    from ..http.asgi import Application, Receive, Scope, Send
    from ..http.prepared import Prepared
    from ..http.service import Handler, Service
    from ..limits import Limits
    from .hosted import Hosted
    from .peers import Present


def web(
    application: Application,
    *,
    limits: Limits | None = None,
    body_bytes: int = 16_777_216,
    prepared: Prepared | None = None,
    access: Callable[[Access], None] | None = None,
    before: Callable[[Application], Application] | None = None,
    name: str = "",
    relative: bool = False,
) -> Callable[..., Service]:
    """What `host` opens for an application: only who has the link gets to it, and only by a name of its own.

    `access` is told of each answer, without the token. The certificate of an authority, if one vouches for the service,
    is given to everybody at `AUTHORITY_PATH`, so that a telephone can be told to trust it. `prepared` is for places
    without a token (ValueError): the engine gives what it has before anybody could be asked for one. `before` stands in
    front of the gate, which it is given: what it answers itself needs no link. `relative`: all links of the application
    are, and then its cookie is sent to no other service of this host (see `Gate`). `name` stands before what the peers
    do, where there are other services beside this. What is given takes the `Hosted`, and an address instead of its own.
    """

    def opened(hosted: Hosted, endpoint: Endpoint | None = None) -> Service:
        place = hosted.place
        if prepared is not None and place.token is not None:
            raise ValueError("prepared= answers before the link's token is asked for: leave it out, or be public")
        listed = _Listed(application, hosted, name, relative=relative)
        return serve(
            endpoint or place.endpoint,
            listed if before is None else before(listed),
            limits=limits,
            identity=place.identity,
            body_bytes=body_bytes,
            prepared=prepared,
            access=access,
            around=listed.around,
        )

    return opened


class _Listed:
    """The application behind its gate, whose connections are among the peers of `hosted`."""

    def __init__(self, application: Application, hosted: Hosted, name: str, *, relative: bool) -> None:
        self._application = application
        self._hosted = hosted
        self._name = name
        self._relative = relative
        self._guarded: Application | None = None

    def around(self, handle: Handler) -> Handler:
        """What serves a connection, and lists it meanwhile."""

        async def conversed(stream: Stream, present: Present) -> None:
            # Requests run in this task, or in tasks that it makes: both see its context.
            _present.set(present)
            await handle(stream)

        return self._hosted.peers.handled(conversed, self._name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._application(scope, receive, send)
            return
        if self._guarded is None:  # its link is known since it listens
            self._guarded = named(self._gate(), self._hosted.place)
        inner = dict(scope)
        # The server's own scope is what its log and `access` read.
        scope["raw_path"] = self._hosted.link.hidden(scope["raw_path"].decode("latin-1")).encode()
        await self._guarded(inner, receive, send)

    def _gate(self) -> Gate:
        place, local = self._hosted.place, self._hosted.local
        files = {}
        if place.shown is not None and place.shown.authority is not None:
            files[AUTHORITY_PATH] = ("application/x-x509-ca-cert", place.shown.authority.certificate.encode())
        secure = local.carrier == "tls" or "tls" in local.modifiers
        return Gate(
            self._noted, self._hosted.link, secure=secure, port=local.port or 0, files=files, relative=self._relative
        )

    async def _noted(self, scope: Scope, receive: Receive, send: Send) -> None:
        present = _present.get()
        doing = f"{self._name} {scope.get('method', 'WebSocket')} {scope['path']}".lstrip()
        if present is not None:
            present.doing = doing
        try:
            await self._application(scope, receive, send)
        finally:
            if present is not None and present.doing == doing:
                present.doing = self._name


_present: ContextVar[Present | None] = ContextVar("present", default=None)
AUTHORITY_PATH = "/socketkit-authority.crt"
