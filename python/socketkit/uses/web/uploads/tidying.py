"""Old parts go while a service runs: when it starts, and then again and again, whether anybody uploads or not."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .parts import Parts

__all__ = ["tidied"]


@asynccontextmanager
async def tidied(parts: Parts) -> AsyncIterator[None]:
    """For as long as the block runs. The whole folder is looked through each time, so at most once a quarter hour."""
    tidying = asyncio.create_task(_tidy(parts))
    try:
        yield
    finally:
        tidying.cancel()
        await asyncio.wait([tidying])


async def _tidy(parts: Parts) -> None:
    pause = min(max(parts.keep_seconds / LOOKS_WHILE_KEPT, LEAST_PAUSE_SECONDS), MOST_PAUSE_SECONDS)
    while True:
        with suppress(OSError):  # the folder may be away for a while: a disk that was taken out
            await parts.tidy()
        await asyncio.sleep(pause)


LOOKS_WHILE_KEPT = 4
LEAST_PAUSE_SECONDS = 900.0
MOST_PAUSE_SECONDS = 3_600.0
