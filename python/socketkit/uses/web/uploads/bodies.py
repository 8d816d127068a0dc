"""The body of a request on its way into a part."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ....errors import SocketError
from .refusals import Refused
from .threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ....http.asgi import Receive
    from .digests import Digest
    from .parts import Part, Parts

__all__ = ["Filling", "fill"]


class Filling:
    """Bytes that go into `part` from `at` on: large pieces, each by a thread: a slow disk stalls nobody else.

    `most`: the file may not become larger; Refused with 413 if it would.
    """

    def __init__(self, parts: Parts, part: Part, at: int, most: int, digests: Sequence[Digest]) -> None:
        self.at = at
        self._parts = parts
        self._part = part
        self._most = most
        self._digests = digests
        self._pending = bytearray()

    async def add(self, data: bytes | bytearray) -> None:
        if self.at + len(self._pending) + len(data) > self._most:
            raise Refused(413, f"this is more than the {self._most} bytes that the file may have")
        self._pending += data
        if len(self._pending) >= PIECE_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """All that was added is in the part."""
        if self._pending:
            self._parts.grow(self._part, len(self._pending))
            await in_thread(self._part.write, self._pending, self.at, self._digests)
            self.at += len(self._pending)
            self._pending.clear()

    def keep(self) -> None:
        """Write what is left after a break, at once: whoever goes on sends the less. The digests are void then."""
        if self._pending:
            self._part.write(self._pending, self.at)
            self._pending.clear()


async def fill(receive: Receive, filling: Filling) -> bool:
    """The whole body; False if the client went away first, and what had come of it is kept.

    Cancelled: as if the client had gone.
    """
    try:
        while True:
            event = await receive()
            if event["type"] == "http.disconnect":
                filling.keep()
                return False
            await filling.add(event.get("body", b""))
            if not event.get("more_body", False):
                await filling.flush()
                return True
    except (asyncio.CancelledError, SocketError):
        filling.keep()
        raise


PIECE_BYTES = 1 << 20
