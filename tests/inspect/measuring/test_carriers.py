"""Which shape an address has, and how much is sent at a time."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import pytest

from socketkit import Endpoint, Unsupported, bind, connect
from socketkit.inspect.measuring.carriers import opened, shape_of, usual_bytes, usual_rate, widen
from tests.conftest import Run


@pytest.mark.parametrize(
    ("address", "shape"),
    [
        ("tcp://localhost:1", "stream"),
        ("tls://localhost:1", "stream"),
        ("unix://@a", "stream"),
        ("mem://a", "stream"),
        ("vsock://2:1", "stream"),
        ("seqpacket+tls://localhost:1", "messages"),
        ("seqpacket+unix://@a", "messages"),
        ("sctp://localhost:1", "messages"),
        ("udp://localhost:1", "datagrams"),
        ("dgram+unix://@a", "datagrams"),
    ],
)
def test_shape(address: str, shape: str) -> None:
    assert shape_of(Endpoint.parse(address)) == shape


@pytest.mark.parametrize("address", ["icmp://localhost", "raw+ip://localhost?proto=253", "raw+ethernet://lo", "fd://3"])
def test_nobody_can_be_there(address: str) -> None:
    with pytest.raises(Unsupported, match=r"bench|write the address"):
        shape_of(Endpoint.parse(address))


def test_usual_bytes() -> None:
    def connection(address: str, path_mtu_bytes: int | None = None, max_message_bytes: int = 65_507) -> object:
        peer = SimpleNamespace(endpoint=Endpoint.parse(address))
        return SimpleNamespace(peer=peer, path_mtu_bytes=path_mtu_bytes, max_message_bytes=max_message_bytes)

    assert usual_bytes(connection("tcp://localhost:1"), "stream") == 131_072
    assert usual_bytes(connection("udp://localhost:1", 65_536), "datagrams") == 1_448
    assert usual_bytes(connection("udp://localhost:1", 1_280), "datagrams") == 1_232
    assert usual_bytes(connection("udp://localhost:1"), "datagrams") == 1_448
    assert usual_bytes(connection("seqpacket+unix://@a"), "messages") == 16_384
    assert usual_bytes(connection("seqpacket+unix://@a", None, 4_096), "messages") == 4_096


def test_only_udp_is_slow_by_itself() -> None:
    assert usual_rate(Endpoint.parse("udp6://localhost:1")) == 1_000_000
    assert usual_rate(Endpoint.parse("tcp://localhost:1")) == 0


def test_opened_and_widened(run: Run) -> None:
    async def main() -> None:
        async with bind("udp4://localhost:0") as there, opened(there.local, "datagrams") as here:
            before = here.fileno()
            with socket.socket(fileno=socket.dup(before)) as view:
                usual = view.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
                widen(here)
                assert view.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= usual
            await here.send(b"x")
            assert (await there.receive()).data == b"x"

    run(main())


def test_streams_are_opened_as_streams() -> None:
    assert type(opened(Endpoint.parse("tcp://localhost:1"), "stream")) is type(connect("tcp://localhost:1"))
