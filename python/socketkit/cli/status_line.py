"""A line on the terminal that is written over and over while something runs."""

from __future__ import annotations

import asyncio
import shutil
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


class StatusLine:
    """The last line of stderr; nothing is ever written if that is no terminal."""

    def __init__(self) -> None:
        self.visible = sys.stderr.isatty()
        self._written = False

    def write(self, text: str) -> None:
        if self.visible:
            # A line that wraps could not be written over.
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write(f"{RETURN_AND_ERASE}{text[:width]}")
            sys.stderr.flush()
            self._written = True

    def clear(self) -> None:
        if self._written:
            sys.stderr.write(RETURN_AND_ERASE)
            sys.stderr.flush()
            self._written = False

    def hide(self) -> None:
        """Erase it for good: something else is written to the terminal now."""
        self.clear()
        self.visible = False


@asynccontextmanager
async def kept_up_to_date(line: StatusLine, text: Callable[[], str]) -> AsyncIterator[None]:
    """Write `text()` to the line again and again for as long as the block runs; cleared at its end."""

    async def update() -> None:
        while line.visible:
            await asyncio.sleep(UPDATE_SECONDS)
            line.write(text())

    updating = asyncio.create_task(update())
    try:
        yield
    finally:
        updating.cancel()
        await asyncio.wait([updating])
        line.clear()


UPDATE_SECONDS = 0.25
RETURN_AND_ERASE = "\r\x1b[K"
