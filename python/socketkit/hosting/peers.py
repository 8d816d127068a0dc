"""Who is connected to a service now: since when, how much went each way, what he does; and a way to send him off."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeVar

from ..errors import EndOfStream

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    class Connected(Protocol):
        """What is asked of a connection: a stream's counters, if it has some, and how to end it."""

        @property
        def peer(self) -> Any: ...
        def abort(self) -> None: ...


_C = TypeVar("_C", bound="Connected")


class About(NamedTuple):
    """What a service knows of a peer."""

    doing: str = ""
    """What it does, in some words."""
    warning: str = ""
    """What a person should see of it first."""
    facts: Mapping[str, object] = {}
    """The same and more, for programs: as JSON can say it."""


class Row(NamedTuple):
    """One peer, as it is now. The numbers count up and are not used again."""

    number: int
    address: str
    fingerprint: str | None
    seconds: float
    """For how long it has been there."""
    received_bytes: int
    sent_bytes: int
    doing: str
    warning: str = ""
    facts: Mapping[str, object] = {}


class Happening(NamedTuple):
    """A peer has come or gone."""

    what: Literal["joined", "left", "kicked"]
    row: Row


class Present:
    """A peer for as long as it is there. `doing` is what it does, in some words; services write it.

    A service that knows more, or would have to write it often, gives `about`: it is asked when somebody looks.
    """

    __slots__ = ("_address", "_fingerprint", "_since", "about", "connection", "counted", "doing", "kicked", "number")

    def __init__(self, number: int, connection: Connected, doing: str) -> None:
        peer = connection.peer
        self.number = number
        self.connection = connection
        self.doing = doing
        self.about: Callable[[], About] | None = None
        self.kicked = False
        # In place of the connection's own counters, which count what frames the messages, too.
        self.counted: list[int] | None = None
        self._since = time.monotonic()
        self._address = str(peer.endpoint)
        self._fingerprint = getattr(peer, "fingerprint", None)

    def count(self, received_bytes: int, sent_bytes: int) -> None:
        """For services that know better than the connection what they got and gave: so much more."""
        self.counted = self.counted or [0, 0]
        self.counted[0] += received_bytes
        self.counted[1] += sent_bytes

    def row(self) -> Row:
        received, sent = self.counted or (
            getattr(self.connection, "received_bytes", 0),
            getattr(self.connection, "sent_bytes", 0),
        )
        seconds = time.monotonic() - self._since
        about = About(self.doing) if self.about is None else self.about()
        return Row(self.number, self._address, self._fingerprint, seconds, received, sent, *about)


class Peers:
    """Those of one service. `tell(happening)` is called when one comes or goes."""

    def __init__(self, tell: Callable[[Happening], None] | None = None) -> None:
        self.served = 0
        """How many there were in all."""
        self.received_bytes = 0
        self.sent_bytes = 0
        """What went to and from those that are gone."""
        self.tell = tell
        self._present: dict[int, Present] = {}

    def __len__(self) -> int:
        return len(self._present)

    def rows(self) -> list[Row]:
        """Those that are there now, in the order in which they came."""
        return [present.row() for present in self._present.values()]

    def join(self, connection: Connected, doing: str = "") -> Present:
        """This peer is there from now on; `leave` it is due."""
        self.served += 1
        present = Present(self.served, connection, doing)
        self._present[present.number] = present
        self._say("joined", present)
        return present

    def leave(self, present: Present) -> None:
        """This peer is gone. Idempotent."""
        if self._present.pop(present.number, None) is None:
            return
        row = present.row()
        self.received_bytes += row.received_bytes
        self.sent_bytes += row.sent_bytes
        self._say("kicked" if present.kicked else "left", present)

    def kick(self, number: int) -> bool:
        """Reset the connection of the peer with this number; False if it is not there any more."""
        present = self._present.get(number)
        if present is None:
            return False
        present.kicked = True
        present.connection.abort()
        return True

    def handled(
        self, handler: Callable[[_C, Present], Coroutine[Any, Any, object]], doing: str = ""
    ) -> Callable[[_C], Coroutine[Any, Any, None]]:
        """A handler for `serve` that lists its peer for as long as `handler(connection, present)` runs.

        What was queued at its end is sent before the peer is taken off the list, so that it counts.
        """

        async def listed(connection: _C) -> None:
            present = self.join(connection, doing)
            try:
                await handler(connection, present)
                await connection.aclose()  # type: ignore[attr-defined]
            except (EndOfStream, OSError, RuntimeError):
                if not present.kicked:
                    raise
            finally:
                self.leave(present)

        return listed

    def _say(self, what: Literal["joined", "left", "kicked"], present: Present) -> None:
        if self.tell is not None:
            self.tell(Happening(what, present.row()))
