"""`Relay`: the bytes of two streams, each to the other, moved by the engine. A listener's connections: `forwarding`.

A relay ends as its streams do: an end is passed on as a half-close, and it is over when both have ended. A reset is
passed on as a reset, never as an end. Under TLS an end is one that the peer has announced (close_notify); without that
it was cut, and is passed on as a reset too.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from . import _core
from .errors import BrokenConnection, ClosedConnection, SocketError, explain, raisable

if TYPE_CHECKING:
    from collections.abc import Generator

    from .connection import Connection

    Ending = tuple[int, int, str, str | None, int]


class RelayReport(NamedTuple):
    """What a relay has carried: the bytes that the kernel took for each side, in what time, and in how many messages.

    Streams have none: there these two are 0.
    """

    a_to_b_bytes: int
    b_to_a_bytes: int
    seconds: float
    a_to_b_messages: int = 0
    b_to_a_messages: int = 0


class Relay:
    """Relays two streams when awaited, until both have ended; gives a `RelayReport`. Made by `relay`.

    Meanwhile both belong to the engine: every other use of them raises BusyConnection, but for `aclose` and `abort`,
    which end the relay too. What was received before and not taken goes first. Afterwards the streams are their owner's
    again, to be closed.

    Cancelled: both streams stay usable and no byte is lost; what was read from one and not delivered is on its way to
    the other. When one side breaks, or is closed here, the other one is reset, and the relay raises BrokenConnection
    or ClosedConnection.
    """

    def __init__(self, a: Connection, b: Connection) -> None:
        self._sides = {"a": a, "b": b}
        self._engine = _core.Relay(a, b)

    @property
    def a_to_b_bytes(self) -> int:
        """Delivered so far; may be read at any time, from any thread."""
        return self._engine.a_to_b_bytes

    @property
    def b_to_a_bytes(self) -> int:
        """Delivered so far; may be read at any time, from any thread."""
        return self._engine.b_to_a_bytes

    def __await__(self) -> Generator[Any, Any, RelayReport]:
        return self._run().__await__()

    def __repr__(self) -> str:
        a, b = (side.peer.endpoint for side in self._sides.values())
        return f"<{type(self).__name__} {a} and {b}, {self.a_to_b_bytes} B and {self.b_to_a_bytes} B>"

    async def _run(self) -> RelayReport:
        began_at = time.monotonic()
        self._engine.start()
        try:
            ending = await self._engine.ended()
        except GeneratorExit:
            self._engine.halt()
            raise
        except BaseException:
            await self._stop()
            raise
        return self._account(ending, began_at)

    def run(self, seconds: float | None) -> RelayReport:
        """Relay blocking streams in this thread; TimeoutError after `seconds`, with both usable."""
        began_at = time.monotonic()
        self._engine.start()
        try:
            return self._account(self._engine.run(seconds), began_at)
        finally:
            self._engine.halt()

    async def _stop(self) -> None:
        self._engine.stop()
        try:
            await self._engine.ended()
        except BaseException:
            # Cancelled again: it is a matter of microseconds unless the relay thread is very busy.
            self._engine.halt()
            raise

    def _account(self, ending: Ending, began_at: float) -> RelayReport:
        a_to_b, b_to_a, how, which, number = ending
        if how == "done":
            return RelayReport(a_to_b, b_to_a, time.monotonic() - began_at)
        if which is None:
            raise raisable(BrokenConnection)("relay", None, f"the relay was {how}: this is a bug in socketkit")
        where = self._sides[which].peer.endpoint
        if how == "closed":
            reason = f"relay: this side has closed side {which}, {where}; the other one is reset"
            raise raisable(ClosedConnection)(reason)
        kind = BrokenConnection if how == "broken" else SocketError
        reason = self._sides[which]._fault or explain(number)
        raise raisable(kind)("relay", where, f"side {which}: {reason}", number)
