"""What netlink tells of neighbours, gateways and files of Unix sockets: parsed, and asked for."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socketkit.threats import neighbours
from socketkit.threats.view import Gateway, Neighbour
from tests.threats.namespaces import Network


def attribute(name: int, value: bytes) -> bytes:
    return pack("=HH", 4 + len(value), name) + value + bytes(-len(value) % 4)


def neighbour(state: int, hardware: bytes = b"\2\0\0\0\0\7", address: bytes = b"\xc0\0\2\x01") -> tuple[int, bytes]:
    body = pack("=BxxxiHBB", socket.AF_INET, 999_999, state, 0, 1) + attribute(1, address) + attribute(2, hardware)
    return neighbours.RTM_NEWNEIGH, body


def test_neighbours_that_have_answered() -> None:
    told = [neighbour(2), neighbour(0x20), neighbour(2, bytes(6)), neighbour(2, address=b"\1"), (0, b""), (28, b"x")]
    assert list(neighbours.neighbours(told)) == [Neighbour("192.0.2.1", "02:00:00:00:00:07", "999999")]


def test_default_gateways() -> None:
    def route(bits: int, *attributes: bytes) -> tuple[int, bytes]:
        head = pack("=BBBBBBBBI", socket.AF_INET, bits, 0, 0, 254, 3, 0, 1, 0)
        return neighbours.RTM_NEWROUTE, head + b"".join(attributes)

    gateway, lo = attribute(5, b"\xc0\0\2\x01"), attribute(4, pack("=I", socket.if_nametoindex("lo")))
    told = [route(0, gateway, lo), route(24, gateway, lo), route(0, lo)]
    assert list(neighbours.default_gateways(told)) == [Gateway("192.0.2.1", "lo")]


@given(st.binary(max_size=200))
def test_rubbish_is_passed_over(data: bytes) -> None:
    messages = list(neighbours.parsed(data))
    list(neighbours.neighbours([(28, data), *messages]))
    list(neighbours.default_gateways([(24, data), *messages]))


def test_file_of_a_unix_socket() -> None:
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"{folder}/a")
        sock.listen()
        files = neighbours.unix_files()
        assert files[os.fstat(sock.fileno()).st_ino] == os.lstat(f"{folder}/a").st_ino


@pytest.mark.privileged
@pytest.mark.slow
def test_of_a_network(network: Callable[..., Network]) -> None:
    net = network("one", "two")
    one, two = net["one"], net["two"]
    one.run("ip", "route", "add", "default", "via", two.ip4)
    one.run("ip", "neigh", "replace", two.ip4, "lladdr", two.hardware_address(), "dev", "eth0")
    unknown: list[str] = []
    with one.entered():
        told = neighbours.read(unknown)
    assert Neighbour(two.ip4, two.hardware_address(), "eth0") in told["neighbours"]
    assert told["gateways"] == [Gateway(two.ip4, "eth0")]
    assert unknown == []
