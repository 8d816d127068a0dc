"""A relay from a port of its own to 127.0.0.1:PORT, the last argument."""

from __future__ import annotations

import sys

from startup import announce, run

import socketkit


async def main(port: int) -> None:
    async with socketkit.listen("tcp://127.0.0.1:0") as listener:
        announce(listener.local.port)
        await socketkit.relay(listener, f"tcp://127.0.0.1:{port}")


run(main(int(sys.argv[-1])))
