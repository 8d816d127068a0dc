"""`Datagrams`: a bound socket that hears from anybody and sends to anybody; each datagram has its own peer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, overload

from . import _core
from .connection import Borrowed
from .messages import MessageSocket

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

    from typing_extensions import Buffer

    from .endpoint import Endpoint
    from .limits import Limits

Datagram = _core.Datagram


class DatagramSocket(MessageSocket):
    """What `Datagrams` and its blocking twin share: everything but the waiting."""

    __slots__ = ("_limits", "_told")

    _limits: Limits
    _told: tuple[int, float]

    @property
    def stats(self) -> dict[str, int]:
        """What it did, in numbers.

        `received_messages`, `received_bytes`, `sent_messages`, `sent_bytes`; `dropped`: lost by the kernel because
        nobody received them in time; `withheld`: answers that were not sent because their receiver may not have asked
        (docs/limits.md); `unsent`: lost on this machine, the queue of an interface was full (ENOBUFS); `unreachable`:
        sent, and somebody on the way said that they did not arrive.
        """
        return {name: getattr(self, name) for name in _COUNTERS}

    def join(self, group: str, *, interface: str | None = None, source: str | None = None) -> None:
        """Hear what is sent to `group`, a multicast address, on `interface` (default: where the route to it leads).

        `source`: from that sender only (RFC 4607). Raises SocketError with the remedy. Closing leaves all groups.
        """
        from .types import datagram

        with Borrowed(self.fileno()) as view:
            datagram.join(view, group, interface, source)

    def leave(self, group: str, *, interface: str | None = None, source: str | None = None) -> None:
        """Hear no more of what `join` with the same arguments has asked for."""
        from .types import datagram

        with Borrowed(self.fileno()) as view:
            datagram.leave(view, group, interface, source)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.local}, {'closed' if self.closed else 'open'}>"

    def _withheld(self) -> None:
        """Called by the engine when it has withheld answers; says so in the log, at times."""
        count, at = self._told
        now = time.monotonic()
        if now - at < LOG_SECONDS:
            return
        import logging

        news = self.withheld - count
        self._told = self.withheld, now
        logging.getLogger("socketkit").warning(
            "limits of %s: %d answer%s withheld from who may not have asked; see its `stats`",
            self._endpoint,
            news,
            "" if news == 1 else "s",
        )


class Datagrams(DatagramSocket):
    """A bound datagram socket. Made by `bind`.

    - `await receive(max_bytes=65535)`: the next `Datagram`; one that is longer is cut, and says `truncated`.
    - `await receive_many(max_count=64)`: at least one, as many as are there.
    - `await answer(datagram, data)`: to its peer, from the address that it came to.
    - `async for datagram in datagrams`, `async with datagrams`.
    - `dropped`, `withheld`, `unsent`, `unreachable`, `stats`: what was lost, and why.

    A source that has called first is answered with no more bytes than it sent (`Limits.answer_ratio`), and not at all
    on ports below 1,024 or our own number, until `validate(peer)` says that it receives where it says it is: whoever
    forges a sender's address must gain nothing by it. What is not sent for that is counted in `withheld`.

    UnreachablePeer is raised by `receive` when a peer that was called first cannot be reached; of others it is counted.
    A cancelled receive has taken nothing. Any number of tasks may send; a second one that receives gets BusyConnection.
    """

    __slots__ = ()

    if TYPE_CHECKING:

        def receive(self, max_bytes: int = 65_535) -> _core.Operation[Datagram]: ...
        def receive_many(self, max_count: int = 64) -> _core.Operation[list[Datagram]]: ...
        def __anext__(self) -> _core.Operation[Datagram]: ...

    def send(self, data: Buffer, to: Endpoint | str) -> _core.Operation[None]:  # type: ignore[override]
        """Send one datagram. `to` is an address, not a name; UDP may lose it."""
        return self._send_to(data, to)

    @overload
    def send_many(self, messages: Sequence[Datagram]) -> _core.Operation[None]: ...
    @overload
    def send_many(self, messages: Sequence[Buffer], to: Endpoint | str) -> _core.Operation[None]: ...
    def send_many(self, messages: Sequence[Any], to: Endpoint | str | None = None) -> _core.Operation[None]:
        """Send many in as few system calls as it takes: each datagram to its peer, or all messages to one.

        Datagrams leave from their `local`, so those that were received go back as answers. Runs of equal size to one
        peer travel through the kernel as one (UDP_SEGMENT, man 7 udp).
        """
        return self._send_datagrams(messages) if to is None else self._send_all_to(messages, to)

    async def aclose(self) -> None:  # type: ignore[override]
        """Close, after what waits to be sent is gone or `Limits.close_seconds` are over. Idempotent."""
        self._forget()
        await super().aclose()

    def abort(self) -> None:
        """Close now."""
        self._forget()
        super().abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


_COUNTERS = (
    "received_messages",
    "received_bytes",
    "sent_messages",
    "sent_bytes",
    "dropped",
    "withheld",
    "unsent",
    "unreachable",
)
LOG_SECONDS = 10.0
