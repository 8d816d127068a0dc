"""Echo of datagrams in callbacks, or a sink (`--sink`). The fastest that a loop offers; it has no backpressure."""

from __future__ import annotations

import asyncio
from typing import cast

from startup import SINK, announce, answer, is_question, run, wide_socket


class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not isinstance: uvloop's transports do not inherit from asyncio's.
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, peer: tuple[str, int]) -> None:
        self.transport.sendto(data, peer)


class Sink(Echo):
    count = 0

    def datagram_received(self, data: bytes, peer: tuple[str, int]) -> None:
        if is_question(data):
            self.transport.sendto(answer(self.count), peer)
        else:
            self.count += 1


async def main() -> None:
    sock = wide_socket()
    announce(sock.getsockname()[1])
    await asyncio.get_running_loop().create_datagram_endpoint(Sink if SINK else Echo, sock=sock)
    await asyncio.Event().wait()


run(main())
