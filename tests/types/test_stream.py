"""TCP: names, addresses, Happy Eyeballs against a resolver and networks of our own making."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from socketkit import ConnectError, Endpoint, Limits, ListenError, SocketError, Stream, connect, listen, race
from socketkit.drivers import LoopDriver
from socketkit.errors import EndpointError
from socketkit.opening import open_listener, open_stream
from socketkit.types import stream as tcp
from tests.conftest import Run

pytestmark = pytest.mark.usefixtures("no_leaks")


class Resolver(LoopDriver):
    """The running loop's driver, with names of the test's."""

    def __init__(self, answers: Sequence[tuple[int, tuple[Any, ...]]] | OSError) -> None:
        real = LoopDriver.current()
        self.reactor = real.reactor
        self.asked: list[tuple[str, int, int]] = []
        self._answers = answers

    async def resolve(self, host: str, port: int, family: int) -> Sequence[tuple[int, tuple[Any, ...]]]:
        self.asked.append((host, port, family))
        if isinstance(self._answers, OSError):
            raise self._answers
        return [(known, (address, port, *rest)) for known, (address, *rest) in self._answers]


def v4(address: str) -> tuple[int, tuple[Any, ...]]:
    return socket.AF_INET, (address,)


@pytest.fixture
def blackhole() -> Iterator[tuple[str, int]]:
    """An address at which connecting neither succeeds nor fails: its backlog is full, and nobody accepts."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.9", 0))
        listener.listen(0)
        callers = []
        for _ in range(3):
            caller = socket.socket()
            caller.setblocking(False)
            caller.connect_ex(listener.getsockname())
            callers.append(caller)
        yield listener.getsockname()
        for caller in callers:
            caller.close()


async def _accept_one(listener: Any) -> None:
    (await listener.accept()).abort()


def test_the_next_address_is_tried_while_the_first_one_hangs(run: Run, blackhole: tuple[str, int]) -> None:
    host, port = blackhole

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with listen(f"tcp://127.0.0.1:{port}") as listener:
            driver = Resolver([v4(host), v4("127.0.0.1")])
            begun = loop.time()
            stream = await open_stream(Stream, f"tcp://example.test:{port}", driver, Limits())
            assert loop.time() - begun > 0.2
            assert str(stream.peer.endpoint) == f"tcp://127.0.0.1:{port}"
            assert driver.asked == [("example.test", port, socket.AF_UNSPEC)]
            await _accept_one(listener)
            stream.abort()

    run(main())


def test_a_refusal_is_not_waited_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(race, "ATTEMPT_DELAY_SECONDS", 60.0)

    async def main() -> None:
        async with listen("tcp://127.0.0.1:0") as listener:
            driver = Resolver([v4("127.0.0.2"), v4("127.0.0.3"), v4("127.0.0.1")])
            stream = await open_stream(Stream, f"tcp://example.test:{listener.local.port}", driver, Limits())
            await _accept_one(listener)
            stream.abort()

    run(main())


def test_every_attempt_is_in_the_error(run: Run) -> None:
    async def main() -> None:
        port = _free_port()
        driver = Resolver([v4("127.0.0.2"), v4("127.0.0.3"), (socket.AF_INET6, ("::1", 0, 0))])
        with pytest.raises(ConnectError) as raised:
            await open_stream(Stream, f"tcp://example.test:{port}", driver, Limits())
        error = raised.value
        assert [str(attempt.endpoint) for attempt in error.attempts] == [
            f"tcp://127.0.0.2:{port}",
            f"tcp://[::1]:{port}",
            f"tcp://127.0.0.3:{port}",
        ]
        assert all(isinstance(attempt, SocketError) for attempt in error.attempts)
        assert error.errno == errno.ECONNREFUSED
        assert error.transient
        assert error.__cause__ is error.attempts[-1]
        tried = f"tried tcp://127.0.0.2:{port}, tcp://[::1]:{port}, tcp://127.0.0.3:{port}"
        assert str(error) == f"connect tcp://example.test:{port}: refused: nothing listens there ({tried})"

    run(main())


def test_of_a_name_only_the_addresses_of_this_machine_are_connected(run: Run) -> None:
    """In plain text. What it may not connect is an attempt that failed, and no socket was made for it."""

    async def main() -> None:
        port = _free_port()
        driver = Resolver([v4("192.0.2.1"), v4("127.0.0.2"), (socket.AF_INET6, ("2001:db8::1", 0, 0))])
        with pytest.raises(ConnectError) as raised:
            await open_stream(Stream, f"tcp://example.test:{port}", driver, Limits())
        said = [(str(attempt.endpoint), attempt.errno) for attempt in raised.value.attempts]
        assert said == [
            (f"tcp://192.0.2.1:{port}", errno.EPERM),
            (f"tcp://[2001:db8::1]:{port}", errno.EPERM),
            (f"tcp://127.0.0.2:{port}", errno.ECONNREFUSED),
        ]
        assert f"write tls://example.test:{port} to encrypt it" in str(raised.value)
        async with listen(f"tcp://127.0.0.2:{port}") as listener:
            stream = await open_stream(Stream, f"tcp://example.test:{port}", driver, Limits())
            assert str(stream.peer.endpoint) == f"tcp://127.0.0.2:{port}"
            await _accept_one(listener)
            stream.abort()

    run(main())


def test_a_name_that_leaves_this_machine_is_refused_once(run: Run) -> None:
    async def main() -> None:
        driver = Resolver([v4("192.0.2.1"), v4("192.0.2.2")])
        with pytest.raises(ConnectError) as raised:
            await open_stream(Stream, "tcp://example.test:80", driver, Limits())
        assert raised.value.errno == errno.EPERM
        assert str(raised.value) == (
            "connect tcp://example.test:80: plain text could be read and changed on its way: "
            "write tls://example.test:80 to encrypt it, or tcp://example.test:80?plaintext=yes to allow it "
            "(tried tcp://192.0.2.1:80, tcp://192.0.2.2:80)"
        )

    run(main())


def test_a_relay_goes_where_a_connect_would() -> None:
    here, there = (socket.AF_INET, ("127.0.0.1", 80)), (socket.AF_INET, ("192.0.2.1", 80))
    plain, encrypted = Endpoint.parse("tcp://h:80"), Endpoint.parse("tls://h:80")
    assert tcp.permitted(plain, [there, here]) == [here]
    assert tcp.permitted(plain.replace(query={"plaintext": "yes"}), [there, here]) == [there, here]
    assert tcp.permitted(encrypted, [there]) == [there]
    with pytest.raises(ConnectError, match="plaintext=yes") as raised:
        tcp.permitted(plain, [there])
    assert [str(attempt.endpoint) for attempt in raised.value.attempts] == ["tcp://192.0.2.1:80"]


def test_reasons_that_differ_are_all_said() -> None:
    one, other = (Endpoint.parse(f"tcp://{host}:80") for host in ("127.0.0.2", "[::1]"))
    refused, unreachable = (
        SocketError("connect", where, reason) for where, reason in ((one, "refused"), (other, "no route"))
    )
    assert tcp._in_one([refused, unreachable]) == (
        "every address failed (tcp://127.0.0.2:80: refused; tcp://[::1]:80: no route)"
    )
    assert tcp._in_one([refused, refused]) == "refused (tried tcp://127.0.0.2:80, tcp://127.0.0.2:80)"


def test_connect_seconds_ends_it(run: Run, blackhole: tuple[str, int]) -> None:
    host, port = blackhole

    async def main() -> None:
        for addresses in ([v4(host)], [v4(host), v4("127.0.0.2")]):
            with pytest.raises(ConnectError, match=r"no answer within 0.1 s"):
                limits = Limits(connect_seconds=0.1)
                await open_stream(Stream, f"tcp://example.test:{port}", Resolver(addresses), limits)

    run(main())


def test_the_callers_own_time_limit_is_his(run: Run, blackhole: tuple[str, int]) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError) as raised:
            async with asyncio.timeout(0.05):
                await connect(f"tcp://{blackhole[0]}:{blackhole[1]}")
        assert not isinstance(raised.value, ConnectError)

    run(main())


def test_a_cancelled_race_leaves_nothing(run: Run, blackhole: tuple[str, int]) -> None:
    host, port = blackhole

    async def main() -> None:
        for rounds in range(8):
            driver = Resolver([v4(host), v4("127.0.0.2"), v4(host)])
            racing = asyncio.ensure_future(open_stream(Stream, f"tcp://example.test:{port}", driver, Limits()))
            await asyncio.sleep(0.04 * rounds)
            racing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await racing
            assert len(asyncio.all_tasks()) == 1

    run(main())


def test_localhost_is_reached_by_either_family(run: Run) -> None:
    async def main() -> None:
        async with listen("tcp6://[::1]:0") as listener, connect(f"tcp://localhost:{listener.local.port}") as stream:
            assert stream.peer.endpoint.host == "::1"
            await _accept_one(listener)
            with pytest.raises(ConnectError):
                await connect(f"tcp4://localhost:{listener.local.port}")

    run(main())


def test_localhost_is_not_resolved(run: Run) -> None:
    """A hosts file must not send it elsewhere (RFC 6761)."""

    async def main() -> None:
        driver = Resolver(OSError("asked"))
        port = _free_port()
        for host in ("localhost", "LOCALHOST", ""):
            with pytest.raises(ConnectError, match=r"127\.0\.0\.1"):
                await open_stream(Stream, f"tcp://{host}:{port}", driver, Limits())
        assert driver.asked == []

    run(main())


def test_an_address_in_numbers_needs_no_resolver_and_no_thread(run: Run) -> None:
    async def main() -> None:
        before = threading.active_count()
        for host in ("127.0.0.1", "[::1]"):
            async with listen(f"tcp://{host}:0") as listener:
                driver = Resolver(OSError("asked"))
                stream = await open_stream(Stream, listener.local, driver, Limits())
                assert driver.asked == []
                stream.abort()
        assert threading.active_count() == before

    run(main())


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (socket.EAI_NONAME, "unknown name: check its spelling"),
        (socket.EAI_AGAIN, "cannot be resolved now"),
        (socket.EAI_NODATA, "no address of this family"),
    ],
)
def test_an_unknown_name(run: Run, number: int, text: str) -> None:
    async def main() -> None:
        driver = Resolver(socket.gaierror(number, "as the C library says"))
        with pytest.raises(ConnectError, match=text) as raised:
            await open_stream(Stream, "tcp://no-such-name.test:80", driver, Limits())
        assert str(raised.value).startswith("connect tcp://no-such-name.test:80: ")
        from socketkit import Listener

        with pytest.raises(ListenError, match=text):
            await open_listener(Listener, Stream, "tcp://no-such-name.test:80", driver, Limits())

    run(main())


def test_a_name_that_is_none(run: Run) -> None:
    async def main() -> None:
        for host in ("a" * 70 + ".test", "a..b"):
            with pytest.raises((ConnectError, EndpointError)):
                await connect(f"tcp://{host}:80")

    run(main())


def test_a_connection_to_itself_is_none(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simultaneous open (RFC 9293 §3.5): connecting from a free port to that very port succeeds."""
    real = socket.socket

    class Bound(real):
        def connect_ex(self, address: Any) -> int:
            self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.bind(address)
            return super().connect_ex(address)

    async def main() -> None:
        LoopDriver.current()
        monkeypatch.setattr(tcp.socket, "socket", Bound)
        try:
            with pytest.raises(ConnectError, match="met itself"):
                await connect(f"tcp://127.0.0.1:{_free_port()}")
        finally:
            monkeypatch.undo()

    run(main())


def test_one_free_port_for_both_families(run: Run) -> None:
    async def main() -> None:
        for _ in range(20):
            async with listen("tcp://:0") as listener:
                assert len(listener._filenos) == 2
                assert listener.local.port

    run(main())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_localhost_is_taken_whole_or_not_at_all(run: Run, host: str) -> None:
    """Else who has the other half would get the callers that try it first."""

    async def main() -> None:
        with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as other:
            port = other.getsockname()[1]
            for name in ("", "localhost"):
                with pytest.raises(ListenError, match="in use"):
                    await listen(f"tcp://{name}:{port}")

    run(main())


THIEF = """
import os, socket, sys

def steal(family, host, port):
    with socket.socket(family) as thief:
        if family == socket.AF_INET6:
            thief.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            thief.bind((host, port))
            thief.listen()
        except OSError as error:
            return error.strerror

os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[2]))
print(*(
    steal(family, host, int(sys.argv[1]))
    for family, hosts in ((socket.AF_INET, ("127.0.0.1", "0.0.0.0")), (socket.AF_INET6, ("::1", "::")))
    for host in hosts
    for _ in range(10)
), sep=",")
"""


@pytest.mark.parametrize("user", [pytest.param(65534, marks=pytest.mark.privileged), os.getuid()])
@pytest.mark.parametrize("url", ["tcp://:0", "tcp://*:0?plaintext=yes"])
def test_nobody_else_can_bind_the_port(run: Run, url: str, user: int) -> None:
    """Neither another user nor we ourselves, with every option that shares ports; not even one address of many."""

    async def main() -> None:
        async with listen(url) as listener:
            for fd in listener._filenos:
                with socket.socket(fileno=os.dup(fd)) as sock:
                    assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
            command = (sys.executable, "-S", "-c", THIEF, str(listener.local.port), str(user))
            thief = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
            said, _ = await thief.communicate()
            assert said.decode().strip().split(",") == ["Address already in use"] * 40

    run(main())


def test_a_free_port_that_the_other_family_lacks_is_passed_over(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    real, tried = tcp._bind, []

    def bind(family: int, sockaddr: tuple[Any, ...], limits: Limits) -> socket.socket:
        tried.append((family, sockaddr[1]))
        if family == socket.AF_INET6 and len(tried) < 6:
            raise OSError(errno.EADDRINUSE, "taken")
        return real(family, sockaddr, limits)

    monkeypatch.setattr(tcp, "_bind", bind)

    async def main() -> None:
        tried.clear()
        async with listen("tcp://:0"):
            assert len(tried) == 6

    run(main())


@pytest.mark.parametrize("missing", [socket.AF_INET, socket.AF_INET6])
def test_a_machine_with_one_family_is_served_by_it(run: Run, monkeypatch: pytest.MonkeyPatch, missing: int) -> None:
    real = tcp._bind

    def bind(family: int, sockaddr: tuple[Any, ...], limits: Limits) -> socket.socket:
        if family == missing:
            raise OSError(errno.EAFNOSUPPORT, "no such family")
        return real(family, sockaddr, limits)

    monkeypatch.setattr(tcp, "_bind", bind)
    loopback = "127.0.0.1" if missing == socket.AF_INET else "::1"

    async def is_served() -> bool:
        async with listen("tcp://:0") as listener:
            # The family is not really missing: another program may have this port there, and would be called instead.
            with socket.socket(missing) as nobody:
                try:
                    nobody.bind((loopback, listener.local.port))
                except OSError as taken:
                    assert taken.errno == errno.EADDRINUSE
                    return False
                async with connect(listener.local):
                    await _accept_one(listener)
                    return True

    async def main() -> None:
        while not await is_served():
            pass

    run(main())


def test_connections_do_not_wait_to_fill_segments(run: Run) -> None:
    async def main() -> None:
        async with listen("tcp://127.0.0.1:0") as listener, connect(listener.local) as ours:
            theirs = await listener.accept()
            for stream in (ours, theirs):
                with socket.socket(fileno=stream.fileno()) as sock:
                    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                    sock.detach()
            theirs.abort()

    run(main())


def test_an_endpoint_is_taken_as_it_is(run: Run) -> None:
    async def main() -> None:
        async with listen(Endpoint.parse("tcp4://127.0.0.1:0")) as listener:
            assert listener.local.scheme == "tcp4"
            async with connect(listener.local) as stream:
                assert stream.peer.endpoint == listener.local
                await _accept_one(listener)

    run(main())


def _free_port() -> int:
    """A port on which nobody listens, outside the range from which the kernel takes free ones for others."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
