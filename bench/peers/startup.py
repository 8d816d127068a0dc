"""What every peer does alike: choose the loop (`--uvloop`), and say on which port it listens."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any

UVLOOP = "--uvloop" in sys.argv[1:]
BACKLOG = 1024  # socketkit's own; asyncio's 100 would overflow and measure SYN retransmits


def announce(port: int | None) -> None:
    print(port, flush=True)


def run(main: Coroutine[Any, Any, None]) -> None:
    if UVLOOP:
        import uvloop

        uvloop.run(main)
    else:
        asyncio.run(main)
