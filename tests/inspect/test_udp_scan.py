"""UDP ports of loopback: who answers, who is closed, and of whom nothing can be said."""

from __future__ import annotations

import asyncio
import socket
from socket import AF_INET, AF_INET6
from typing import Any

import pytest

from socketkit.inspect.targets import Target
from socketkit.inspect.udp_scan import Answered, UdpScan
from tests.conftest import Run

pytestmark = pytest.mark.slow


class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.transport.sendto(b"here", addr)


@pytest.mark.parametrize(("family", "host"), [(AF_INET, "127.0.0.1"), (AF_INET6, "::1")])
def test_three_kinds(run: Run, family: int, host: str, no_leaks: None) -> None:
    async def main() -> tuple[list[Answered], UdpScan, tuple[int, int, int]]:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Echo, (host, 0))
        with socket.socket(family, socket.SOCK_DGRAM) as mute, socket.socket(family, socket.SOCK_DGRAM) as gone:
            for sock in (mute, gone):
                sock.bind((host, 0))
            closed = gone.getsockname()[1]
            gone.close()
            answers, silent = transport.get_extra_info("sockname")[1], mute.getsockname()[1]
            rest = () if family == AF_INET else (0, 0)
            scan = UdpScan([Target(host, family, (host, 0, *rest))], (answers, silent, closed), 1_000)
            found = [answered async for answered in scan.answers()]
        transport.close()
        await asyncio.sleep(0)
        return found, scan, (answers, silent, closed)

    found, scan, (answers, silent, closed) = run(main())
    assert [(answered.target, answered.port) for answered in found] == [(0, answers)]
    assert (scan.open, scan.closed, scan.prohibited) == ([{answers}], [{closed}], [set()])
    # Who has answered is asked no more.
    assert scan.sent == 1 + 3 + 1
    assert scan.planned == 9
    assert silent not in scan.open[0] | scan.closed[0]
