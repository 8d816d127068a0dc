"""Packet sockets of `raw+ethernet://`: deaf until they have their filter."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

import pytest

from socketkit import bind
from socketkit.endpoint import Endpoint
from socketkit.errors import EndpointError, SocketError
from tests.conftest import Run

HEADERS_BYTES = 42  # Ethernet, IPv4, UDP


def endpoint(interface: str = "lo", **query: str) -> Endpoint:
    return Endpoint(scheme="raw+ethernet", host=interface, query=query)


def send(port: int, *payloads: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for payload in payloads:
            sender.sendto(payload, ("127.0.0.1", port))


async def heard(where: Endpoint, port: int, *payloads: bytes) -> list[bytes]:
    """The payloads that are heard there when these are sent to the port, and something else to another one."""
    async with bind(where) as frames:
        send(port ^ 1, b"other")
        send(port, *payloads)
        # On the loopback each frame is seen twice, going out and coming in: the first only by who hears all protocols.
        copies = 1 if "proto" in where.query else 2
        found: list[bytes] = []
        while len(found) < copies * len(payloads):
            found += [datagram.data[HEADERS_BYTES:] for datagram in await frames.receive_many()]
        return found[::copies]


@pytest.fixture
def port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.mark.privileged
@pytest.mark.parametrize("interface", ["lo", "*"])
def test_hears_what_the_filter_lets_through(run: Run, interface: str, port: int, no_leaks: None) -> None:
    where = endpoint(interface, filter=f"udp dst port {port}")
    assert run(heard(where, port, b"first", b"second")) == [b"first", b"second"]


@pytest.mark.privileged
def test_keeps_so_much_of_a_frame(run: Run, port: int) -> None:
    where = endpoint(filter=f"udp dst port {port}", snap="44", promiscuous="yes", proto="0x0800")
    assert run(heard(where, port, b"payload")) == [b"pa"]


@pytest.mark.privileged
def test_sends_and_hears_one_protocol(run: Run) -> None:
    async def main() -> None:
        frame = bytes(12) + b"\x88\xb5payload"  # an EtherType for experiments (IEEE 802)
        async with bind(endpoint(proto="0x88b5", snap="100")) as frames:
            await frames.send(frame, endpoint())
            assert (await frames.receive()).data == frame

    run(main())


@pytest.mark.privileged
def test_errors_name_the_remedy(run: Run, no_leaks: None) -> None:
    async def enter(where: Endpoint) -> None:
        async with bind(where):
            pass

    no_such = r"bind raw\+ethernet://socketkit-no: no such interface; there are .*lo"
    with pytest.raises(SocketError, match=no_such) as no:
        run(enter(endpoint("socketkit-no")))
    assert no.value.errno == errno.ENODEV
    with pytest.raises(EndpointError, match="no filter"):
        run(enter(endpoint(filter="nonsense nonsense")))


@pytest.mark.privileged
def test_without_the_capability(python: Callable[..., str]) -> None:
    code = """
import os
from socketkit import sync
from socketkit.types import ethernet  # while its files can be read
os.setgid(65534); os.setuid(65534)
try:
    sync.bind("raw+ethernet://lo")
except OSError as failure:
    print(failure)
"""
    assert "needs CAP_NET_RAW: use sudo, or `sudo setcap cap_net_raw+ep /" in python(code)
