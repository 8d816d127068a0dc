"""Raw addresses: round trips, and the kernel's own word for each family, read by getsockname into a buffer."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socketkit import Endpoint, EndpointError, SocketError
from socketkit.sockaddr import AF_PACKET, AF_VSOCK, CID_ANY, PORT_ANY, interface_index, packed, unpacked

ports = st.integers(0, 65535)
unsigned = st.integers(1, 2**32 - 2)
names = st.binary(min_size=1, max_size=107).map(
    lambda name: name.replace(b"\0", b"x").decode("utf-8", "surrogateescape")
)


def named(sock: socket.socket) -> bytes:
    """What getsockname(2) writes."""
    libc = ctypes.CDLL(None, use_errno=True)
    raw, size = ctypes.create_string_buffer(128), ctypes.c_uint32(128)
    assert libc.getsockname(sock.fileno(), raw, ctypes.byref(size)) == 0
    return raw.raw[: size.value]


# --- round trips


@given(st.ip_addresses(v=4).map(str), ports)
def test_ipv4(host: str, port: int) -> None:
    endpoint = Endpoint(scheme="udp", host=host, port=port)
    raw = packed(endpoint, socket.AF_INET)
    assert raw == struct.pack("=H", socket.AF_INET) + struct.pack("!H", port) + socket.inet_aton(host) + bytes(8)
    assert unpacked("udp", raw) == endpoint


@given(st.ip_addresses(v=6).map(str).filter(lambda host: not host.startswith("::ffff:")), ports)
def test_ipv6(host: str, port: int) -> None:
    endpoint = Endpoint(scheme="udp", host=host, port=port)
    raw = packed(endpoint, socket.AF_INET6)
    assert len(raw) == 28
    assert unpacked("udp", raw) == endpoint
    assert unpacked("udp6", raw) == endpoint.replace(scheme="udp6")


@given(st.ip_addresses(v=4).map(str), ports)
def test_ipv4_on_a_dual_stack_socket(host: str, port: int) -> None:
    endpoint = Endpoint(scheme="udp", host=host, port=port)
    raw = packed(endpoint, socket.AF_INET6)
    assert raw[8:24] == bytes(10) + b"\xff\xff" + socket.inet_aton(host)
    assert unpacked("udp", raw) == endpoint
    mapped = Endpoint(scheme="udp6", host=f"::ffff:{host}", port=port)
    assert unpacked("udp6", raw) == mapped
    assert packed(mapped, socket.AF_INET6) == raw


@given(st.ip_addresses(v=6).map(str), ports, st.integers(0, 2**20 - 1))
def test_what_names_a_flow_names_no_peer(host: str, port: int, flow: int) -> None:
    raw = packed(Endpoint(scheme="udp6", host=host, port=port), socket.AF_INET6)
    assert unpacked("udp6", raw[:4] + struct.pack("!I", flow) + raw[8:]) == unpacked("udp6", raw)


@given(names)
def test_unix(name: str) -> None:
    abstract = Endpoint(scheme="dgram+unix", path=f"@{name}")
    raw = packed(abstract, socket.AF_UNIX)
    assert raw[2:] == b"\0" + os.fsencode(name)
    assert unpacked("dgram+unix", raw) == abstract
    path = "/" + os.fsencode(name)[:106].decode("utf-8", "surrogateescape")
    file = Endpoint(scheme="dgram+unix", path=path)
    raw = packed(file, socket.AF_UNIX)
    assert raw[2:] == os.fsencode(path) + b"\0"
    assert unpacked("dgram+unix", raw) == unpacked("dgram+unix", raw[:-1]) == file


@given(unsigned, unsigned)
def test_vsock(cid: int, port: int) -> None:
    endpoint = Endpoint(scheme="vsock", host=str(cid), port=port)
    raw = packed(endpoint, AF_VSOCK)
    assert raw == struct.pack("=HHIIxxxx", AF_VSOCK, 0, port, cid)
    assert unpacked("vsock", raw) == endpoint


def test_vsock_anything() -> None:
    endpoint = Endpoint.parse("seqpacket+vsock://*:0")
    raw = packed(endpoint, AF_VSOCK)
    assert raw == struct.pack("=HHIIxxxx", AF_VSOCK, 0, PORT_ANY, CID_ANY)
    assert unpacked("seqpacket+vsock", raw) == endpoint
    assert packed(Endpoint.parse("vsock://:5"), AF_VSOCK)[8:12] == struct.pack("=I", 1), "no host is this machine"


@given(st.integers(1, 0xFFFF))
def test_packet(ether_type: int) -> None:
    endpoint = Endpoint(scheme="raw+ethernet", host="lo", query={"proto": f"0x{ether_type:04x}"})
    raw = packed(endpoint, AF_PACKET)
    assert raw[:8] == struct.pack("=H", AF_PACKET) + struct.pack("!H", ether_type) + struct.pack(
        "=i", socket.if_nametoindex("lo")
    )
    assert unpacked("raw+ethernet", raw) == endpoint


def test_every_interface() -> None:
    raw = packed(Endpoint.parse("raw+ethernet://*"), AF_PACKET)
    assert len(raw) == 20
    assert str(unpacked("raw+ethernet", raw)) == "raw+ethernet://*"
    assert packed(Endpoint.parse("raw+ethernet://"), AF_PACKET) == packed(
        Endpoint.parse("raw+ethernet://lo"), AF_PACKET
    )


# --- the kernel's word


@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"), (socket.AF_INET6, "::ffff:127.0.0.1")]
)
def test_an_ip_socket(family: socket.AddressFamily, host: str) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind((host, 0))
        raw, port = named(sock), sock.getsockname()[1]
        shown = unpacked("udp", raw)
        assert shown == Endpoint.from_sockaddr("udp", sock.getsockname())
        assert shown == Endpoint(scheme="udp", host=host.removeprefix("::ffff:"), port=port)
        assert packed(shown, family) == raw


@pytest.mark.privileged
def test_a_link_local_address_has_its_zone(program: Callable[[str], str]) -> None:
    """The loopback interface of a namespace is given one."""
    code = (
        "import socket; from tests.test_sockaddr import named; from socketkit.sockaddr import *\n"
        "sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)\n"
        "sock.bind(('fe80::7', 0, 0, socket.if_nametoindex('lo')))\n"
        "raw = named(sock); shown = unpacked('udp', raw)\n"
        "print(str(shown).rpartition(':')[0], packed(shown, socket.AF_INET6) == raw)\n"
        "print(packed(shown.replace(host='fe80::7%1'), socket.AF_INET6) == raw)\n"
    )
    setup = 'ip link set lo up && ip address add fe80::7/64 dev lo nodad && exec "$0" -c "$1"'
    done = subprocess.run(
        [program("unshare"), "--net", "sh", "-c", setup, sys.executable, code],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=Path(__file__).parents[1],
    )
    assert (done.stdout, done.stderr) == ("udp://[fe80::7%25lo] True\nTrue\n", "")


def test_unix_sockets(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        assert unpacked("dgram+unix", named(sock)) is None
        sock.bind("")  # the kernel chooses an abstract name
        raw = named(sock)
        shown = unpacked("dgram+unix", raw)
        assert shown is not None and shown.path is not None and shown.path[0] == "@"
        assert packed(shown, socket.AF_UNIX) == raw
    path = f"{tmp_path}/socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        raw = named(sock)
        assert unpacked("dgram+unix", raw) == Endpoint(scheme="dgram+unix", path=path)
        assert packed(Endpoint(scheme="dgram+unix", path=path), socket.AF_UNIX) == raw


def test_a_path_without_a_final_nul(tmp_path: Path) -> None:
    """The kernel takes 108 bytes, and says that it has 109."""
    path = f"{tmp_path}/".ljust(108, "s")
    raw = struct.pack("=H", socket.AF_UNIX) + path.encode()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        assert ctypes.CDLL(None).bind(sock.fileno(), raw, len(raw)) == 0
        shown = unpacked("dgram+unix", named(sock))
        assert shown is not None and shown.path == path
        assert packed(shown, socket.AF_UNIX) == raw


@pytest.mark.privileged
def test_a_packet_socket() -> None:
    with socket.socket(AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind(("lo", 0x88CC))
        shown = unpacked("raw+ethernet", named(sock))
        assert shown == Endpoint.parse("raw+ethernet://lo?proto=lldp")
        assert packed(shown, AF_PACKET)[:8] == named(sock)[:8]


@pytest.mark.privileged
def test_a_raw_socket_tells_its_protocol_and_its_peers_do_not() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, 253) as sock:
        sock.bind(("127.0.0.1", 0))
        assert str(unpacked("raw+ip", named(sock))) == "raw+ip://127.0.0.1?proto=253"
    peer = struct.pack("=HH4s8x", socket.AF_INET, 0, bytes((127, 0, 0, 1)))
    assert str(unpacked("raw+ip", peer)) == "raw+ip://127.0.0.1"
    assert str(unpacked("raw+ip", peer, 253)) == "raw+ip://127.0.0.1?proto=253"
    assert str(unpacked("icmp", peer)) == "icmp://127.0.0.1"


# --- what is no address


@pytest.mark.parametrize("raw", [b"", b"\0", bytes(16), struct.pack("=H", socket.AF_NETLINK) + bytes(10)])
def test_no_address(raw: bytes) -> None:
    assert unpacked("udp", raw) is None


def test_an_interface_that_is_gone_has_its_number() -> None:
    raw = struct.pack("=HHi12x", AF_PACKET, 0, 2**31 - 1)
    assert str(unpacked("raw+ethernet", raw)) == "raw+ethernet://2147483647"


@pytest.mark.parametrize(
    ("url", "family", "reason"),
    [
        ("udp://example.org:7", socket.AF_INET, "not an IP address"),
        ("udp://example.org:7", socket.AF_INET6, "not an IP address"),
        ("udp://[2001:db8::1]:7", socket.AF_INET, "speaks IPv4 only"),
        ("udp6://[::ffff:192.0.2.1]:7", socket.AF_INET, "speaks IPv4 only"),
        ("udp6://:7", socket.AF_INET, "speaks IPv4 only"),
        ("udp4://192.0.2.1:7", socket.AF_UNIX, "udp4 is no address for this socket"),
        ("unix:///x", socket.AF_INET, "unix is no address for this socket"),
        ("vsock://2:7", AF_PACKET, "vsock is no address for this socket"),
    ],
)
def test_an_address_of_another_kind(url: str, family: int, reason: str) -> None:
    with pytest.raises(EndpointError, match=reason) as raised:
        packed(Endpoint.parse(url), family)
    assert url in str(raised.value)


def test_a_peer_without_a_name() -> None:
    with pytest.raises(EndpointError, match="no name"):
        packed(Endpoint.from_sockaddr("dgram+unix", ""), socket.AF_UNIX)


def test_a_family_without_endpoints() -> None:
    with pytest.raises(ValueError, match="family 16"):
        packed(Endpoint.parse("udp://:7"), socket.AF_NETLINK)


@pytest.mark.parametrize("url", ["udp://:7", "udp://localhost:7", "udp://Localhost.:7", "udp://*:7"])
def test_this_machine(url: str) -> None:
    endpoint = Endpoint.parse(url)
    assert packed(endpoint, socket.AF_INET)[4:8] == bytes((127, 0, 0, 1))
    assert str(unpacked("udp", packed(endpoint, socket.AF_INET6))) == "udp://127.0.0.1:7"
    assert str(unpacked("udp6", packed(endpoint.replace(scheme="udp6"), socket.AF_INET6))) == "udp6://[::1]:7"


def test_no_such_interface() -> None:
    endpoint = Endpoint.parse("udp://[fe80::1%25missing]:7")
    with pytest.raises(SocketError, match="no interface missing: `ip link`") as raised:
        packed(endpoint, socket.AF_INET6)
    assert (raised.value.errno, raised.value.operation, raised.value.endpoint) == (errno.ENODEV, "send", endpoint)
    assert interface_index("lo", "join", None) == 1
    assert interface_index("1", "join", None) == 1
    for name in ("2147483647", "9" * 20, "0", ""):
        with pytest.raises(SocketError, match="no interface"):
            interface_index(name, "join", None)
