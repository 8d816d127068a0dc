"""Servers under attack: listeners of socketkit in one process, which tells where they listen and what they count.

Settings: `listeners`, each with `address`, `serve` (a name below) and perhaps `limits`; `identity` (a file of PEM, or
"" for a new one) and `certificates` (another file); `descriptors`, how many it may have. It answers each word with the
listeners' `stats`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import resource
from collections.abc import Awaitable, Callable
from typing import Any

from socketkit import EndOfStream, Limits, Stream, serve
from tests.threats.programs.speaking import say, settings, words

Handler = Callable[[Stream], Awaitable[None]]


async def echo(stream: Stream) -> None:
    """Answers each line with itself, and the line `more` with more than anybody wants."""
    while True:
        line = await stream.receive_until(b"\n", max_bytes=4096)
        await stream.send(line)
        while line == b"more\n":
            await stream.send(bytes(16_384))


async def frames(stream: Stream) -> None:
    """Answers each message, which is preceded by its length in four bytes."""
    while True:
        length = await stream.receive_exactly(4)
        await stream.send(length + await stream.receive_exactly(int.from_bytes(length, "big")))


async def web(stream: Stream) -> None:
    """As much of HTTP as slowhttptest needs: a head, perhaps a body, an answer."""
    while True:
        head = (await stream.receive_until(b"\r\n\r\n", max_bytes=32_768)).lower()
        if b"content-length:" in head:
            await stream.receive_exactly(int(head.partition(b"content-length:")[2].split(b"\r\n")[0]))
        pieces = [bytes(16_384)] * 500 if head.startswith(b"get /big") else [b"served"]
        await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % sum(map(len, pieces)))
        for piece in pieces:
            await stream.send(piece)


async def forgetting_the_end(handler: Handler, stream: Stream) -> None:
    with contextlib.suppress(EndOfStream):
        await handler(stream)


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Behind a whole body, the same bytes for everybody."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"date", b"now")]})
    await send({"type": "http.response.body", "body": b"served"})


HANDLERS: dict[str, Handler] = {"echo": echo, "frames": frames, "web": web}


async def naive(port: int) -> asyncio.Server:
    """The echo that everybody writes, without any limit: what the attacks must be able to bring down."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                writer.write(line)
        writer.close()

    return await asyncio.start_server(handle, "0.0.0.0", port)


async def opened(stack: contextlib.AsyncExitStack, listener: dict[str, Any], options: dict[str, Any]) -> Any:
    if listener["serve"] == "naive":
        return await stack.enter_async_context(await naive(listener["port"]))
    # JSON has no tuples.
    bounds: dict[str, Any] = {
        name: tuple(bound) if isinstance(bound, list) else bound for name, bound in listener.get("limits", {}).items()
    }
    kept = options if listener["address"].startswith("tls") else {}
    if listener["serve"] == "http":
        from socketkit import http  # a server without it does without its memory, too

        limits = Limits(**bounds) if bounds else None
        return await stack.enter_async_context(http.serve(listener["address"], application, limits=limits, **kept))
    handler = HANDLERS[listener["serve"]]

    async def handle(stream: Stream) -> None:
        await forgetting_the_end(handler, stream)

    return await stack.enter_async_context(serve(listener["address"], handle, limits=Limits(**bounds), **kept))


async def main() -> None:
    given = settings()
    if "descriptors" in given:
        resource.setrlimit(resource.RLIMIT_NOFILE, (given["descriptors"],) * 2)
    options = {}
    if "identity" in given:
        from socketkit import Identity  # a server without one does without its memory, too

        kept = given["identity"]
        options["identity"] = Identity.load(kept, given.get("certificates")) if kept else Identity.new()
    async with contextlib.AsyncExitStack() as stack:
        servers = [await opened(stack, listener, options) for listener in given["listeners"]]
        gc.collect()
        fingerprint = options["identity"].fingerprint if options else None
        say(pid=os.getpid(), addresses=[str(getattr(s, "local", "")) for s in servers], fingerprint=fingerprint)
        async for _ in words():
            say(stats=[getattr(server, "stats", {}) for server in servers])
        os._exit(0)  # the test has ended: nobody waits for the grace of the handlers


if __name__ == "__main__":
    os.nice(-5)  # what else this machine does is no part of the attack
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(main())
