"""`Prober`: the latency that another program meets meanwhile ("latency under load"), by small messages of its own.

They go over a connection of their own, at a low steady rate, whether or not those before have been answered: who waits
for an answer first asks least often when it is worst, and finds everything well.
"""

from __future__ import annotations

import asyncio
import struct
import time
from typing import TYPE_CHECKING, Any

from ...connection import Stream
from .histogram import Histogram
from .protocol import HEADER, MEASURED, PROBE, PROBE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator


class Prober:
    """Sends probes on a connection, and times what comes back. `recent` and `all` are the caller's to swap."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._session = 0
        self.all = Histogram()
        """Round trips since the last `begin`."""
        self._recent = Histogram()
        self.sent = 0

    def begin(self, session: int) -> None:
        self._session = session
        self.all, self._recent, self.sent = Histogram(), Histogram(), 0

    def recent(self) -> Histogram:
        """Round trips since this was asked for the last time."""
        recent, self._recent = self._recent, Histogram()
        return recent

    async def send(self, count: int | None = None) -> None:
        """Send so many probes, or until cancelled."""
        next_at = time.monotonic()
        number = 0
        while count is None or number < count:
            probe = HEADER.pack(PROBE, MEASURED, 0, self._session, number, time.perf_counter_ns())
            await self._connection.send(probe.ljust(PROBE_BYTES, b"\0"))
            self.sent += 1
            number += 1
            next_at = max(next_at + PROBE_SECONDS, time.monotonic() - PROBE_SECONDS)
            await asyncio.sleep(max(0.0, next_at - time.monotonic()))

    async def receive(self) -> None:
        """Count what comes back, until cancelled."""
        while True:
            if isinstance(self._connection, Stream):
                messages = [await self._connection.receive_exactly(PROBE_BYTES)]
            else:
                messages = await self._connection.receive_many()
            now_ns = time.perf_counter_ns()
            for sent_ns in _times(messages):
                self.all.add(now_ns - sent_ns)
                self._recent.add(now_ns - sent_ns)


def _times(messages: list[bytes]) -> Iterator[int]:
    for message in messages:
        try:
            kind, _, _, _, _, sent_ns = HEADER.unpack_from(message)
        except struct.error:
            continue
        if kind == PROBE:
            yield sent_ns


PROBE_SECONDS = 0.01
IDLE_PROBES = 20
