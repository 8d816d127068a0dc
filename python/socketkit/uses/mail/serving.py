"""`Catcher`: what a person starts: SMTP in plain text with STARTTLS, SMTP under TLS, IMAP and POP3 over one store.

    async with Store() as store, Catcher(store) as catcher:
        print(catcher.smtp)  # tcp://localhost:41025

Everything is on loopback unless an address says otherwise, and no mail ever leaves: `release` does that, when told.
"""

from __future__ import annotations

from collections import deque
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from ...endpoint import Endpoint
from ...identity import Identity
from ...limits import Limits
from ...verbs import serve
from .access_service import AccessService
from .failures import Failures
from .smtp_events import BOUNDS, Bounds
from .smtp_service import SmtpService

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import TracebackType
    from typing import Any, Self

    from ...connection import Stream
    from .seen import Client
    from .store import Store


class Catcher:
    """Serves for the block of `async with`. An address of None is not served.

    `smtp`, `smtps`, `imap`, `pop3`: where it listens. `clients`: who came last and what he did, the newest at the end.
    `told` hears of each client when it has gone. `stats`: what the limits did, by service.
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
    ) -> None:
        self.store = store
        self.identity = identity or Identity.of_user()
        self.clients: deque[Client] = deque(maxlen=CLIENTS_KEPT)
        self._asked = {"smtp": smtp, "smtps": smtps, "imap": imap, "pop3": pop3}
        self._limits = limits or LIMITS.replace(message_bytes=bounds.message_bytes)
        self._told = told
        self._stack = AsyncExitStack()
        self._servers: dict[str, Any] = {}
        mail = SmtpService(
            store,
            host=host,
            bounds=bounds,
            limits=self._limits,
            failures=failures or Failures(),
            identity=self.identity,
            told=self._gone,
        )
        patient = self._limits.replace(idle_seconds=max(1_800.0, self._limits.idle_seconds))
        self._limits_of = {"imap": patient, "pop3": patient}
        access = AccessService(store, limits=patient, identity=self.identity, told=self._gone)
        self._handlers: dict[str, Callable[[Stream], Coroutine[Any, Any, None]]] = {
            "smtp": mail.serve,
            "smtps": mail.serve,
            "imap": access.serve_imap,
            "pop3": access.serve_pop3,
        }

    @property
    def smtp(self) -> Endpoint | None:
        return self._local("smtp")

    @property
    def smtps(self) -> Endpoint | None:
        return self._local("smtps")

    @property
    def imap(self) -> Endpoint | None:
        return self._local("imap")

    @property
    def pop3(self) -> Endpoint | None:
        return self._local("pop3")

    @property
    def stats(self) -> dict[str, dict[str, Any]]:
        return {name: server.stats for name, server in self._servers.items()}

    @property
    def addresses(self) -> dict[str, Endpoint]:
        """Where everything listens, by the name of the service."""
        return {name: server.local for name, server in self._servers.items()}

    async def open(self) -> Self:
        """Listen; who calls this enters the block as well, or calls `aclose`."""
        return await self.__aenter__()

    async def aclose(self) -> None:
        """End as at the end of the block. Idempotent."""
        await self._stack.aclose()

    async def __aenter__(self) -> Self:
        """Raises ListenError when an address cannot be taken, or would be open to others."""
        if self._servers:
            return self
        async with AsyncExitStack() as stack:
            stack.callback(self._servers.clear)
            for name, address in self._asked.items():
                if address is not None:
                    where = Endpoint.parse(address)
                    # Plain text has no identity before STARTTLS, which is given it then.
                    identity = self.identity if where.carrier == "tls" or "tls" in where.modifiers else None
                    server = serve(
                        where, self._handlers[name], limits=self._limits_of.get(name, self._limits), identity=identity
                    )
                    self._servers[name] = await stack.enter_async_context(server)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, exception, traceback)

    def _local(self, name: str) -> Endpoint | None:
        server = self._servers.get(name)
        return server.local if server is not None else None

    def _gone(self, client: Client) -> None:
        self.clients.append(client)
        self._told(client)


CLIENTS_KEPT = 1_000
# Five minutes between two commands, as RFC 5321 §4.5.3.2 asks; who is idle at the end is not waited for.
LIMITS = Limits(idle_seconds=300.0, grace_seconds=1.0)
