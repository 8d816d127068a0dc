"""How the programs speak with the test that started them: JSON lines out, words in."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from typing import Any


def settings() -> Any:
    return json.loads(sys.argv[1])


def say(**values: Any) -> None:
    os.write(1, json.dumps(values).encode() + b"\n")


async def words() -> AsyncIterator[str]:
    """The lines of standard input, until it ends: with it ends the program."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield line.decode().strip()
