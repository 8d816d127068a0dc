"""UDP and Unix datagrams: what is bound and connected, who may hear, and what the options do in the kernel."""

from __future__ import annotations

import errno
import os
import pwd
import socket
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from socketkit import ConnectError, Endpoint, EndpointError, Limits, ListenError, SocketError
from socketkit.drivers import ThreadDriver
from socketkit.sockaddr import packed
from socketkit.types import datagram, options, unix
from socketkit.types.options import Opened
from tests.threats.namespaces import Host, Network, remove_leftovers

pytestmark = pytest.mark.usefixtures("no_leaks")


def at_once(coroutine: Any) -> Any:
    """What a coroutine gives that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


@contextmanager
def bound(url: str, driver: ThreadDriver | None = None) -> Iterator[Opened]:
    opened = at_once(datagram.open_bound(Endpoint.parse(url), driver or ThreadDriver(), Limits()))
    try:
        yield opened
    finally:
        closed(opened)


@contextmanager
def connected(url: str, driver: ThreadDriver | None = None) -> Iterator[Opened]:
    opened = at_once(datagram.connect_socket(Endpoint.parse(url), driver or ThreadDriver(), Limits()))
    try:
        yield opened
    finally:
        closed(opened)


def closed(opened: Opened) -> None:
    opened.sock.close()
    for sock in opened.held:
        sock.close()
    opened.remove()


def received(opened: Opened) -> tuple[bytes, Any]:
    opened.sock.settimeout(5)
    return opened.sock.recvfrom(2048)


def refused(url: str, kind: type[SocketError] = ListenError) -> SocketError:
    opening = datagram.open_bound if kind is ListenError else datagram.connect_socket
    with pytest.raises(kind) as raised:
        closed(at_once(opening(Endpoint.parse(url), ThreadDriver(), Limits())))
    return raised.value


class Resolver(ThreadDriver):
    """Names of the test's."""

    def __init__(self, *hosts: str) -> None:
        self._hosts = hosts

    async def resolve(self, host: str, port: int, family: int) -> Sequence[tuple[int, tuple[Any, ...]]]:
        return [
            (socket.AF_INET6, (host, port, 0, 0)) if ":" in host else (socket.AF_INET, (host, port))
            for host in self._hosts
        ]


# --- which addresses


@pytest.mark.parametrize("url", ["udp://:0", "udp://localhost:0", "udp://LocalHost:0"])
def test_no_host_is_both_loopback_addresses_in_one_socket(url: str) -> None:
    with bound(url) as opened:
        port = opened.where.port
        assert (opened.kind, opened.held) == ("udp6", ())
        assert str(opened.where).lower() == f"udp://localhost:{port}"
        assert not opened.sock.getblocking()
        assert not os.get_inheritable(opened.sock.fileno())
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            with socket.socket(family, socket.SOCK_DGRAM) as peer:
                peer.bind((host, 0))
                peer.sendto(host.encode(), (host, port))
                data, known = received(opened)
                assert data == host.encode()
                assert Endpoint.from_sockaddr("udp", known) == Endpoint.from_sockaddr("udp", peer.getsockname())


@pytest.mark.parametrize(
    ("url", "kind", "host"),
    [
        ("udp://127.0.0.1:0", "udp4", "127.0.0.1"),
        ("udp4://:0", "udp4", "127.0.0.1"),
        ("udp6://:0", "udp6", "::1"),
        ("udp://[::1]:0", "udp6", "::1"),
        ("udp4://*:0?plaintext=yes", "udp4", "0.0.0.0"),
        ("udp6://*:0?plaintext=yes", "udp6", "::"),
        ("udp://[::]:0?plaintext=yes", "udp6", "::"),
        ("udp://*:0?plaintext=yes", "udp6", "::"),
        ("udp6://[::ffff:127.0.0.1]:0", "udp6", "::ffff:127.0.0.1"),
    ],
)
def test_one_socket_on_what_was_written(url: str, kind: str, host: str) -> None:
    with bound(url) as opened:
        assert (opened.kind, opened.sock.getsockname()[0], opened.held) == (kind, host, ())
        assert opened.where.port == opened.sock.getsockname()[1] != 0
        assert opened.where.query == Endpoint.parse(url).query
        if kind == "udp6":
            mapped = url.startswith(("udp://*", "udp6://[::ffff"))
            assert opened.sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == (not mapped)


def test_every_interface_is_one_socket_for_both_versions() -> None:
    with bound("udp://*:0?plaintext=yes") as opened:
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            with socket.socket(family, socket.SOCK_DGRAM) as peer:
                peer.sendto(b"x", (host, opened.where.port))
                received(opened)


def test_a_port_is_nobody_elses(tmp_path: Path) -> None:
    """Nor can anybody take a part of it, whatever he asks the kernel for."""
    with bound("udp://:0") as opened:
        port = opened.where.port
        assert refused(f"udp://:{port}").errno == errno.EADDRINUSE
        assert "ss -lpun" in str(refused(f"udp://:{port}"))
        assert refused(f"udp://127.0.0.1:{port}?share=yes").errno == errno.EADDRINUSE
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"), (socket.AF_INET, "0.0.0.0")):
            for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
                with socket.socket(family, socket.SOCK_DGRAM) as thief:
                    thief.setsockopt(socket.SOL_SOCKET, option, 1)
                    with pytest.raises(OSError) as raised:
                        thief.bind((host, port))
                    assert raised.value.errno == errno.EADDRINUSE


def test_a_port_of_one_address_is_not_taken_over() -> None:
    """No host is both addresses or none."""
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family, socket.SOCK_DGRAM) as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind((host, 0))
            assert refused(f"udp://:{other.getsockname()[1]}").errno == errno.EADDRINUSE


def test_processes_that_ask_for_it_share_a_port() -> None:
    with bound("udp://:0?share=yes") as first:
        with bound(str(first.where)) as second:
            assert second.where == first.where
            assert second.sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
            assert not second.sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
            assert refused(f"udp://:{first.where.port}").errno == errno.EADDRINUSE


def test_a_machine_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.socket

    def lacking(family: int, *rest: Any, **named: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "no such family")
        return real(family, *rest, **named)

    monkeypatch.setattr(socket, "socket", lacking)
    with bound("udp://:0") as opened:
        assert (opened.kind, opened.sock.getsockname()[0]) == ("udp4", "127.0.0.1")
    with bound("udp://*:0?plaintext=yes") as opened:
        assert (opened.kind, opened.sock.getsockname()[0]) == ("udp4", "0.0.0.0")
    assert refused("udp6://:0").errno == errno.EAFNOSUPPORT


class Old(socket.socket):
    """A socket of Linux before 5.7: only root may bind it to an interface."""

    def setsockopt(self, level: int, option: int, value: Any, *rest: Any) -> None:
        if option == options.SO_BINDTOIFINDEX and level == socket.SOL_SOCKET:
            raise PermissionError(errno.EPERM, "not permitted")
        super().setsockopt(level, option, value, *rest)


def test_an_old_kernel_holds_the_other_loopback_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", Old)
    with bound("udp://:0") as opened:
        (held,) = opened.held
        assert opened.sock.getsockname() == ("127.0.0.1", opened.where.port)
        assert held.getsockname()[:2] == ("::1", opened.where.port)
        assert opened.kind == "udp4"
        assert refused(f"udp://:{opened.where.port}").errno == errno.EADDRINUSE
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as other:
        other.bind(("::1", 0))
        assert refused(f"udp://:{other.getsockname()[1]}").errno == errno.EADDRINUSE
    with pytest.raises(SocketError, match=r"before Linux 5\.7.*CAP_NET_RAW"):
        at_once(datagram.open_bound(Endpoint.parse("udp://127.0.0.1:0?interface=lo"), ThreadDriver(), Limits()))


def test_an_old_kernel_tries_other_free_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first three that are free for 127.0.0.1 are somebody's on ::1."""
    monkeypatch.setattr(socket, "socket", Old)
    real, tries = datagram._bind, []

    def bind(sock: socket.socket, known: tuple[Any, ...], endpoint: Endpoint) -> None:
        if known[0] == "::1":
            tries.append(known[1])
            if len(tries) < 4:
                raise ListenError("bind", endpoint, "in use", errno.EADDRINUSE)
        real(sock, known, endpoint)

    monkeypatch.setattr(datagram, "_bind", bind)
    with bound("udp://:0?share=yes") as opened:
        assert len(tries) == 4
        assert opened.held
    monkeypatch.setattr(datagram, "FREE_PORT_TRIES", 1)
    tries.clear()
    assert refused("udp://:0").errno == errno.EADDRINUSE

    def absent(sock: socket.socket, known: tuple[Any, ...], endpoint: Endpoint) -> None:
        if known[0] == "::1":
            raise ListenError("bind", endpoint, "no such address", errno.EADDRNOTAVAIL)
        real(sock, known, endpoint)

    monkeypatch.setattr(datagram, "_bind", absent)
    with bound("udp://:0") as opened:
        assert opened.held == ()


def test_a_name_is_the_address_that_it_has() -> None:
    with bound("udp://name.test:0", Resolver("127.0.1.1")) as opened:
        assert str(opened.where) == f"udp://127.0.1.1:{opened.where.port}"
    with pytest.raises(ListenError, match=r"several addresses.*127\.0\.0\.2, 127\.0\.0\.3") as raised:
        at_once(datagram.open_bound(Endpoint.parse("udp://name.test:0"), Resolver("127.0.0.3", "127.0.0.2"), Limits()))
    assert (raised.value.operation, raised.value.errno) == ("bind", errno.EINVAL)


def test_an_address_that_this_machine_lacks() -> None:
    assert refused("udp://192.0.2.77:0?plaintext=yes").errno == errno.EADDRNOTAVAIL


def test_no_host_has_no_interface_but_its_own() -> None:
    error = refused("udp://:0?interface=eth9")
    assert "no host is this machine alone" in str(error)
    assert "udp://*:0?interface=eth9&plaintext=yes" in str(error)
    with bound("udp://:0?interface=lo"):
        pass


# --- who may hear


@pytest.mark.parametrize("host", ["*", "0.0.0.0", "[::]", "192.0.2.1", "239.1.2.3", "[ff02::1]", "255.255.255.255"])
def test_plain_text_beyond_this_machine_must_be_written_out(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def made(*_: object, **__: object) -> None:
        raise AssertionError("a socket was made")

    monkeypatch.setattr(socket, "socket", made)
    error = refused(f"udp://{host}:7")
    assert (error.errno, error.operation) == (errno.EPERM, "bind")
    assert f"udp://{host}:7?plaintext=yes" in str(error)
    if host not in ("*", "0.0.0.0", "[::]"):
        error = refused(f"udp://{host}:7", ConnectError)
        assert (error.errno, error.operation) == (errno.EPERM, "connect")
        assert f"udp://{host}:7?plaintext=yes" in str(error)


def test_what_is_bound_here_sends_here_only() -> None:
    for written in ("udp://:7", "udp://127.0.0.1:7", "udp://[::1]:7", "udp://:7?plaintext=yes"):
        where = Endpoint.parse(written)
        to = Endpoint.parse("udp://192.0.2.1:9")
        with pytest.raises(SocketError, match="stays on this machine") as raised:
            datagram.addressed(where, to, socket.AF_INET6)
        assert (raised.value.errno, raised.value.operation, raised.value.endpoint) == (errno.EPERM, "send", to)
        assert "udp://*:7?plaintext=yes" in str(raised.value)
        for near in ("udp://127.0.0.9:9", "udp://:9", "udp://[::1]:9"):
            assert datagram.addressed(where, Endpoint.parse(near), socket.AF_INET6) == packed(
                Endpoint.parse(near), socket.AF_INET6
            )
    everywhere = Endpoint.parse("udp://*:7?plaintext=yes")
    assert datagram.addressed(everywhere, to, socket.AF_INET) == packed(to, socket.AF_INET)
    unnamed = Endpoint.parse("dgram+unix://@name")
    assert datagram.addressed(unnamed, unnamed, socket.AF_UNIX) == packed(unnamed, socket.AF_UNIX)
    with pytest.raises(EndpointError, match="resolve the name"):
        datagram.addressed(everywhere, Endpoint.parse("udp://example.org:9"), socket.AF_INET)


# --- connecting


@pytest.mark.parametrize("host", ["", "127.0.0.1", "[::1]"])
def test_connected_it_has_one_peer(host: str) -> None:
    with bound("udp://:0") as there, connected(f"udp://{host}:{there.where.port}") as opened:
        assert opened.kind == ("udp6" if host == "[::1]" else "udp4")
        assert str(opened.where) == f"udp://{host or '127.0.0.1'}:{there.where.port}"
        assert not opened.sock.getblocking()
        opened.sock.send(b"x")
        data, known = received(there)
        assert data == b"x"
        there.sock.sendto(b"y", known)
        assert received(opened)[0] == b"y"
        with socket.socket(opened.sock.family, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(b"z", opened.sock.getsockname())
        with pytest.raises(TimeoutError):
            opened.sock.settimeout(0.01)
            opened.sock.recv(10)


def test_the_first_address_that_can_be_a_peer_is_taken() -> None:
    driver = Resolver("192.0.2.1", "127.0.0.2", "127.0.0.1")
    with connected("udp://name.test:7", driver) as opened:
        assert str(opened.where) == "udp://127.0.0.2:7"
    with pytest.raises(ConnectError) as raised:
        at_once(
            datagram.connect_socket(Endpoint.parse("udp://name.test:7"), Resolver("192.0.2.1", "2001:db8::1"), Limits())
        )
    assert [attempt.errno for attempt in raised.value.attempts] == [errno.EPERM] * 2


def test_nobody_has_port_0() -> None:
    assert refused("udp://:0", ConnectError).errno == errno.EADDRNOTAVAIL


def test_it_does_not_meet_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own port is the one that it calls: the kernel is asked until it gives that."""

    class Meeting(socket.socket):
        def connect(self, known: Any) -> None:
            self.bind(known)
            super().connect(known)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(socket, "socket", Meeting)
    error = refused(f"udp://127.0.0.1:{port}", ConnectError)
    assert (error.errno, error.reason) == (errno.ECONNREFUSED, "it met itself: nothing is bound there")


def test_a_broadcast_address_must_be_written_out() -> None:
    error = refused("udp://127.255.255.255:9", ConnectError)
    assert error.errno == errno.EACCES
    assert "write udp://127.255.255.255:9?broadcast=yes" in str(error)
    with connected("udp://127.255.255.255:9?broadcast=yes") as opened:
        assert opened.sock.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST)


@pytest.mark.parametrize("url", ["udp://[fe80::1]:9009?plaintext=yes", "udp://[ff02::1]:9009?plaintext=yes"])
def test_an_address_of_each_network_needs_an_interface(url: str) -> None:
    for kind in (ListenError, ConnectError):
        error = refused(url, kind)
        assert error.errno == errno.EINVAL
        assert "say which, as in udp://[f" in str(error)
        assert "interface=eth0" in str(error)


# --- options, as the kernel has them


def option(sock: socket.socket, level: int, name: int) -> int:
    return sock.getsockopt(level, name)


def test_what_is_reported_with_datagrams() -> None:
    with bound("udp://*:0?plaintext=yes") as opened:
        sock = opened.sock
        assert option(sock, socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO) == 1
        assert option(sock, socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS) == 1
        assert option(sock, socket.IPPROTO_IPV6, options.IPV6_RECVERR) == 1
        assert option(sock, socket.IPPROTO_IP, options.IP_RECVERR) == 1
        assert option(sock, socket.IPPROTO_IP, socket.IP_RECVTOS) == 1
        assert option(sock, socket.SOL_SOCKET, options.SO_TIMESTAMPNS) == 1
        assert option(sock, datagram.SOL_UDP, datagram.UDP_GRO) == 1
    with bound("udp4://*:0?plaintext=yes") as opened:
        assert option(opened.sock, socket.IPPROTO_IP, options.IP_PKTINFO) == 1
        assert option(opened.sock, socket.IPPROTO_IP, options.IP_MULTICAST_ALL) == 0
    with bound("udp://127.0.0.1:0") as opened:
        assert option(opened.sock, socket.IPPROTO_IP, options.IP_PKTINFO) == 0, "there is one address only"
        assert option(opened.sock, socket.IPPROTO_IP, socket.IP_RECVTOS) == 1
        with connected(str(opened.where)) as peer:
            assert option(peer.sock, socket.IPPROTO_IP, options.IP_RECVERR) == 1
            assert option(peer.sock, socket.IPPROTO_IP, socket.IP_RECVTOS) == 0
            assert option(peer.sock, socket.SOL_SOCKET, options.SO_TIMESTAMPNS) == 0
            assert option(peer.sock, datagram.SOL_UDP, datagram.UDP_GRO) == 1


def test_an_old_kernel_merges_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datagram, "UDP_GRO", 9999)
    with bound("udp://:0"):
        pass


@pytest.mark.parametrize("open_", [bound, connected])
def test_what_the_address_asks_for(open_: Callable[[str], Any]) -> None:
    query = "hops=7&fragment=no&loop=no&broadcast=yes&interface=lo"
    with open_(f"udp://127.0.0.1:{0 if open_ is bound else 9}?{query}") as opened:
        sock = opened.sock
        assert option(sock, socket.IPPROTO_IP, socket.IP_TTL) == 7
        assert option(sock, socket.IPPROTO_IP, socket.IP_MULTICAST_TTL) == 7
        assert option(sock, socket.IPPROTO_IP, options.IP_MTU_DISCOVER) == options.PMTUDISC_DO
        assert option(sock, socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP) == 0
        assert option(sock, socket.SOL_SOCKET, socket.SO_BROADCAST) == 1
        assert option(sock, socket.SOL_SOCKET, options.SO_BINDTOIFINDEX) == 1
    with open_(f"udp6://[::1]:{0 if open_ is bound else 9}?hops=7&fragment=no&loop=no&interface=lo") as opened:
        sock = opened.sock
        assert option(sock, socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS) == 7
        assert option(sock, socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS) == 7
        assert option(sock, socket.IPPROTO_IPV6, options.IPV6_MTU_DISCOVER) == options.PMTUDISC_DO
        assert option(sock, socket.IPPROTO_IPV6, socket.IPV6_DONTFRAG) == 1
        assert option(sock, socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP) == 0
        assert option(sock, socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF) == 1


def test_by_default_nothing_of_it_is_set() -> None:
    with bound("udp://127.0.0.1:0") as opened:
        assert option(opened.sock, socket.SOL_SOCKET, socket.SO_BROADCAST) == 0
        assert option(opened.sock, socket.SOL_SOCKET, socket.SO_REUSEADDR) == 0
        assert option(opened.sock, socket.SOL_SOCKET, socket.SO_REUSEPORT) == 0
        assert option(opened.sock, socket.SOL_SOCKET, options.SO_BINDTOIFINDEX) == 0
        assert option(opened.sock, socket.IPPROTO_IP, options.IP_MTU_DISCOVER) != options.PMTUDISC_DO


@pytest.mark.parametrize("kind", [ListenError, ConnectError])
def test_no_such_interface(kind: type[SocketError]) -> None:
    opening = datagram.open_bound if kind is ListenError else datagram.connect_socket
    for url in ("udp://127.0.0.1:9?interface=missing", "udp://[ff02::1]:9?interface=missing&plaintext=yes"):
        with pytest.raises(SocketError, match="no interface missing: `ip link`") as raised:
            at_once(opening(Endpoint.parse(url), ThreadDriver(), Limits()))
        assert raised.value.errno == errno.ENODEV


# --- groups, on the loopback interface


def send_to_group(group: str, port: int, data: bytes = b"x", source: str | None = None) -> None:
    """IPv4 only: Linux routes no group of IPv6 to the loopback interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        options.send_groups_by(sender, "lo", Endpoint.parse("udp://:1"), "send")
        if source:
            sender.bind((source, 0))
        sender.sendto(data, (group, port))


def test_bound_to_a_group_it_hears_that_alone() -> None:
    with bound("udp://239.7.7.7:0?interface=lo&plaintext=yes&share=yes") as first:
        assert first.where.port is not None
        assert first.sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        with bound(str(first.where)) as second:
            send_to_group("239.7.7.7", first.where.port)
            for each in (first, second):
                assert received(each)[0] == b"x", "each has a copy"
            with bound(f"udp://239.7.7.8:{first.where.port}?interface=lo&plaintext=yes") as other:
                send_to_group("239.7.7.8", first.where.port)
                assert received(other)[0] == b"x"
                first.sock.setblocking(False)
                with pytest.raises(BlockingIOError):
                    first.sock.recv(10)
    with bound("udp://239.7.7.7:0?interface=lo&plaintext=yes") as alone:
        assert refused(str(alone.where)).errno == errno.EADDRINUSE


def test_joined_and_left() -> None:
    group = "239.7.7.7"
    with bound("udp://*:0?plaintext=yes") as opened:
        assert opened.where.port is not None
        datagram.join(opened.sock, group, "lo")
        send_to_group(group, opened.where.port, b"1")
        assert received(opened)[0] == b"1"
        with pytest.raises(SocketError, match="has joined it already") as raised:
            datagram.join(opened.sock, group, "lo")
        assert raised.value.operation == "join"
        datagram.leave(opened.sock, group, "lo")
        send_to_group(group, opened.where.port, b"2")
        datagram.join(opened.sock, f"{group}%lo")
        send_to_group(group, opened.where.port, b"3")
        assert received(opened)[0] == b"3", "what was sent in between was not for us"
        datagram.leave(opened.sock, group, "lo")
        with pytest.raises(SocketError, match="has not joined it") as raised:
            datagram.leave(opened.sock, group, "lo")
        assert raised.value.operation == "leave"


def test_a_group_of_another_socket_is_not_heard() -> None:
    """The kernel's default gives what one socket has joined to every wildcard socket on the port."""
    with bound("udp4://*:0?plaintext=yes&share=yes") as first:
        assert first.where.port is not None
        with bound(str(first.where)) as second:
            datagram.join(first.sock, "239.7.7.7", "lo")
            send_to_group("239.7.7.7", first.where.port)
            assert received(first)[0] == b"x"
            with pytest.raises(BlockingIOError):
                second.sock.recv(10)


def test_one_source_alone() -> None:
    with bound("udp://*:0?plaintext=yes") as opened:
        assert opened.where.port is not None
        datagram.join(opened.sock, "232.7.7.7", "lo", "127.0.0.5")
        send_to_group("232.7.7.7", opened.where.port, b"other", "127.0.0.6")
        send_to_group("232.7.7.7", opened.where.port, b"meant", "127.0.0.5")
        assert received(opened)[0] == b"meant"
        datagram.leave(opened.sock, "232.7.7.7", "lo", "127.0.0.5")
        with pytest.raises(SocketError, match="leave"):
            datagram.leave(opened.sock, "232.7.7.7", "lo", "127.0.0.5")
        datagram.join(opened.sock, "ff3e::7:7", "lo", "2001:db8::5")
        datagram.leave(opened.sock, "ff3e::7:7", "lo", "2001:db8::5")


@pytest.mark.parametrize(
    ("url", "group", "reason"),
    [
        ("udp://*:0?plaintext=yes", "192.0.2.1", "not a multicast address"),
        ("udp://*:0?plaintext=yes", "name.test", "not a multicast address"),
        ("udp://*:0?plaintext=yes", "2001:db8::1", "not a multicast address"),
        ("udp4://*:0?plaintext=yes", "ff02::7", "a group of IPv6"),
        ("udp6://*:0?plaintext=yes", "239.7.7.7", "a group of IPv4"),
        ("udp://127.0.0.1:0", "239.7.7.7", "bound to 127.0.0.1 and hears nothing else"),
        ("udp://:0", "239.7.7.7", "hears no network"),
    ],
)
def test_a_group_that_cannot_be_heard(url: str, group: str, reason: str) -> None:
    with bound(url) as opened, pytest.raises(EndpointError, match=reason):
        datagram.join(opened.sock, group)


def test_joining_on_no_such_interface() -> None:
    with bound("udp://*:0?plaintext=yes") as opened:
        with pytest.raises(SocketError, match="no interface missing"):
            datagram.join(opened.sock, "239.7.7.7", "missing")


@pytest.mark.privileged
def test_where_no_route_leads_to_a_group(program: Callable[[str], str]) -> None:
    code = textwrap.dedent(
        """
        from tests.types.test_datagram import *
        with bound("udp4://*:0?plaintext=yes") as opened:
            for call in (datagram.join, datagram.leave):
                try:
                    call(opened.sock, "239.7.7.7")
                except SocketError as error:
                    print(error.errno, error.reason)
        """
    )
    command = [program("unshare"), "--net", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=Path(__file__).parents[2])
    said = f"{errno.ENODEV} no route leads to the group: say by which interface, with interface="
    assert (done.stdout.splitlines()[0], done.stderr) == (said, "")


# --- two machines and a wire


@pytest.fixture
def network() -> Iterator[Network]:
    remove_leftovers()
    with Network("here", "there") as network:
        yield network


def run_python(host: Host, code: str) -> str:
    prelude = "import socket\nfrom tests.types.test_datagram import bound, connected, datagram, received\n"
    return host.run(sys.executable, "-c", prelude + textwrap.dedent(code))


@pytest.mark.slow
@pytest.mark.privileged
def test_no_host_is_reached_by_nobody_else(network: Network) -> None:
    """What the other end sends does not arrive, and nothing leaves for it."""
    here, there = network["here"], network["there"]
    ear = there.start(
        sys.executable,
        "-c",
        "from tests.types.test_datagram import *\n"
        "with bound('udp://*:9999?plaintext=yes') as opened:\n"
        "    print('up', flush=True)\n"
        "    print(received(opened)[0])\n",
        stdout=subprocess.PIPE,
        text=True,
    )
    assert ear.stdout is not None
    assert ear.stdout.readline() == "up\n"
    said = run_python(
        here,
        f"""
        import subprocess, sys
        speak = "import socket, sys; socket.socket(2, 2).sendto(b'in', ('{here.ip4}', int(sys.argv[1])))"
        with bound("udp://:0") as alone, bound("udp://*:0?plaintext=yes") as everywhere:
            for opened in (alone, everywhere):
                there = ["ip", "netns", "exec", "{there.namespace}", sys.executable, "-c", speak]
                subprocess.run([*there, str(opened.where.port)], check=True)
            print(received(everywhere)[0])
            try:
                print(alone.sock.recv(10))
            except BlockingIOError:
                print("nothing came")
            try:
                alone.sock.sendto(b"mine", ("::ffff:{there.ip4}", 9999))
            except OSError as error:
                print("not sent")
            everywhere.sock.sendto(b"out", ("::ffff:{there.ip4}", 9999))
        """,
    )
    assert said.removesuffix("not sent\n") == "b'in'\nnothing came\n"
    assert ear.stdout.readline() == "b'out'\n"


@pytest.mark.slow
@pytest.mark.privileged
def test_groups_on_a_network(network: Network) -> None:
    """Both versions; by the interface that was written, and unheard by ourselves if asked."""
    said = run_python(
        network["here"],
        """
        for group, written in (("239.7.7.7", "239.7.7.7"), ("ff02::7:7", "[ff02::7:7]")):
            query = "?interface=eth0&plaintext=yes"
            with bound(f"udp://*:0?plaintext=yes") as all_, bound(f"udp://{written}:0{query}") as one:
                datagram.join(all_.sock, group, "eth0")
                for opened in (all_, one):
                    with connected(f"udp://{written}:{opened.where.port}{query}&hops=3&loop=no") as sender:
                        sender.sock.send(b"unheard")
                    with connected(f"udp://{written}:{opened.where.port}{query}") as sender:
                        sender.sock.send(b"heard")
                    print(received(opened)[0])
                datagram.leave(all_.sock, group + "%eth0")
                with connected(f"udp://{written}:{all_.where.port}{query}") as sender:
                    sender.sock.send(b"left")
                    datagram.join(all_.sock, group, "eth0")
                    sender.sock.send(b"joined")
                print(received(all_)[0])
        """,
    )
    assert said == 2 * "b'heard'\nb'heard'\nb'joined'\n"


@pytest.mark.slow
@pytest.mark.privileged
def test_a_datagram_too_large_for_the_path_is_not_cut_up(network: Network) -> None:
    said = run_python(
        network["here"],
        f"""
        for host in ("{network["there"].ip4}", "[{network["there"].ip6}]"):
            for query in ("plaintext=yes", "plaintext=yes&fragment=no"):
                with connected(f"udp://{{host}}:9?{{query}}") as opened:
                    try:
                        opened.sock.send(bytes(3000))
                        print("sent")
                    except OSError as error:
                        print(error.errno)
        """,
    )
    assert said == 2 * f"sent\n{errno.EMSGSIZE}\n"


@pytest.mark.privileged
def test_nobody_needs_to_be_root(program: Callable[[str], str]) -> None:
    code = "from tests.types.test_datagram import *\nwith bound('udp://:0?interface=lo') as opened: print(opened.kind)"
    command = [program("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=Path(__file__).parents[2])
    if "Permission denied" in done.stderr:
        pytest.skip("this interpreter is root's own")
    assert (done.stdout, done.stderr) == ("udp6\n", "")


# --- Unix


def test_a_path_is_its_owners_only_and_goes_with_it(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with bound(f"dgram+unix://{path}") as opened:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert (opened.kind, str(opened.where)) == ("unix-datagram", f"dgram+unix://{path}")
        assert not opened.sock.getblocking()
    assert not path.exists()
    with bound(f"dgram+unix://{path}?mode=0660"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_SEQPACKET, socket.SOCK_STREAM])
def test_a_live_socket_is_never_replaced_and_a_dead_one_is(tmp_path: Path, kind: socket.SocketKind) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, kind) as other:
        other.bind(str(path))
        error = refused(f"dgram+unix://{path}")
        assert (error.errno, error.operation) == (errno.EADDRINUSE, "bind")
    with bound(f"dgram+unix://{path}"):
        assert refused(f"dgram+unix://{path}").errno == errno.EADDRINUSE


def test_a_connected_live_socket_is_not_replaced(tmp_path: Path) -> None:
    """It takes nothing from our look, and says so (EPERM)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one, bound(f"dgram+unix://{tmp_path}/other") as other:
        one.bind(f"{tmp_path}/one")
        one.connect(str(other.where.path))
        assert refused(f"dgram+unix://{tmp_path}/one").errno == errno.EADDRINUSE
        error = refused(f"dgram+unix://{tmp_path}/one", ConnectError)
        assert (error.errno, error.reason) == (
            errno.EPERM,
            "the socket there has a peer of its own, and takes nothing from others",
        )


@pytest.mark.parametrize("place", ["path", "abstract"])
def test_a_peer_can_answer(tmp_path: Path, place: str) -> None:
    name = f"{tmp_path}/socket" if place == "path" else f"@socketkit-test-{os.getpid()}"
    with bound(f"dgram+unix://{name}") as there, connected(f"dgram+unix://{name}") as opened:
        assert (opened.kind, opened.where) == ("unix-datagram", there.where)
        opened.sock.send(b"question")
        data, known = received(there)
        assert (data, known[:1]) == (b"question", b"\0")
        there.sock.sendto(b"answer", known)
        assert received(opened)[0] == b"answer"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger, pytest.raises(PermissionError):
            stranger.sendto(b"forged", known)


def test_nobody_there(tmp_path: Path) -> None:
    assert refused(f"dgram+unix://{tmp_path}/missing", ConnectError).errno == errno.ENOENT
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
        dead.bind(f"{tmp_path}/dead")
    assert refused(f"dgram+unix://{tmp_path}/dead", ConnectError).errno == errno.ECONNREFUSED
    with socket.socket(socket.AF_UNIX) as stream:
        stream.bind(f"{tmp_path}/stream")
        error = refused(f"dgram+unix://{tmp_path}/stream", ConnectError)
        assert (error.errno, error.reason.partition(":")[0]) == (errno.EPROTOTYPE, "another kind of socket is there")


@pytest.fixture
def stranger(monkeypatch: pytest.MonkeyPatch) -> int:
    """This process's sockets are those of another user, who is not root either. His number."""
    me = os.geteuid()
    monkeypatch.setattr(unix, "ROOT", -1)
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    return me


@pytest.mark.parametrize("place", ["path", "abstract"])
@pytest.mark.parametrize("told", [True, False])
def test_a_strangers_socket(
    tmp_path: Path, stranger: int, place: str, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told by the kernel's table or, without one, by the path; an abstract name is nobody's then."""
    if not told:
        monkeypatch.setattr(datagram, "peer_owner", lambda sock: None)
    name = f"{tmp_path}/socket" if place == "path" else f"@socketkit-test-{os.getpid()}"
    with bound(f"dgram+unix://{name}"):
        error = refused(f"dgram+unix://{name}", ConnectError)
        assert error.errno == errno.EPERM
        if told or place == "path":
            assert f"user {pwd.getpwuid(stranger).pw_name} (uid {stranger})" in str(error)
            with connected(f"dgram+unix://{name}?uid={stranger}"):
                pass
        else:
            assert "the kernel does not tell who has this name" in str(error)
    assert not (tmp_path / "socket").exists()
