"""A client of socketkit: connects to `address`, sends the line `send`, and says what came of it.

It says `outcome` (`served`, or the name of the exception), `answer`, `kinds` (the exception and its bases), `text`, and
of an `UntrustedPeer` what it `presented` and what was `expected`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from socketkit import connect
from tests.threats.programs.speaking import say, settings

PATIENCE_SECONDS = 8.0


async def called(address: str, line: bytes) -> dict[str, Any]:
    try:
        async with asyncio.timeout(PATIENCE_SECONDS), connect(address) as stream:
            await stream.send(line)
            answer = await stream.receive_until(b"\n")
    except Exception as failure:
        return {
            "outcome": type(failure).__name__,
            "kinds": [kind.__name__ for kind in type(failure).__mro__],
            "text": str(failure),
            "presented": getattr(failure, "presented", None),
            "expected": list(getattr(failure, "expected", ())),
        }
    return {"outcome": "served", "answer": answer.decode()}


if __name__ == "__main__":
    given = settings()
    say(**asyncio.run(called(given["address"], f"{given['send']}\n".encode())))
