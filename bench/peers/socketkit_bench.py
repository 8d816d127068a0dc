"""The waiting side of socketkit's bench, on a free port of the scheme that is the first argument."""

from __future__ import annotations

import asyncio
import sys

from socketkit import Endpoint
from socketkit.inspect.measuring.serving import serve_bench


async def main() -> None:
    async with serve_bench(Endpoint.parse(f"{sys.argv[1]}://127.0.0.1:0")) as running:
        local = running.local
        print(local.port, flush=True)
        await asyncio.get_running_loop().create_future()


asyncio.run(main())
