"""Two connected streams in one process."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from ..limits import Limits
from ..verbs import connect, listen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..connection import Stream
    from ..endpoint import Endpoint


@asynccontextmanager
async def stream_pair(
    url: str | Endpoint = "mem://", *, limits: Limits = Limits()
) -> AsyncIterator[tuple[Stream, Stream]]:
    """Listen on `url`, connect to it, and give both ends: (the one that connected, the one that was accepted).

    At the end both are aborted: what is still queued is dropped, and nothing waits.
    """
    async with listen(url, limits=limits) as listener:
        ours = await connect(listener.local, limits=limits)
        try:
            theirs = await listener.accept()
        except BaseException:
            ours.abort()
            raise
    try:
        yield ours, theirs
    finally:
        ours.abort()
        theirs.abort()
