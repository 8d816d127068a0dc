"""Options that several kinds of message socket share; what they do is seen in the tests of those kinds."""

from __future__ import annotations

import errno
import socket

import pytest

from socketkit import Endpoint, SocketError
from socketkit.types import options

pytestmark = pytest.mark.usefixtures("no_leaks")

ANY = Endpoint.parse("udp://:1")


@pytest.mark.parametrize(
    ("family", "kind", "protocol", "speaks"),
    [
        (socket.AF_INET, socket.SOCK_DGRAM, 0, True),
        (socket.AF_INET6, socket.SOCK_DGRAM, 0, True),
        (socket.AF_INET6, socket.SOCK_STREAM, 0, False),
        (socket.AF_UNIX, socket.SOCK_DGRAM, 0, False),
    ],
)
def test_which_sockets_have_options_of_ipv4(family: int, kind: int, protocol: int, speaks: bool) -> None:
    with socket.socket(family, kind, protocol) as sock:
        assert options.speaks_ipv4(sock) == speaks


def test_hops_of_both_versions() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        options.limit_hops(sock, 5)
        for level, name in (
            (socket.IPPROTO_IP, socket.IP_TTL),
            (socket.IPPROTO_IP, socket.IP_MULTICAST_TTL),
            (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS),
            (socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS),
        ):
            assert sock.getsockopt(level, name) == 5


def test_an_interface_by_name_and_by_number() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        with pytest.raises(SocketError, match="no interface missing") as raised:
            options.bind_to_interface(sock, "missing", ANY, "bind")
        assert (raised.value.errno, raised.value.operation, raised.value.endpoint) == (errno.ENODEV, "bind", ANY)
        options.bind_to_interface(sock, "1", ANY, "bind")
        assert sock.getsockopt(socket.SOL_SOCKET, options.SO_BINDTOIFINDEX) == options.LOOPBACK_INDEX
