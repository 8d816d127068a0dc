"""`Together`: a service that has several listeners, opened as one and ended as one.

    async with Together({"smtp": Door(smtp, mail), "inbox": Door(place.endpoint, pages)}) as service:
        print(service.addresses)

All of them are open, or none is. At the end all stop listening at once and have their grace at the same time, so that
it takes as long as the most patient of them, and nobody is let in at one door while another is shut.
"""

from __future__ import annotations

import asyncio
from errno import EADDRINUSE
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import ListenError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType
    from typing import Self

    from ..endpoint import Endpoint
    from .hosted import Running


class Door(NamedTuple):
    """One listener: where, and what opens it there."""

    endpoint: Endpoint
    open: Callable[[Endpoint], AbstractAsyncContextManager[Running]]
    usual: bool = False
    """Nobody has asked for this very port: where it is taken, a free one will do."""


class Together:
    """`async with` opens the doors in their order, once. `services` are what was opened, by name; they stay at the end.

    `local` is that of the door called `main`, or of the first.
    """

    def __init__(self, doors: Mapping[str, Door], main: str | None = None) -> None:
        self.services: dict[str, Running] = {}
        self._doors = dict(doors)
        self._main = main
        self._opened: dict[str, AbstractAsyncContextManager[Running]] = {}

    @property
    def local(self) -> Endpoint:
        """Where the main one listens."""
        return self.services[self.main].local

    @property
    def main(self) -> str:
        """The name of the main one."""
        return self._main or next(iter(self._doors))

    @property
    def stats(self) -> dict[str, Any]:
        """The counters of each, by its name."""
        return {name: service.stats for name, service in self.services.items()}

    @property
    def addresses(self) -> dict[str, Endpoint]:
        """Where each of them listens, by its name."""
        return {name: service.local for name, service in self.services.items()}

    async def aclose(self) -> None:
        """End as at the end of the block. Idempotent."""
        await self.__aexit__(None, None, None)

    async def __aenter__(self) -> Self:
        """Raises what the services raise; those that were open by then are closed."""
        try:
            for name, door in self._doors.items():
                await self._open(name, door)
        except BaseException as failure:
            await self.__aexit__(type(failure), failure, failure.__traceback__)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, traceback: TracebackType | None
    ) -> None:
        opened, self._opened = self._opened, {}
        ending = [asyncio.ensure_future(each.__aexit__(kind, exception, traceback)) for each in opened.values()]
        try:
            if ending:
                await asyncio.wait(ending)
        except asyncio.CancelledError:
            for task in ending:  # as for one alone: a second cancellation skips the grace
                task.cancel()
            await asyncio.wait(ending)
            raise
        for task in ending:
            task.result()

    async def _open(self, name: str, door: Door) -> None:
        service = door.open(door.endpoint)
        try:
            self.services[name] = await service.__aenter__()
        except ListenError as failure:
            if failure.errno != EADDRINUSE or not (door.usual and door.endpoint.port):
                raise
            service = door.open(door.endpoint.replace(port=0))
            self.services[name] = await service.__aenter__()
        self._opened[name] = service


def total(counted: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The counters of several services as those of one, and so what they count by source."""
    sums: dict[str, Any] = {}
    for counters in counted:
        for name, count in counters.items():
            if isinstance(count, dict):
                sums[name] = total((sums.get(name, {}), count))
            else:
                sums[name] = sums.get(name, 0) + count
    return sums
