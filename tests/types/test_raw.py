"""icmp and raw+ip: which kernel socket comes, what it hears, and what is said to who may have none."""

from __future__ import annotations

import errno
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from socketkit import ConnectError, Endpoint, EndpointError, Limits, ListenError, SocketError
from socketkit.drivers import ThreadDriver
from socketkit.types import options, raw
from socketkit.types.options import Opened
from tests.types.test_datagram import Resolver, at_once

pytestmark = pytest.mark.usefixtures("no_leaks")


@contextmanager
def opened(url: str, opening: Callable[..., Any], driver: ThreadDriver | None = None) -> Iterator[Opened]:
    made = at_once(opening(Endpoint.parse(url), driver or ThreadDriver(), Limits()))
    made.sock.settimeout(5)
    try:
        yield made
    finally:
        made.sock.close()
        made.remove()


def echo_request(family: int, identifier: int = 0x7777, data: bytes = b"data") -> bytes:
    kind = 8 if family == socket.AF_INET else 128
    message = struct.pack("!BBHHH", kind, 0, 0, identifier, 1) + data
    if family == socket.AF_INET6:
        return message
    total = sum(struct.unpack(f"!{len(message) // 2}H", message))
    total = (total >> 16) + (total & 0xFFFF)
    return message[:2] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + message[4:]


# The tests play a kernel that has no ping socket for this user; root may have raw ones all the same.
class NoPing(socket.socket):
    number = errno.EACCES

    def __init__(self, family: int = -1, kind: int = -1, proto: int = -1, fileno: int | None = None) -> None:
        if kind & 0xF == socket.SOCK_DGRAM and proto in (socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6):
            raise OSError(self.number, "no ping for you")
        super().__init__(family, kind, proto, fileno)


class NoRaw(NoPing):
    def __init__(self, family: int = -1, kind: int = -1, proto: int = -1, fileno: int | None = None) -> None:
        if kind & 0xF == socket.SOCK_RAW:
            raise OSError(errno.EPERM, "nothing raw for you")
        super().__init__(family, kind, proto, fileno)


@pytest.fixture(params=["ping", "raw"])
def fashion(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With a ping socket, if this user may have one, and with a raw one."""
    if request.param == "raw":
        monkeypatch.setattr(socket, "socket", NoPing)
    return str(request.param)


# --- icmp


@pytest.mark.privileged
@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("[::1]", socket.AF_INET6)])
@pytest.mark.parametrize("opening", [raw.connect_socket, raw.open_bound])
def test_an_echo_and_nothing_else(
    fashion: str, host: str, family: socket.AddressFamily, opening: Callable[..., Any], python: Callable[..., str]
) -> None:
    """A socket for one's own user needs no privilege, and sees replies only: loopback shows requests, too."""
    with opened(f"icmp://{host}?hops=9&interface=lo", opening) as made:
        version = "4" if family == socket.AF_INET else "6"
        assert made.kind in (f"icmp{version}", f"icmp{version}-raw")
        assert (made.kind[-4:] == "-raw") == (made.sock.type == socket.SOCK_RAW)
        assert fashion == "ping" or made.sock.type == socket.SOCK_RAW
        where = Endpoint.parse(f"icmp://{host}")
        assert made.where == (where if opening is raw.connect_socket else where.replace(query=made.where.query))
        if opening is raw.connect_socket:
            made.sock.send(echo_request(family))
            received = made.sock.recv(1000)
        else:
            made.sock.sendto(echo_request(family), (host.strip("[]"), 0))
            received, peer = made.sock.recvfrom(1000)
            assert peer[0] == host.strip("[]")
        if made.kind == "icmp4-raw":  # the engine cuts the header off
            received = received[(received[0] & 15) * 4 :]
        kind, code, _, identifier, sequence = struct.unpack_from("!BBHHH", received)
        assert (kind, code, sequence, received[8:]) == (0 if version == "4" else 129, 0, 1, b"data")
        if made.sock.type == socket.SOCK_RAW:
            assert identifier == 0x7777
        made.sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            made.sock.recv(1000)
        if family == socket.AF_INET:
            assert made.sock.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == 9
            assert made.sock.getsockopt(socket.IPPROTO_IP, options.IP_RECVERR) == 1
        else:
            assert made.sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS) == 9
            assert made.sock.getsockopt(socket.IPPROTO_IPV6, options.IPV6_RECVERR) == 1
        assert made.sock.getsockopt(socket.SOL_SOCKET, options.SO_BINDTOIFINDEX) == options.LOOPBACK_INDEX


@pytest.mark.privileged
def test_no_type_but_replies_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not what has no meaning, either."""
    monkeypatch.setattr(socket, "socket", NoPing)
    with opened("icmp://127.0.0.1", raw.connect_socket) as made:
        for kind in (3, 8, 13, 32, 104, 255):
            made.sock.send(bytes((kind,)) + b"\0\0\0nonsense")
        made.sock.send(echo_request(socket.AF_INET, data=b"the only"))
        assert made.sock.recv(1000).endswith(b"the only")


@pytest.mark.privileged
def test_a_user_whose_group_may_ping(program: Callable[[str], str]) -> None:
    """In a namespace, which has a range of groups of its own."""
    code = (
        "from tests.types.test_raw import *\n"
        "import encodings.idna\n"  # that user may not read where this Python is
        "os.setgid(65534); os.setuid(65534)\n"
        "for url in ('icmp://127.0.0.1', 'icmp://[::1]'):\n"
        "    with opened(url, raw.open_bound) as made: print(made.kind)\n"
    )
    setup = 'ip link set lo up && echo "0 2147483647" > /proc/sys/net/ipv4/ping_group_range && exec "$0" -c "$1"'
    command = [program("unshare"), "--net", "sh", "-c", setup, sys.executable, code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=Path(__file__).parents[2])
    assert (done.stdout, done.stderr) == ("icmp4\nicmp6\n", "")


def test_who_may_not_is_told_how_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", NoRaw)
    python = os.path.realpath(sys.executable)
    for opening, kind, operation in (
        (raw.open_bound, ListenError, "bind"),
        (raw.connect_socket, ConnectError, "connect"),
    ):
        with pytest.raises(kind) as raised:
            at_once(opening(Endpoint.parse("icmp://127.0.0.1"), ThreadDriver(), Limits()))
        assert raised.value.errno == errno.EPERM
        assert str(raised.value) == (
            f"{operation} icmp://127.0.0.1: your group may not ping: allow all with "
            "`sudo sysctl -w net.ipv4.ping_group_range='0 2147483647'`, or have CAP_NET_RAW: "
            f"use sudo, or `sudo setcap cap_net_raw+ep {python}`"
        )
        with pytest.raises(kind, match="raw sockets need CAP_NET_RAW: use sudo") as raised:
            at_once(opening(Endpoint.parse("raw+ip://127.0.0.1?proto=253"), ThreadDriver(), Limits()))
        assert f"setcap cap_net_raw+ep {python}" in str(raised.value)


def test_other_failures_are_not_about_privileges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", NoPing)
    monkeypatch.setattr(NoPing, "number", errno.EMFILE)
    with pytest.raises(ListenError, match="ulimit -n"):
        at_once(raw.open_bound(Endpoint.parse("icmp://127.0.0.1"), ThreadDriver(), Limits()))


@pytest.mark.privileged
def test_which_address() -> None:
    for url, host, shown in (
        ("icmp://", "127.0.0.1", "icmp://127.0.0.1"),
        ("icmp://*", "0.0.0.0", "icmp://*"),
        ("icmp://[::]", "::", "icmp://[::]"),
    ):
        with opened(url, raw.open_bound) as made:
            assert (made.sock.getsockname()[0], str(made.where)) == (host, shown)
            destination = host in ("0.0.0.0", "::")
            if made.sock.family == socket.AF_INET:
                assert made.sock.getsockopt(socket.IPPROTO_IP, options.IP_PKTINFO) == destination
            else:
                assert made.sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO) == destination
    with opened("icmp://name.test", raw.connect_socket, Resolver("127.0.0.3", "127.0.0.2")) as made:
        assert str(made.where) == "icmp://127.0.0.3"
    with pytest.raises(ListenError, match=r"several addresses.*127\.0\.0\.2, 127\.0\.0\.3"):
        at_once(raw.open_bound(Endpoint.parse("icmp://name.test"), Resolver("127.0.0.3", "127.0.0.2"), Limits()))
    with pytest.raises(ListenError, match="no such address"):
        at_once(raw.open_bound(Endpoint.parse("icmp://192.0.2.77"), ThreadDriver(), Limits()))
    with pytest.raises(SocketError, match="no interface missing"):
        at_once(raw.open_bound(Endpoint.parse("icmp://?interface=missing"), ThreadDriver(), Limits()))


@pytest.mark.privileged
def test_every_attempt_is_in_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Broadcast addresses can be no peers."""
    with pytest.raises(ConnectError) as raised:
        at_once(
            raw.connect_socket(
                Endpoint.parse("icmp://name.test"), Resolver("127.255.255.255", "255.255.255.255"), Limits()
            )
        )
    assert [str(attempt.endpoint) for attempt in raised.value.attempts] == [
        "icmp://127.255.255.255",
        "icmp://255.255.255.255",
    ]


# --- raw+ip


@pytest.mark.privileged
@pytest.mark.parametrize(
    ("host", "header", "kind"),
    [
        ("127.0.0.1", False, "icmp4-raw"),
        ("127.0.0.1", True, "raw4"),
        ("[::1]", False, "raw6"),
        ("[::1]", True, "raw6"),
    ],
)
def test_any_protocol(host: str, header: bool, kind: str) -> None:
    """253 is for experiments (RFC 3692). What is sent with a header arrives as it was written."""
    query = "proto=253&header=yes" if header else "proto=253"
    bare = host.strip("[]")
    with opened(f"raw+ip://{host}?{query}", raw.open_bound) as there:
        with opened(f"raw+ip://{host}?{query}", raw.connect_socket) as ours:
            assert (there.kind, ours.kind) == (kind, kind)
            assert str(there.where) == f"raw+ip://{host}?{'header=yes&' * header}proto=253"
            assert str(ours.where) == f"raw+ip://{host}?proto=253"
            address = socket.inet_pton(ours.sock.family, bare)
            if not header:
                ours.sock.send(b"payload")
            elif kind == "raw4":
                ours.sock.send(
                    struct.pack("!BBHHHBBH4s4s", 0x45, 0, 27, 7, 0, 33, 253, 0, address, address) + b"payload"
                )
            else:
                ours.sock.send(struct.pack("!IHBB16s16s", 6 << 28, 7, 253, 33, address, address) + b"payload")
            packet = there.sock.recv(1000)
            if kind == "raw6":
                assert packet == b"payload"
            else:
                assert packet[20:] == b"payload"
                assert (packet[8] == 33) == header


@pytest.mark.privileged
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_a_first_and_a_last_protocol(host: str) -> None:
    """0 is none: the kernel has no socket for it."""
    for proto in (1, 255):
        with opened(f"raw+ip://{host}?proto={proto}", raw.open_bound) as made:
            assert made.sock.proto == proto
    with pytest.raises(EndpointError, match="a number from 1 to 255"):
        Endpoint.parse(f"raw+ip://{host}?proto=0")
