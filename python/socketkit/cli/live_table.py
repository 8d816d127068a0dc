"""A table that is written over on the terminal while it changes."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from rich.text import Text

    Line = tuple[str, str]
    """Text, and its style in rich's words."""


@asynccontextmanager
async def live_table(
    lines: Callable[[], Sequence[Line]], *, shown: bool = True, patience_seconds: float = 0.25
) -> AsyncIterator[None]:
    """Show `lines()` again and again for as long as the block runs, if stdout is a terminal; erased at its end.

    Nothing is shown of a run that is over before `patience_seconds`. What does not fit on the terminal is counted, and
    the last line stays.
    """
    if not (shown and sys.stdout.isatty()):
        yield
        return
    if patience_seconds < IMPORT_SECONDS:
        # Now: while the block runs, importing it would hold up what the block waits for.
        import rich.live  # noqa: F401
    showing = asyncio.create_task(_show(lines, patience_seconds))
    try:
        yield
    finally:
        showing.cancel()
        await asyncio.wait([showing])


async def _show(lines: Callable[[], Sequence[Line]], patience_seconds: float) -> None:
    await asyncio.sleep(patience_seconds)
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            live.update(fitting(lines(), *console.size), refresh=True)
            await asyncio.sleep(UPDATE_SECONDS)


def fitting(lines: Sequence[Line], width: int, height: int) -> Text:
    """As many of the lines as the terminal has, each cut where it ends."""
    from rich.text import Text

    room = max(3, height - 1)
    if len(lines) > room:
        lines = [*lines[: room - 2], (f"and {len(lines) - room + 1:,} more", "dim"), lines[-1]]
    text = Text(no_wrap=True, overflow="ellipsis")
    for number, (line, style) in enumerate(lines):
        text.append("\n" if number else "")
        text.append(line if len(line) <= width else line[: width - 1] + "…", style)
    return text


IMPORT_SECONDS = 0.2
UPDATE_SECONDS = 0.2
