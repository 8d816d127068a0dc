"""Receiving what has begun in a bounded time: a client that drips is told apart from one that thinks.

The engine guards the first line and idle connections by itself (`Limits`). What it cannot know is where a command or a
mail ends, since these are read in whatever pieces they come; so `slowest_bytes_per_second` is held here for what is not
whole yet.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ...errors import PeerViolation

if TYPE_CHECKING:
    from ...connection import Stream
    from ...identity import Identity
    from ...limits import Limits


class TooSlow(Exception):
    """The client went on more slowly than the limits allow."""


async def first_line(stream: Stream, max_bytes: int) -> bytes:
    """The first line as one, so that the engine holds it to `first_message_seconds`, drip or not.

    Of one that is longer what has come: the state machine says so.
    """
    try:
        return await stream.receive_until(b"\n", max_bytes=max_bytes)
    except PeerViolation:
        return await stream.receive()


async def start_tls(stream: Stream, limits: Limits, identity: Identity) -> None:
    """As the server, within the time for a first message. Raises TooSlow, or what `Stream.start_tls` does."""
    try:
        async with asyncio.timeout(limits.first_message_seconds):
            await stream.start_tls(server_side=True, identity=identity)
    except TimeoutError:
        raise TooSlow from None


class Pace:
    """Of one stream."""

    def __init__(self, stream: Stream, limits: Limits) -> None:
        self._stream = stream
        self._window = limits.slow_window_seconds
        self._least = limits.slowest_bytes_per_second * limits.slow_window_seconds
        self._ends: float | None = None
        self._came = 0

    async def receive(self, *, inside: bool) -> bytes:
        """What comes next; `inside`: something has begun and is not whole. Raises TooSlow, or what the stream does."""
        if not inside:
            self.rest()
            return await self._stream.receive()
        loop = asyncio.get_running_loop()
        if self._ends is None:
            self._open(loop.time())
        while True:
            try:
                async with asyncio.timeout_at(self._ends):
                    data = await self._stream.receive()
            except TimeoutError:
                if self._came < self._least:
                    raise TooSlow from None
                self._open(loop.time())
            else:
                self._came += len(data)
                return data

    def rest(self) -> None:
        """Nothing has begun."""
        self._ends = None

    def _open(self, now: float) -> None:
        self._ends = now + self._window
        self._came = 0
