"""`Catcher`: SMTP in plain text with STARTTLS, SMTP under TLS, IMAP and POP3 over one store.

    async with Store() as store, Catcher(store) as catcher:
        print(catcher.smtp)  # tcp://localhost:41025

Everything is on loopback unless an address says otherwise, and no mail ever leaves: `release` does that, when told.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from ...endpoint import Endpoint
from ...hosting.together import Door, Together
from ...identity import Identity
from ...limits import Limits
from ...verbs import serve
from .access_service import AccessService
from .failures import Failures
from .seen import Client
from .smtp_events import BOUNDS, Bounds
from .smtp_service import SmtpService

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Mapping
    from types import TracebackType
    from typing import Any, Self

    from ...connection import Stream
    from ...hosting import Peers, Present
    from ...serving import Server
    from .store import Store

    Handler = Callable[[Stream], Coroutine[Any, Any, None]]
    Conversing = Callable[[Stream, Client], Coroutine[Any, Any, None]]


class Catcher(Together):
    """Serves for the block of `async with`, once. An address of None is not served.

    `smtp`, `smtps`, `imap`, `pop3`: where it listens. `clients`: who came last and what he did, the newest at the end.
    `told` hears of each client when it has gone, `peers` lists those who are there. Those in `usual` take a free port
    where theirs is taken. `also` are further doors, which open and end with it; `main` is the one to hand out.

    At the end nobody is waited for who has nothing under way; a mail that has begun has `Limits.grace_seconds`.
    """

    def __init__(
        self,
        store: Store,
        *,
        smtp: str | Endpoint | None = "tcp://localhost:0",
        smtps: str | Endpoint | None = "tls://localhost:0",
        imap: str | Endpoint | None = "tcp://localhost:0",
        pop3: str | Endpoint | None = "tcp://localhost:0",
        failures: Failures | None = None,
        bounds: Bounds = BOUNDS,
        limits: Limits | None = None,
        identity: Identity | None = None,
        host: str = "localhost",
        told: Callable[[Client], None] = lambda client: None,
        peers: Peers | None = None,
        usual: Collection[str] = (),
        also: Mapping[str, Door] | None = None,
        main: str | None = None,
    ) -> None:
        self.store = store
        self.identity = identity or Identity.of_user()
        self.clients: deque[Client] = deque(maxlen=CLIENTS_KEPT)
        self._told = told
        self._peers = peers
        # A mail that the store has no room for at all would push out all others, and then itself.
        bounds = bounds._replace(message_bytes=min(bounds.message_bytes, store.keep.most_bytes))
        limits = limits or LIMITS.replace(message_bytes=bounds.message_bytes)
        patient = limits.replace(idle_seconds=max(1_800.0, limits.idle_seconds))
        self._mail = SmtpService(
            store,
            host=host,
            bounds=bounds,
            limits=limits,
            failures=failures or Failures(),
            identity=self.identity,
        )
        self._access = AccessService(store, limits=patient, identity=self.identity)
        asked: dict[str, tuple[str | Endpoint | None, str, Conversing, Limits]] = {
            "smtp": (smtp, "smtp", self._mail.serve, limits),
            "smtps": (smtps, "smtp", self._mail.serve, limits),
            "imap": (imap, "imap", self._access.serve_imap, patient),
            "pop3": (pop3, "pop3", self._access.serve_pop3, patient),
        }
        doors = {}
        for name, (where, protocol, converse, bounding) in asked.items():
            if where is not None:
                opening = partial(self._service, self._handler(protocol, converse), bounding)
                doors[name] = Door(Endpoint.parse(where), opening, name in usual)
        super().__init__({**doors, **(also or {})}, main)

    @property
    def smtp(self) -> Endpoint | None:
        return self.addresses.get("smtp")

    @property
    def smtps(self) -> Endpoint | None:
        return self.addresses.get("smtps")

    @property
    def imap(self) -> Endpoint | None:
        return self.addresses.get("imap")

    @property
    def pop3(self) -> Endpoint | None:
        return self.addresses.get("pop3")

    async def open(self) -> Self:
        """Listen; who calls this calls `aclose`. Raises ListenError as the block does."""
        return await self.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self._mail.resting.end()
            self._access.resting.end()
        await super().__aexit__(kind, exception, traceback)

    def _service(self, handler: Handler, limits: Limits, where: Endpoint) -> Server:
        # Plain text has no identity before STARTTLS, which is given it then.
        identity = self.identity if where.carrier == "tls" or "tls" in where.modifiers else None
        return serve(where, handler, limits=limits, identity=identity)

    def _handler(self, protocol: str, converse: Conversing) -> Handler:
        async def conversed(stream: Stream, present: Present | None = None) -> None:
            client = Client(str(stream.peer.endpoint), protocol)
            if present is not None:
                present.about = client.about
            try:
                await converse(stream, client)
            finally:
                self.clients.append(client)
                self._told(client)

        return conversed if self._peers is None else self._peers.handled(conversed, protocol)


CLIENTS_KEPT = 1_000
LIMITS = Limits(idle_seconds=300.0)  # between two commands, as RFC 5321 §4.5.3.2 asks
