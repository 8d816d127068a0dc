"""Two connected streams in one process."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from ..limits import Limits
from ..verbs import connect, listen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..connection import Stream
    from ..endpoint import Endpoint
    from ..listener import Listener


@asynccontextmanager
async def stream_pair(
    url: str | Endpoint = "mem://", *, limits: Limits = Limits()
) -> AsyncIterator[tuple[Stream, Stream]]:
    """Listen on `url`, connect to it, and give both ends: (the one that connected, the one that was accepted).

    At the end both are aborted: what is still queued is dropped, and nothing waits.
    """
    async with listen(url, limits=limits) as listener:
        # Both at once: under TLS neither is done without the other.
        accepting = asyncio.create_task(_accept(listener))
        ours = None
        try:
            ours = await connect(listener.local, limits=limits)
            theirs = await accepting
        except BaseException:
            accepting.cancel()
            if ours is not None:
                ours.abort()
            raise
    try:
        yield ours, theirs
    finally:
        ours.abort()
        theirs.abort()


async def _accept(listener: Listener[Stream]) -> Stream:
    return await listener.accept()
