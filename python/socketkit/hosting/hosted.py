"""`host`: a service for as long as a block runs, with all that a person wants of it who started it by one command.

    async with host(lambda hosted: serve(place.endpoint, handler), place) as hosted:
        print(hosted.link.url)
        await hosted.wait()

The service is any `async with` that gives something with `local` and `stats`: what `serve` and `socketkit.http.serve`
make, and `Together`, which has several listeners.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

from .peers import Peers
from .together import Together, total

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from ..endpoint import Endpoint
    from .link import Link
    from .peers import Happening
    from .places import Place

    class Running(Protocol):
        """A service that is open."""

        @property
        def local(self) -> Endpoint: ...
        @property
        def stats(self) -> dict[str, Any]: ...


class Hosted:
    """A service that is open. `peers` are those that it has listed there."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.peers = Peers()
        self.reason = ""
        """Why it has ended, or is about to."""
        self._running: Running | None = None
        self._stopped = asyncio.Event()
        self._link: Link | None = None

    @property
    def opened(self) -> bool:
        """Whether it has listened at all: only then it has an address."""
        return self._running is not None

    @property
    def local(self) -> Endpoint:
        """Where it listens."""
        return self._service().local

    @property
    def link(self) -> Link:
        """What to hand out."""
        if self._link is None:
            self._link = self.place.link(self.local)
        return self._link

    @property
    def addresses(self) -> dict[str, str]:
        """What to call each of its listeners by; one that is alone has no name. The main one is called by the link."""
        service = self._service()
        if not isinstance(service, Together):
            return {"": self.link.url}
        main = service.main
        return {name: self.link.url if name == main else str(at) for name, at in service.addresses.items()}

    @property
    def stats(self) -> dict[str, Any]:
        """The service's counters; of one that has several listeners, their sums."""
        service = self._service()
        return total(service.stats.values()) if isinstance(service, Together) else service.stats

    def stop(self, reason: str) -> None:
        """End it: `wait` returns. The first reason stays."""
        self.reason = self.reason or reason
        self._stopped.set()

    async def wait(self) -> str:
        """Wait until it is to end; gives the reason."""
        await self._stopped.wait()
        return self.reason

    def _service(self) -> Running:
        if self._running is None:
            raise RuntimeError("the service has not started")
        return self._running


@asynccontextmanager
async def host(
    open_service: Callable[[Hosted], AbstractAsyncContextManager[Running]],
    place: Place,
    *,
    seconds: float | None = None,
    once: bool = False,
    tell: Callable[[Happening], None] | None = None,
) -> AsyncIterator[Hosted]:
    """Open a service, and close it at the end of the block with grace for those who are there.

    `seconds`: for how long, at most. `once`: until the first peer that came has gone. `tell`: who comes and goes.
    Raises what the service raises when it opens.
    """
    hosted = Hosted(place)

    def told(happening: Happening) -> None:
        if tell is not None:
            tell(happening)
        if once and happening.what != "joined":
            hosted.stop("the one whom it was for is gone")

    hosted.peers.tell = told
    async with open_service(hosted) as running:
        hosted._running = running
        timer = None
        if seconds is not None:
            timer = asyncio.get_running_loop().call_later(seconds, hosted.stop, "its time is over")
        try:
            yield hosted
        finally:
            if timer is not None:
                timer.cancel()
