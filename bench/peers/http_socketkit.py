"""HTTP with socketkit: the hello of `http_hello.py`; with `--static` 1 KiB that was prepared; `--tls PEM`, `--h2`."""

from __future__ import annotations

import asyncio
import sys

from http_hello import app
from startup import announce, run, value_of

import socketkit
from socketkit.http import Prepared, serve

PEM = value_of("--tls")


async def main() -> None:
    prepared = None
    if "--static" in sys.argv:
        prepared = Prepared()
        prepared.put("/static", b"x" * 1024, [(b"content-type", b"text/plain")], valid_seconds=3600)
    identity = socketkit.Identity.load(PEM) if PEM else None
    protocol = "h2" if "--h2" in sys.argv else "http/1.1"
    url = f"tls://127.0.0.1:0?alpn={protocol}" if PEM else "tcp://127.0.0.1:0"
    async with serve(url, app, identity=identity, prepared=prepared) as service:
        announce(service.local.port)
        await asyncio.Event().wait()


run(main())
