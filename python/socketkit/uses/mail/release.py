"""`Gate`: a caught mail goes on to a real server only if that is on a list: to prevent it is what a catcher is for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...endpoint import Endpoint
from .addresses import matches
from .sending import send

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...trust import Trust
    from .sending import Delivery, Login
    from .store import Store


class Gate:
    """Where mail may go: `servers` are hosts, or `HOST:PORT`; `recipients` patterns such as `*@example.org`.

    Both are empty unless given: then nothing leaves.
    """

    def __init__(self, servers: Sequence[str] = (), recipients: Sequence[str] = ()) -> None:
        self.servers = tuple(server.casefold() for server in servers)
        self.recipients = tuple(recipients)

    def refusal(self, server: Endpoint, recipients: Sequence[str]) -> str | None:
        """Why it may not, and what to do if it should; None if it may."""
        host = (server.host or "localhost").casefold()
        if not {host, f"{host}:{server.port}"} & set(self.servers):
            return f"{host} is not on the list of servers to which mail may go: allow it by name"
        stopped = [each for each in recipients if not any(matches(each, pattern) for pattern in self.recipients)]
        return f"no mail may go to {', '.join(stopped)}: allow a pattern that fits" if stopped else None

    async def release(
        self,
        store: Store,
        number: int,
        server: str | Endpoint,
        *,
        recipients: Sequence[str] | None = None,
        login: Login | None = None,
        trust: Trust | None = None,
    ) -> list[Delivery]:
        """Send the caught mail on, to its own recipients or to others; it stays in the store.

        Raises PermissionError for a server or a recipient that is not on the list, LookupError for a mail that is gone,
        and what `send` raises.
        """
        where = Endpoint.parse(server)
        mail = await store.get(number)
        raw = await store.raw(number)
        if mail is None or raw is None:
            raise LookupError(f"there is no mail {number}: it may have made room for others")
        people = list(mail.recipients if recipients is None else recipients)
        reason = self.refusal(where, people)
        if reason is not None:
            raise PermissionError(reason)
        return await send(raw, sender=mail.sender, recipients=people, server=where, login=login, trust=trust)


class Outlet:
    """A gate together with the servers to choose from, and who logs in there: what the inbox's button may do.

    `servers`: addresses as `send` takes them, the usual one first. `recipients`: patterns.
    """

    def __init__(
        self,
        servers: Sequence[str | Endpoint],
        recipients: Sequence[str],
        *,
        login: Login | None = None,
        trust: Trust | None = None,
    ) -> None:
        self.servers = tuple(Endpoint.parse(server) for server in servers)
        if not (self.servers and recipients):
            raise ValueError("an outlet needs a server, and a pattern of recipients: else nothing may leave")
        self.gate = Gate([f"{server.host or 'localhost'}:{server.port}" for server in self.servers], recipients)
        self._login = login
        self._trust = trust

    async def release(
        self, store: Store, number: int, *, server: str | None = None, recipients: Sequence[str] | None = None
    ) -> list[Delivery]:
        """As `Gate.release`; to the first of the servers, or to another of them by its address.

        A name and its password go to these addresses and nowhere else: PermissionError for another one.
        """
        known = {str(where): where for where in self.servers}
        where = self.servers[0] if server is None else known.get(server)
        if where is None:
            raise PermissionError(f"{server} is none of {', '.join(known)}: those are where mail may go")
        login, trust = self._login, self._trust
        return await self.gate.release(store, number, where, recipients=recipients, login=login, trust=trust)
