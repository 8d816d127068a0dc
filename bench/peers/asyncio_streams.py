"""Echo with StreamReader and StreamWriter, as the standard library's manual writes it. TCP_NODELAY: set by the loop."""

from __future__ import annotations

import asyncio

from startup import BACKLOG, announce, run, tls_context


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
            del chunk  # a task that waits must not hold what it has sent: with many of them that is a cache full
    except ConnectionError:
        pass
    finally:
        writer.close()


async def main() -> None:
    server = await asyncio.start_server(echo, "127.0.0.1", 0, backlog=BACKLOG, ssl=tls_context())
    announce(server.sockets[0].getsockname()[1])
    await server.serve_forever()


run(main())
