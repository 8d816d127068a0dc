"""Which names are being written just now, and by whom: two never write one file."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from .refusals import Refused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..tree import Opened

__all__ = ["Claims"]


class Claims:
    """The names that are claimed. A request that goes on with its own upload ends its forerunner.

    A client that lost his connection comes again while the old one still looks alive here, and is not told to wait for
    its time limit.
    """

    def __init__(self) -> None:
        self._held: dict[tuple[int, int, bytes], tuple[str, asyncio.Timeout, asyncio.Event]] = {}

    @asynccontextmanager
    async def hold(self, folder: Opened, name: bytes, token: str = "") -> AsyncIterator[None]:
        """Claim it for the block, which ends with TimeoutError when the same upload is gone on with elsewhere.

        Raises Refused if another upload holds it. `token` "": nobody can go on with it.
        """
        key = _key(folder, name)
        while (held := self._held.get(key)) is not None:
            owner, running, over = held
            if not token or owner != token:
                raise Refused(409, BUSY)
            if not running.expired():
                running.reschedule(0.0)
            await over.wait()
        over = asyncio.Event()
        try:
            async with asyncio.timeout(None) as running:
                self._held[key] = token, running, over
                yield
        finally:
            del self._held[key]
            over.set()


def _key(folder: Opened, name: bytes) -> tuple[int, int, bytes]:
    return folder.status.st_dev, folder.status.st_ino, name


BUSY = "somebody is uploading a file of this name just now: choose another name, or try again in a moment"
