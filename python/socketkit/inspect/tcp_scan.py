"""TCP ports: by half-open probes where that is permitted, else by connecting; and how fast.

The probes are sent by the engine's thread (`_core.Scanner`), which decides on the rounds.
"""

from __future__ import annotations

import asyncio
import os
import resource
from contextlib import suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING, NamedTuple

from .. import _core
from ..errors import SocketError, explain, raisable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from .targets import Target


class Found(NamedTuple):
    """A port that is open; `target` is its place among the targets."""

    target: int
    port: int
    rtt_seconds: float


class TcpScan:
    """Probes `ports` of all targets. `method` is syn, connect, or auto: syn where that is permitted."""

    def __init__(
        self,
        targets: Sequence[Target],
        ports: Sequence[int],
        method: str = "auto",
        rate_per_second: float | None = None,
        seed: int | None = None,
    ) -> None:
        self.method = method
        """As it became: syn or connect."""
        self.why = ""
        """Why it is not half-open, where it is not."""
        self._targets, self._ports = targets, ports
        self._rate, self._seed = rate_per_second, seed
        self._scanner: _core.Scanner | None = None
        self._progress: dict[str, float] = {}

    @property
    def progress(self) -> dict[str, float]:
        """By name: sent, round, planned and over (of the round), pending, per_second, loss."""
        if self._scanner is not None:
            with suppress(ValueError):  # it is closed
                self._progress = self._scanner.progress()
        return self._progress

    async def found(self) -> AsyncGenerator[Found, None]:
        """The ports that are open, as they are found."""
        scanner = self._scanner = self._start()
        readable = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(scanner.fileno(), readable.set)
        try:
            done = False
            while not done:
                await readable.wait()
                readable.clear()
                done = scanner.done
                for place, port, rtt_us in scanner.take_found():
                    yield Found(place, port, rtt_us / 1e6)
        finally:
            loop.remove_reader(scanner.fileno())
        if number := scanner.failure():
            raise raisable(SocketError)("scan", None, _explained(number), number)

    def outcome(self) -> Sequence[tuple[bytes, bool]]:
        """Of each target: the states of its ports, and whether it cannot be reached."""
        return self._scanner.outcome() if self._scanner else [(b"", False)] * len(self._targets)

    def close(self) -> None:
        """Stop at once; what is known stays known."""
        if self._scanner is not None:
            self._progress = self.progress
            self._scanner.close()

    def _start(self) -> _core.Scanner:
        numbers = [(ip_address(target.address), target.scope) for target in self._targets]
        private = all(_is_private(target) for target in self._targets)
        ceiling = self._rate or (MOST_PER_SECOND if private else FOREIGN_PER_SECOND)
        start = min(ceiling, START_PER_SECOND if private else FOREIGN_START_PER_SECOND)
        seed = int.from_bytes(os.urandom(8)) if self._seed is None else self._seed

        def opened(sockets: int | None) -> _core.Scanner:
            return _core.Scanner(
                numbers, self._ports, sockets=sockets, start=start, ceiling=ceiling, seed=seed & (1 << 64) - 1
            )

        try:
            if self.method != "connect":
                scanner = opened(None)
                self.method = "syn"
                return scanner
        except PermissionError as failure:
            from ..types.raw import how_to_be_permitted

            self.why = how_to_be_permitted(ping=False)
            if self.method == "syn":
                raise raisable(SocketError)("scan", None, self.why, failure.errno) from failure
        self.method = "connect"
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return opened(max(1, min(MOST_SOCKETS, soft - KEPT_DESCRIPTORS)))


def _is_private(target: Target) -> bool:
    address = ip_address(target.address)
    return address.is_private or address.is_link_local


def _explained(number: int) -> str:
    import errno

    if number in (errno.EPERM, errno.EACCES):
        return "a firewall of this machine does not let the probes out (`nft list ruleset` shows it)"
    return explain(number)


# As the engine writes them.
SILENT, OPEN, CLOSED, PROHIBITED = range(4)
# A machine of one's own, or one's own network: as fast as it bears. Elsewhere others share the way.
MOST_PER_SECOND = 300_000
START_PER_SECOND = 10_000
FOREIGN_PER_SECOND = 10_000
FOREIGN_START_PER_SECOND = 1_000
MOST_SOCKETS = 1_000
KEPT_DESCRIPTORS = 160
