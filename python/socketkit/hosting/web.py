"""A web service, hosted: an ASGI application behind the gate, its connections in the list, and what each does.

place_ = place(Wanted(lan=True))
async with host(web(application), place_) as hosted: ...
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from ..http.service import HTTP_LIMITS, Service, offering
from .gate import Gate

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..connection import Stream
    from ..http.access import Access
    from ..http.prepared import Prepared
    from ..limits import Limits
    from .gate import Application, Receive, Scope, Send
    from .hosted import Hosted
    from .peers import Present


def web(
    application: Application,
    *,
    limits: Limits | None = None,
    body_bytes: int = 16_777_216,
    prepared: Prepared | None = None,
    access: Callable[[Access], None] | None = None,
) -> Callable[[Hosted], Service]:
    """What `host` opens for an application: only who has the link gets to it.

    `access` is told of each answer, without the token. The certificate of an authority, if one vouches for the service,
    is given to everybody at `AUTHORITY_PATH`, so that a telephone can be told to trust it. What is `prepared` is
    answered before the gate: to everybody.
    """

    def opened(hosted: Hosted) -> Service:
        return _Hosted(hosted, application, limits or HTTP_LIMITS, body_bytes, prepared, access)

    return opened


class _Hosted(Service):
    """The service, whose connections are among the peers of `hosted`."""

    def __init__(
        self,
        hosted: Hosted,
        application: Application,
        limits: Limits,
        body_bytes: int,
        prepared: Prepared | None,
        access: Callable[[Access], None] | None,
    ) -> None:
        self._hosted = hosted
        self._guarded: Gate | None = None
        self._application = application
        place = hosted.place
        where, identity = offering(place.endpoint), place.identity
        super().__init__(where, self._entered, limits, identity, body_bytes, prepared, access)
        self._listed = hosted.peers.handled(self._conversed)

    async def _handle(self, stream: Stream) -> None:
        await self._listed(stream)

    async def _conversed(self, stream: Stream, present: Present) -> None:
        # Requests run in this task, or in tasks that it makes: both see its context.
        _present.set(present)
        await super()._handle(stream)

    async def _entered(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._application(scope, receive, send)
            return
        if self._guarded is None:  # its link is known since it listens
            self._guarded = self._gate()
        inner = dict(scope)
        # The server's own scope is what its log and `access` read.
        scope["raw_path"] = self._hosted.link.hidden(scope["raw_path"].decode("latin-1")).encode()
        await self._guarded(inner, receive, send)

    def _gate(self) -> Gate:
        place, link = self._hosted.place, self._hosted.link
        files = {}
        if place.shown is not None and place.shown.authority is not None:
            files[AUTHORITY_PATH] = ("application/x-x509-ca-cert", place.shown.authority.certificate.encode())
        return Gate(self._noted, link, secure=self.encrypted, port=self.local.port or 0, files=files)

    async def _noted(self, scope: Scope, receive: Receive, send: Send) -> None:
        present = _present.get()
        doing = f"{scope.get('method', 'WebSocket')} {scope['path']}"
        if present is not None:
            present.doing = doing
        try:
            await self._application(scope, receive, send)
        finally:
            if present is not None and present.doing == doing:
                present.doing = ""


_present: ContextVar[Present | None] = ContextVar("present", default=None)
AUTHORITY_PATH = "/socketkit-authority.crt"
