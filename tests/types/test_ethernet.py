"""Packet sockets of `raw+ethernet://`: deaf until they have their filter."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

import pytest

from socketkit.endpoint import Endpoint
from socketkit.errors import EndpointError, SocketError
from socketkit.types.ethernet import open_socket


def endpoint(interface: str = "lo", **query: str) -> Endpoint:
    return Endpoint(scheme="raw+ethernet", host=interface, query=query)


def send(port: int, *payloads: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for payload in payloads:
            sender.sendto(payload, ("127.0.0.1", port))


def queued(sock: socket.socket) -> list[bytes]:
    """What it has, both directions of the loopback."""
    found = []
    while True:
        try:
            frame, (_, _, kind, *_) = sock.recvfrom(65_536)
        except BlockingIOError:
            return found
        if kind != socket.PACKET_OUTGOING:
            found.append(frame)


@pytest.fixture
def port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.mark.privileged
def test_hears_what_the_filter_lets_through(port: int, no_leaks: None) -> None:
    with open_socket(endpoint(filter=f"udp dst port {port}")) as sock:
        send(port + 1 if port < 65_535 else port - 1, b"other")
        send(port, b"first", b"second")
        assert [frame[42:] for frame in queued(sock)] == [b"first", b"second"]


@pytest.mark.privileged
def test_keeps_so_much_of_a_frame(port: int) -> None:
    with open_socket(endpoint(filter=f"udp dst port {port}", snap="44", promiscuous="yes", proto="0x0800")) as sock:
        send(port, b"payload")
        assert [frame[42:] for frame in queued(sock)] == [b"pa"]


@pytest.mark.privileged
def test_hears_one_protocol(port: int) -> None:
    with open_socket(endpoint(proto="0x88cc", snap="100")) as sock:
        send(port, b"payload")
        assert queued(sock) == []


@pytest.mark.privileged
def test_errors_name_the_remedy(no_leaks: None) -> None:
    with pytest.raises(SocketError, match=r"bind raw\+ethernet://socketkit-no: no such interface; there are .*lo") as no:
        open_socket(endpoint("socketkit-no"))
    assert no.value.errno == errno.ENODEV
    with pytest.raises(EndpointError, match="no filter"):
        open_socket(endpoint(filter="nonsense nonsense"))


@pytest.mark.privileged
def test_without_the_capability(python: Callable[..., str]) -> None:
    code = """
import os
from socketkit.endpoint import Endpoint
from socketkit.types.ethernet import open_socket
os.setgid(65534); os.setuid(65534)
try:
    open_socket(Endpoint.parse("raw+ethernet://lo"))
except OSError as failure:
    print(failure)
"""
    said = python(code)
    assert "needs CAP_NET_RAW: use sudo, or `sudo setcap cap_net_raw+ep /" in said
