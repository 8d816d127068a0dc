"""`socketkit.sync`: blocking calls, time limits, threads that share a connection, interrupts, and a server of threads.

What every stream must keep, whatever carries it, is in tests/conformance/test_sync.py.
"""

from __future__ import annotations

import errno
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
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import pytest

from socketkit import (
    BrokenConnection,
    BusyConnection,
    ClosedConnection,
    ConnectError,
    Credentials,
    EndOfStream,
    EndpointError,
    Limits,
    ListenError,
    PeerViolation,
    Unsupported,
    _core,
    sync,
)
from socketkit import connect as connect_async
from socketkit.drivers import ThreadDriver, block
from socketkit.opening import open_stream
from tests.conftest import Run

pytestmark = pytest.mark.usefixtures("no_leaks")

T = TypeVar("T")

BIG = 8_000_000  # more than two sockets' buffers hold


def echo(stream: sync.Stream) -> None:
    for chunk in stream:
        stream.send(chunk)


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


# --- a stream's own methods


def test_lines() -> None:
    with pair() as (ours, theirs):
        ours.send(b"one\ntwo\r\n\nlast")
        ours.send_eof()
        assert list(theirs.lines()) == [b"one", b"two", b"", b"last"]
        assert list(theirs.lines()) == []
    with pair() as (ours, theirs):
        ours.send(b"x" * 11)
        with pytest.raises(PeerViolation):
            next(theirs.lines(max_bytes=10))
        assert theirs.receive() == b"x" * 11


def test_descriptors_travel(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    with pair() as (ours, theirs), open(tmp_path / "file") as file:
        ours.send_fds(b"1", [file.fileno()])
        data, (fd,) = theirs.receive_fds()
        with open(fd) as same:
            assert (data, same.read()) == (b"1", "content")
        ours.send_fds(b"2", [file.fileno()] * 3)
        with pytest.raises(PeerViolation, match="3 descriptors where 2"):
            theirs.receive_fds(max_fds=2)
    with pair("tcp://:0") as (ours, _):
        with pytest.raises(ValueError, match="Unix sockets only"):
            ours.send_fds(b"x", [0])
        with pytest.raises(ValueError, match="Unix sockets only"):
            ours.receive_fds()


def test_what_a_loop_owns_does_not_block_and_the_other_way_round(run: Run) -> None:
    async def main() -> None:
        with sync.listen("mem://") as listener:
            theirs = await connect_async(listener.local)
            with listener.accept() as ours:
                with pytest.raises(RuntimeError, match="a different loop"):
                    await _core.Stream.receive(ours)
                waiting = theirs.receive()
                waiting.send(None)
                with pytest.raises(RuntimeError, match="event loop"):
                    _core.wait([waiting])
                waiting.close()
                theirs.abort()

    run(main())


def test_wait_and_block_refuse_what_is_no_operation() -> None:
    with pytest.raises(TypeError):
        _core.wait([object()])  # type: ignore[list-item]
    with pytest.raises(TypeError):
        _core.block(object())  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="nothing to wait for"):
        _core.wait([])
    assert _core.wait([], 0.001) is None


def test_wait_for_the_first_of_several() -> None:
    async def receive(stream: sync.Stream) -> bytes:
        return await _core.Stream.receive(stream)

    with pair() as (a, b), pair() as (c, d), sync.listen("tcp://:0") as listener:
        work = [receive(b), receive(d)]
        operations: list[Any] = [coroutine.send(None) for coroutine in work]
        accepting = _core.Listener.accept(listener)
        operations.append(accepting.send(None))
        assert _core.wait(operations, 0.01) is None
        with sync.connect(listener.local):
            assert _core.wait(operations) == 2
            with pytest.raises(StopIteration) as accepted:
                accepting.send(None)
            accepted.value.value.abort()
        operations.pop()
        c.send(b"second")
        assert _core.wait(operations) == 1
        with pytest.raises(StopIteration) as end:
            work[1].send(None)
        assert end.value.value == b"second"
        a.send(b"first")
        assert _core.wait(operations[:1], 5) == 0
        work[0].close()
        assert b.receive() == b"first", "what was only waited for is not taken"


def test_a_dropped_stream_warns_and_is_reset() -> None:
    with sync.listen("tcp://127.0.0.1:0") as listener:
        ours = sync.connect(listener.local)
        with listener.accept() as theirs:
            with pytest.warns(ResourceWarning, match=r"dropped without close\(\)"):
                del ours
            with pytest.raises(BrokenConnection):
                theirs.receive()


def test_what_has_ended_is_freed() -> None:
    """Neither a call that failed, nor one that ran out of time, nor an attempt to connect keeps its stream."""

    class Traced(sync.Stream):
        __slots__ = ()

    with sync.listen("tcp://:0") as listener:
        streams = [block(open_stream(Traced, listener.local, ThreadDriver(), Limits())) for _ in range(4)]
        with pytest.raises(TimeoutError), sync.timeout(0.01):
            streams[0].receive()
        with pytest.raises(TimeoutError), sync.timeout(0.05):
            for _ in range(3):
                streams[1].send(bytes(BIG))
        with suppress(TimeoutError), sync.timeout(0.01):
            next(streams[2].lines())
        for _ in range(4):
            listener.accept().abort()
        alive = [weakref.ref(stream) for stream in streams]
        while streams:
            streams.pop().abort()
        assert [stream() for stream in alive] == [None] * 4


# --- time


def test_time_limits() -> None:
    with pair() as (ours, theirs), sync.listen("tcp://:0") as listener:
        for call in (theirs.receive, lambda: theirs.receive_exactly(1), lambda: list(theirs.lines()), listener.accept):
            begun = time.monotonic()
            with pytest.raises(TimeoutError), sync.timeout(0.03):
                call()
            assert time.monotonic() - begun > 0.02
        with sync.timeout(None), sync.timeout(60):
            ours.send(b"x")
            assert theirs.receive() == b"x"


def test_time_is_over_also_for_who_never_has_to_wait() -> None:
    with sync.serve("mem://", lambda stream: stream.send(bytes(BIG))) as server, sync.connect(server.local) as stream:
        received = 0
        with pytest.raises(TimeoutError), sync.timeout(0.02):
            while True:
                received += len(stream.receive(10))
        assert received < BIG
        stream.abort()
    with (
        sync.serve("mem://", lambda stream: stream.send(b"\n" * BIG)) as server,
        sync.connect(server.local) as stream,
    ):
        with pytest.raises(TimeoutError), sync.timeout(0.02):
            for line in stream.lines():
                assert line == b""
        stream.abort()
    with pytest.raises(TimeoutError), sync.timeout(0):
        sync.listen("mem://")


def test_closing_goes_on_when_time_is_over() -> None:
    with pair("tcp://:0") as (ours, theirs):
        ours.send(b"last words")
        with sync.timeout(0):
            ours.close()
        assert theirs.receive() == b"last words"
        with pytest.raises(EndOfStream):
            theirs.receive()


@pytest.mark.slow
def test_closing_gives_up_on_a_peer_that_does_not_read() -> None:
    for seconds, close_seconds in ((None, 0.1), (0.1, 600.0)):
        with pair("tcp://127.0.0.1:0", limits=Limits(close_seconds=close_seconds)) as (ours, theirs):
            with sync.timeout(0.05):
                ours.send(bytes(BIG))  # taken, and not all of it is out
            begun = time.monotonic()
            with suppress(TimeoutError), sync.timeout(seconds):
                ours.close()
            assert time.monotonic() - begun > 0.05
            assert ours.closed
            with pytest.raises(ClosedConnection):
                ours.fileno()
            with pytest.raises(BrokenConnection):
                for _ in theirs:
                    pass


def test_what_was_taken_goes_out_with_later_calls() -> None:
    first, second = b"a" * BIG, b"b" * BIG  # made before the time runs
    with pair(limits=Limits(message_bytes=BIG)) as (ours, theirs):
        with sync.timeout(0.05):
            ours.send(first)
        with pytest.raises(TimeoutError), sync.timeout(0.05):
            ours.send(second)
        with in_thread(lambda: theirs.receive_exactly(BIG)) as receiving:
            with pytest.raises(TimeoutError), sync.timeout(10):
                while not receiving.done:
                    with suppress(TimeoutError), sync.timeout(0.01):
                        ours.receive()
                raise TimeoutError
            assert receiving.result() == first
        ours.send(b"c")
        assert theirs.receive() == b"c"


# --- threads


def test_one_thread_receives_while_another_sends() -> None:
    with sync.serve("tcp://:0", echo) as server, sync.connect(server.local) as stream:
        data = os.urandom(1000) * (BIG // 1000)
        with in_thread(lambda: stream.send(data)) as sending:
            assert stream.receive_exactly(len(data)) == data
            sending.result()


def test_threads_that_send_do_not_mix() -> None:
    with pair("tcp://:0") as (ours, theirs), ExitStack() as stack:
        size = 400_000

        def send(letter: bytes) -> None:
            for _ in range(5):
                ours.send(letter * size)

        senders = [stack.enter_context(in_thread(partial(send, letter))) for letter in (b"a", b"b", b"c")]
        for _ in range(15):
            message = theirs.receive_exactly(size)
            assert message == message[:1] * size
        for sender in senders:
            sender.result()


def test_a_second_receiver_is_refused() -> None:
    with pair() as (ours, theirs):
        with in_thread(theirs.receive) as receiving:
            wait_until_blocked(receiving.thread)
            with pytest.raises(BusyConnection):
                theirs.receive()
            with pytest.raises(BusyConnection):
                next(theirs.lines())
            ours.send(b"for the first")
            assert receiving.result() == b"for the first"
        ours.send(b"again")
        assert theirs.receive() == b"again"


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:0", "tcp://[::1]:0", "unix://@sync-test-{pid}", "mem://"])
@pytest.mark.parametrize("end", ["close", "abort"])
def test_another_thread_wakes_a_blocked_receiver(url: str, end: str) -> None:
    with pair(url) as (ours, theirs):
        with in_thread(lambda: list(ours.lines())) as receiving:
            wait_until_blocked(receiving.thread)
            getattr(ours, end)()
            with pytest.raises(ClosedConnection):
                receiving.result()
        if end == "abort" and url.startswith("tcp"):
            with pytest.raises(BrokenConnection, match="reset"):
                theirs.receive()
        else:
            with pytest.raises(EndOfStream):
                theirs.receive()


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:0", "mem://"])
def test_another_thread_wakes_a_blocked_sender(url: str) -> None:
    with pair(url) as (ours, _):
        with in_thread(lambda: ours.send(bytes(BIG))) as first:
            wait_until_blocked(first.thread)
            with in_thread(lambda: ours.send(b"behind it")) as second:
                wait_until_blocked(second.thread)
                ours.abort()
                for sending in (first, second):
                    with pytest.raises((ClosedConnection, BrokenConnection)):
                        sending.result()


def test_a_peer_that_resets_wakes_both() -> None:
    with pair("tcp://127.0.0.1:0") as (ours, theirs):
        with in_thread(lambda: ours.send(bytes(BIG))) as sending, in_thread(ours.receive) as receiving:
            wait_until_blocked(sending.thread)
            wait_until_blocked(receiving.thread)
            theirs.abort()
            for call in (sending, receiving):
                with pytest.raises(BrokenConnection):
                    call.result()


def test_threads_that_accept() -> None:
    with sync.listen("tcp://:0") as listener, ExitStack() as stack:
        accepting = [stack.enter_context(in_thread(lambda: list(listener))) for _ in range(3)]
        for _ in range(30):
            sync.connect(listener.local).close()
        wait_until(lambda: listener.stats["accepted"] == 30)
        listener.close()
        accepted = [stream for thread in accepting for stream in thread.result()]
        assert len(accepted) == 30
        for stream in accepted:
            stream.close()
    with pytest.raises(ClosedConnection):
        listener.accept()


@pytest.mark.parametrize("url", ["tcp://:0", "mem://"])
def test_accepting_stops_at_the_limit(url: str) -> None:
    with sync.listen(url, limits=Limits(connections=1)) as listener, ExitStack() as stack:
        callers = [stack.enter_context(sync.connect(listener.local)) for _ in range(3)]
        first = listener.accept()
        with pytest.raises(TimeoutError), sync.timeout(0.05):
            listener.accept()
        with in_thread(listener.accept) as accepting:
            wait_until_blocked(accepting.thread)
            first.abort()
            accepting.result().abort()
        assert len(callers) == 3
        with listener.accept(), in_thread(listener.accept) as accepting:
            wait_until_blocked(accepting.thread)
            listener.close()
            with pytest.raises(ClosedConnection):
                accepting.result()


def test_errno_of_a_broken_connection() -> None:
    with pair("tcp://127.0.0.1:0") as (ours, theirs):
        theirs.abort()
        with pytest.raises(BrokenConnection) as caught:
            ours.receive()
        assert caught.value.errno == errno.ECONNRESET


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


# --- helpers


def wait_until(happened: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.002)


@contextmanager
def pair(url: str = "mem://", limits: Limits = Limits()) -> Iterator[tuple[sync.Stream, sync.Stream]]:
    with sync.listen(url.format(pid=os.getpid()), limits=limits) as listener:
        ours = sync.connect(listener.local, limits=limits)
        theirs = listener.accept()
    try:
        yield ours, theirs
    finally:
        ours.abort()
        theirs.abort()


class Call(Generic[T]):
    """A function that runs in a thread of its own."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._result: list[T] = []
        self._failure: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def result(self) -> T:
        self.thread.join(10)
        if self._failure is not None:
            raise self._failure
        assert self._result, "it still runs"
        return self._result[0]

    @property
    def done(self) -> bool:
        return not self.thread.is_alive()

    def _run(self) -> None:
        try:
            self._result.append(self._function())
        except BaseException as failure:
            self._failure = failure


@contextmanager
def in_thread(function: Callable[[], T]) -> Iterator[Call[T]]:
    call = Call(function)
    yield call
    call.thread.join(10)
    assert call.done, "it still runs"


def wait_until_blocked(thread: threading.Thread) -> None:
    """Until the thread sleeps in the kernel, and is seen to do so twice."""
    for _ in range(2):
        wait_until(lambda: thread.native_id is not None and is_asleep(os.getpid(), thread.native_id))
        time.sleep(0.01)


def is_asleep(pid: int, thread: int | None = None) -> bool:
    stat = Path(f"/proc/{pid}/task/{thread or pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] == "S"
