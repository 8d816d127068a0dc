"""Echo of datagrams with anyio's UDPSocket, with ConnectedUDPSocket (`--peer PORT`), or a sink (`--sink`)."""

from __future__ import annotations

import anyio
from anyio.abc import ConnectedUDPSocket, SocketAttribute, UDPSocket
from startup import SINK, UVLOOP, announce, answer, is_question, value_of, widen

PEER = value_of("--peer")


async def echo(udp: UDPSocket) -> None:
    async for data, peer in udp:
        await udp.send((data, peer))


async def echo_connected(udp: ConnectedUDPSocket) -> None:
    async for data in udp:
        await udp.send(data)


async def sink(udp: UDPSocket) -> None:
    count = 0
    async for data, peer in udp:
        if is_question(data):
            await udp.send((answer(count), peer))
        else:
            count += 1


async def main() -> None:
    if PEER:
        connected = await anyio.create_connected_udp_socket("127.0.0.1", int(PEER), local_host="127.0.0.1")
        widen(connected.extra(SocketAttribute.raw_socket).fileno())
        announce(connected.extra(SocketAttribute.local_port))
        await echo_connected(connected)
    else:
        udp = await anyio.create_udp_socket(local_host="127.0.0.1")
        widen(udp.extra(SocketAttribute.raw_socket).fileno())
        announce(udp.extra(SocketAttribute.local_port))
        await (sink if SINK else echo)(udp)


anyio.run(main, backend="asyncio", backend_options={"use_uvloop": UVLOOP})
