"""`socketkit.sync`: opening, interrupts, a server of threads, and peers that we did not write.

What every stream must keep, whatever carries it, is in tests/conformance/test_sync.py.
"""

from __future__ import annotations

import logging
import os
import resource
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from socketkit import (
    BrokenConnection,
    ClosedConnection,
    ConnectError,
    Credentials,
    EndpointError,
    Limits,
    ListenError,
    Unsupported,
    sync,
)
from socketkit.drivers import ThreadDriver, block
from socketkit.opening import open_stream
from tests.in_threads import BIG, echo, in_thread, is_asleep, pair, wait_until, wait_until_blocked

pytestmark = pytest.mark.usefixtures("no_leaks")


# --- opening


@pytest.mark.parametrize("url", ["tcp://:0", "tcp://127.0.0.1:0", "tcp://[::1]:0", "unix://@sync-test-{pid}", "mem://"])
def test_connect_to_what_listens(url: str) -> None:
    with (
        sync.listen(url.format(pid=os.getpid())) as listener,
        sync.connect(str(listener.local)) as ours,
        listener.accept() as theirs,
    ):
        assert listener.connections == 1
        assert listener.stats["connections"] == listener.stats["accepted"] == 1
        ours.send(b"x")
        assert theirs.receive() == b"x"
        assert (ours.sent_bytes, theirs.received_bytes) == (1, 1)
    assert ours.closed
    assert listener.closed
    ours.aclose()
    listener.aclose()


def test_a_path_is_taken_and_given_back(tmp_path: Path) -> None:
    url = f"unix://{tmp_path}/socket"
    with sync.listen(url) as listener, sync.connect(url) as ours, listener.accept() as theirs:
        assert ours.encrypted
        me = Credentials(os.getpid(), os.getuid(), os.getgid())
        assert theirs.peer.credentials == ours.peer.credentials == me
        with pytest.raises(ListenError, match="already in use"):
            sync.listen(url)
    assert not list(tmp_path.iterdir())


def test_an_inherited_connection() -> None:
    ours, theirs = socket.socketpair()
    with sync.connect(f"fd://{ours.detach()}") as stream, theirs:
        theirs.send(b"hello")
        assert stream.receive() == b"hello"


def test_an_inherited_listener_goes_on_for_its_other_owner() -> None:
    with socket.create_server(("127.0.0.1", 0)) as parents:
        with sync.listen(f"fd://{os.dup(parents.fileno())}") as listener:
            with in_thread(listener.accept) as accepting:
                wait_until_blocked(accepting.thread)
                listener.close()
                with pytest.raises(ClosedConnection):
                    accepting.result()
        with socket.create_connection(parents.getsockname()), parents.accept()[0]:
            pass


def test_errors_of_opening() -> None:
    with pytest.raises(EndpointError):
        sync.connect("tcp://nonsense")
    with pytest.raises(EndpointError):
        sync.serve("tcp://nonsense", echo)
    with pytest.raises(Unsupported, match=r'write connect\("seqpacket\+tls://localhost:1", Messages\)'):
        sync.connect("seqpacket+tls://localhost:1")
    with pytest.raises(Unsupported, match=r'bind\("udp://:0"\)'):
        sync.listen("udp://:0")
    with pytest.raises(Unsupported, match=r'listen\("tcp://:0"\)'):
        sync.bind("tcp://:0")
    with pytest.raises(ConnectError, match="no such path"):
        sync.connect("unix:///nowhere/socket")
    with pytest.raises(ConnectError, match="refused"):
        sync.connect("mem://nobody")


def test_refused_names_every_attempt() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ConnectError, match="refused") as caught:
        sync.connect(f"tcp://127.0.0.1:{port}")
    assert str(caught.value) == f"connect tcp://127.0.0.1:{port}: refused: nothing listens there"
    with pytest.raises(ConnectError) as caught:
        sync.connect(f"tcp://localhost:{port}")
    assert [str(attempt.endpoint) for attempt in caught.value.attempts] == [
        f"tcp://127.0.0.1:{port}",
        f"tcp://[::1]:{port}",
    ]


def test_an_unknown_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ConnectError, match="unknown name: check its spelling"):
        sync.connect("tcp://nobody.invalid:80")


# --- Happy Eyeballs in one thread


@contextmanager
def deaf_server() -> Iterator[tuple[str, int]]:
    """An address that answers no caller: its backlog is full (man 2 listen)."""
    with ExitStack() as stack:
        deaf = stack.enter_context(socket.socket())
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(4):
            caller = stack.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(deaf.getsockname())
        yield deaf.getsockname()


class Resolver(ThreadDriver):
    def __init__(self, *addresses: tuple[int, tuple[Any, ...]]) -> None:
        self._addresses = addresses

    async def resolve(self, host: str, port: int, family: int) -> Any:
        return self._addresses


def test_falls_back_to_the_other_family() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # heard by none, and so that no other program listens there
        port = nobody.getsockname()[1]
        with sync.listen(f"tcp6://[::1]:{port}") as listener, sync.connect(f"tcp://localhost:{port}") as ours:
            assert str(ours.peer.endpoint) == f"tcp://[::1]:{port}"
            listener.accept().abort()


@pytest.mark.slow
def test_a_deaf_address_costs_a_quarter_of_a_second() -> None:
    with deaf_server() as deaf, sync.listen("tcp://[::1]:0") as listener:
        resolver = Resolver((socket.AF_INET, deaf), (socket.AF_INET6, ("::1", listener.local.port)))
        begun = time.monotonic()
        stream = block(open_stream(sync.Stream, "tcp://example.test:80", resolver, Limits()))
        assert time.monotonic() - begun > 0.2
        assert stream.peer.endpoint.host == "::1"
        stream.abort()
        listener.accept().abort()


@pytest.mark.slow
def test_connecting_is_bounded_by_the_limit_and_by_the_caller() -> None:
    with deaf_server() as deaf:
        url = f"tcp://127.0.0.1:{deaf[1]}"
        with pytest.raises(ConnectError, match=r"no answer within 0\.1 s"):
            sync.connect(url, limits=Limits(connect_seconds=0.1))
        with pytest.raises(TimeoutError) as caught, sync.timeout(0.05):
            sync.connect(url)
        assert not isinstance(caught.value, ConnectError)
        both = Resolver((socket.AF_INET, deaf), (socket.AF_INET, ("127.0.0.1", deaf[1])))
        with pytest.raises(TimeoutError), sync.timeout(0.35):
            block(open_stream(sync.Stream, "tcp://example.test:80", both, Limits()))
        with pytest.raises(ConnectError, match=r"no answer within 0\.3 s"):
            block(open_stream(sync.Stream, "tcp://example.test:80", both, Limits(connect_seconds=0.3)))


# --- interrupts


@pytest.mark.slow
@pytest.mark.parametrize(
    "call",
    [
        "sync.connect(deaf)",
        "listener.accept()",
        "ours.receive()",
        "next(ours.lines())",
        "ours.send(bytes(8_000_000))",
        "sync.serve('mem://', print).run()",
    ],
)
def test_an_interrupt_ends_a_blocked_call(call: str) -> None:
    with deaf_server() as deaf:
        program = f"""
            import os, threading, time
            from socketkit import sync
            deaf = "tcp://127.0.0.1:{deaf[1]}"
            with sync.listen("tcp://127.0.0.1:0") as listener:
                ours, theirs = sync.connect(listener.local), listener.accept()
                before = sorted(os.listdir("/proc/self/fd"))
                print("ready", flush=True)
                try:
                    {call}
                except KeyboardInterrupt:
                    print("interrupted", flush=True)
                theirs.send(b"still in order")
                assert ours.receive() == b"still in order"
                theirs.abort()
                ours.abort()
        """
        with subprocess.Popen(
            [sys.executable, "-X", "dev", "-c", textwrap.dedent(program)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            wait_until(lambda: is_asleep(process.pid))
            time.sleep(0.05)
            wait_until(lambda: is_asleep(process.pid))
            process.send_signal(signal.SIGINT)
            try:
                output, errors = process.communicate(timeout=10)
            finally:
                process.kill()
        assert (process.returncode, output, errors) == (0, "interrupted\n", "")


def test_a_signal_that_raises_nothing_is_waited_through() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _: seen.append(number))
    try:
        with pair() as (_, theirs):
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            begun = time.monotonic()
            with pytest.raises(TimeoutError), sync.timeout(0.1):
                theirs.receive()
            assert time.monotonic() - begun > 0.09
            assert seen == [signal.SIGALRM]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# --- serving


def test_serves_for_the_block() -> None:
    with sync.serve("tcp://:0", echo) as server, ExitStack() as stack:
        streams = [stack.enter_context(sync.connect(server.local)) for _ in range(20)]
        for number, stream in enumerate(streams):
            stream.send(b"%d" % number * 1000)
        for number, stream in enumerate(streams):
            assert stream.receive_exactly(len(b"%d" % number * 1000)) == b"%d" % number * 1000
        assert server.connections == server.stats["connections"] == 20
        for stream in streams:
            stream.close()
    assert server.connections == 0
    with pytest.raises(ConnectError):
        sync.connect(server.local)
    with pytest.raises(RuntimeError, match="used once"), server:
        pass


def test_a_server_that_has_not_started_says_so() -> None:
    with pytest.raises(RuntimeError, match="has not started"):
        _ = sync.serve("tcp://:0", echo).local
    with pytest.raises(ListenError), sync.listen("tcp://127.0.0.1:0") as taken, sync.serve(taken.local, echo):
        pass


def test_a_handler_that_returns_closes_its_connection() -> None:
    with sync.serve("tcp://:0", lambda stream: stream.send(b"bye")) as server, sync.connect(server.local) as stream:
        assert list(stream) == [b"bye"]
        wait_until(lambda: server.connections == 0)


def test_a_handler_that_fails_is_logged_and_costs_its_own_connection_only(caplog: pytest.LogCaptureFixture) -> None:
    def handle(stream: sync.Stream) -> None:
        if stream.receive_exactly(4) == b"fail":
            raise LookupError("a bug in the handler")
        stream.send(b"fine")

    with (
        sync.serve("tcp://:0", handle) as server,
        sync.connect(server.local) as bad,
        sync.connect(server.local) as good,
    ):
        bad.send(b"fail")
        with pytest.raises(BrokenConnection, match="reset"):
            bad.receive()
        good.send(b"good")
        assert good.receive() == b"fine"
        where = str(bad.local)
    (record,) = caplog.records
    assert where in record.getMessage()
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], LookupError)


def test_a_peer_that_resets_costs_one_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="socketkit")
    with sync.serve("tcp://:0", lambda stream: [*stream]) as server:
        sync.connect(server.local).abort()
        wait_until(lambda: caplog.records)
    (record,) = caplog.records
    assert (record.levelname, record.exc_info) == ("INFO", None)


def test_leaving_waits_for_the_handlers() -> None:
    done = threading.Event()

    def handle(stream: sync.Stream) -> None:
        stream.receive_until(b"\n")
        done.set()

    with sync.serve("tcp://:0", handle) as server, sync.connect(server.local) as stream:
        wait_until(lambda: server.connections == 1)
        with in_thread(server.close) as closing:
            wait_until_blocked(closing.thread)
            stream.send(b"\n")
            closing.result()
        assert done.is_set()


def test_leaving_cuts_what_outlasts_the_grace() -> None:
    failures: list[BaseException] = []

    def handle(stream: sync.Stream) -> None:
        try:
            stream.receive()
        except BaseException as failure:
            failures.append(failure)
            raise

    begun = time.monotonic()
    with sync.serve("tcp://:0", handle, limits=Limits(grace_seconds=0.05)) as server:
        streams = [sync.connect(server.local) for _ in range(3)]
        wait_until(lambda: server.connections == 3)
    assert 0.04 < time.monotonic() - begun < Limits().grace_seconds
    assert [type(failure).__name__ for failure in failures] == ["ClosedConnection"] * 3
    for stream in streams:
        with pytest.raises(BrokenConnection):
            stream.receive()
        stream.close()


def test_an_exception_skips_the_grace() -> None:
    limits = Limits(grace_seconds=600)
    with pytest.raises(LookupError), sync.serve("mem://", echo, limits=limits) as server, sync.connect(server.local):
        wait_until(lambda: server.connections == 1)
        raise LookupError


def test_leaving_ends_although_a_handler_does_not(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "CUT_SECONDS", 0.05)
    release = threading.Event()
    with sync.serve("mem://", lambda _: release.wait(10), limits=Limits(grace_seconds=0)) as server:
        stream = sync.connect(server.local)
        wait_until(lambda: server.connections == 1)
    assert "goes on without its connection" in caplog.text
    release.set()
    stream.close()


def test_a_handler_may_end_the_server() -> None:
    def handle(stream: sync.Stream) -> None:
        server.close()
        stream.close()

    server = sync.serve("mem://", handle)
    with in_thread(server.run) as running:
        wait_until(lambda: server._listener is not None)
        with sync.connect(server.local) as stream:
            assert list(stream) == []
        running.result()


def test_a_time_limit_ends_serving() -> None:
    with pytest.raises(TimeoutError), sync.timeout(0.05):
        sync.serve("mem://", echo).run()


def test_a_time_limit_shortens_the_grace() -> None:
    with sync.serve("mem://", echo, limits=Limits(grace_seconds=600)) as server, sync.connect(server.local):
        wait_until(lambda: server.connections == 1)
        with sync.timeout(0.05):
            server.close()


def test_serving_is_bounded_by_the_limit() -> None:
    with sync.serve("tcp://:0", echo, limits=Limits(connections=2)) as server, ExitStack() as stack:
        streams = [stack.enter_context(sync.connect(server.local)) for _ in range(3)]
        for stream in streams:
            stream.send(b"x")
        for stream in streams[:2]:
            assert stream.receive() == b"x"
        with pytest.raises(TimeoutError), sync.timeout(0.05):
            streams[2].receive()
        streams[0].close()
        assert streams[2].receive() == b"x"


def test_no_thread_for_a_connection(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    class Threads(threading.Thread):
        def start(self) -> None:
            if self.name.startswith("handle"):
                raise RuntimeError("can't start new thread")
            super().start()

    monkeypatch.setattr(threading, "Thread", Threads)
    with sync.serve("tcp://127.0.0.1:0", echo) as server:
        # The reset may come before the attempt to connect has been looked at.
        with pytest.raises((BrokenConnection, ConnectError)), sync.connect(server.local) as stream:
            stream.receive()
        wait_until(lambda: "no thread for" in caplog.text)


# --- a process with 256 descriptors


@pytest.mark.slow
def test_out_of_descriptors_it_keeps_serving() -> None:
    program = """
        import resource, sys
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
        from socketkit import Limits, sync
        def echo(stream):
            for chunk in stream:
                stream.send(chunk)
        with sync.serve("tcp://127.0.0.1:0", echo, limits=Limits(connections=int(sys.argv[1]))) as server:
            print(server.local, flush=True)
            sys.stdin.read()
            print(server.stats["accepted"], server.stats["exhausted"] > 0)
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 2048), hard))
    try:
        for limit, exhausted in (("200", "False"), ("1000", "True")):
            with subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(program), limit],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                stderr=subprocess.DEVNULL,
            ) as process:
                assert process.stdin is not None
                assert process.stdout is not None
                url = process.stdout.readline().strip()
                streams = []
                for _ in range(400):
                    streams.append(sync.connect(url))
                    streams[-1].send(b"x")  # before the next one comes: the silent make room for others
                for stream in streams[:200]:
                    assert stream.receive() == b"x"
                with pytest.raises(TimeoutError), sync.timeout(0.3):
                    streams[300].receive()
                for stream in streams:  # each that ends lets another one in
                    if not stream.received_bytes:
                        assert stream.receive() == b"x"
                    stream.close()
                process.stdin.close()
                assert process.stdout.read() == f"400 {exhausted}\n"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# --- peers that we did not write


@pytest.mark.slow
def test_socat_echoes(program: Callable[[str], str], tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with subprocess.Popen([program("socat"), f"UNIX-LISTEN:{path}", "EXEC:cat"]) as process:
        wait_until(path.exists)
        with sync.connect(f"unix://{path}") as stream:
            data = os.urandom(BIG)

            def send() -> None:
                stream.send(data)
                stream.send_eof()

            with in_thread(send) as sending:
                assert b"".join(stream) == data
                sending.result()
        assert process.wait(10) == 0


@pytest.mark.slow
def test_nc_calls(program: Callable[[str], str]) -> None:
    with sync.listen("tcp://127.0.0.1:0") as listener:
        command = [program("nc"), "-N", "127.0.0.1", str(listener.local.port)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            with in_thread(lambda: process.communicate(b"one\ntwo\n", timeout=10)) as talking:
                with listener.accept() as stream:
                    assert list(stream.lines()) == [b"one", b"two"]
                    stream.send(b"three\n")
                assert talking.result()[0] == b"three\n"
