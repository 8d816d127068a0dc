"""The rules of streams where they make sense without a loop: `socketkit.sync`, driven by threads."""

from __future__ import annotations

import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from socketkit import (
    BrokenConnection,
    ClosedConnection,
    ConnectError,
    EndOfStream,
    Limits,
    ListenError,
    PeerViolation,
    sync,
)
from socketkit.testing.claims import numbered
from tests.conformance.transports import LIMITS, LISTENING, TRANSPORTS, url

Pair = tuple[sync.Stream, sync.Stream]
MakePair = Callable[..., AbstractContextManager[Pair]]


@pytest.fixture(params=TRANSPORTS)
def make_pair(request: pytest.FixtureRequest, tmp_path: Path, no_leaks: None) -> MakePair:
    """`with make_pair() as (ours, theirs)`: aborted at the end."""

    @contextmanager
    def pair(limits: Limits = LIMITS) -> Iterator[Pair]:
        ours, theirs = _open(request.param, tmp_path, limits)
        try:
            yield ours, theirs
        finally:
            ours.abort()
            theirs.abort()

    return pair


def _open(transport: str, folder: Path, limits: Limits) -> Pair:
    if transport == "fd":
        one, other = [sync.connect(f"fd://{end.detach()}", limits=limits) for end in socket.socketpair()]
        return one, other
    with sync.listen(url(transport, folder), limits=limits) as listener, ThreadPoolExecutor(1) as pool:
        accepting = pool.submit(listener.accept)  # under TLS neither side is done without the other
        return sync.connect(listener.local, limits=limits), accepting.result(5)


@pytest.fixture
def in_thread() -> Iterator[Callable[..., Future[Any]]]:
    """`in_thread(function, *arguments)` gives its Future."""
    with ThreadPoolExecutor(8) as pool:
        yield pool.submit


def all_of(stream: sync.Stream) -> bytes:
    return b"".join(stream)


def test_the_end(make_pair: MakePair) -> None:
    with make_pair() as (ours, theirs):
        ours.send(b"data")
        ours.send(b"")
        ours.send_eof()
        ours.send_eof()
        assert list(theirs) == [b"data"]
        for _ in range(3):
            with pytest.raises(EndOfStream):
                theirs.receive()
            with pytest.raises(EndOfStream):
                theirs.receive_exactly(1)
            with pytest.raises(EndOfStream):
                theirs.receive_until(b"\n")
        with pytest.raises(ClosedConnection):
            ours.send(b"more")
        theirs.send(b"the other half is open")
        assert ours.receive() == b"the other half is open"


def test_a_huge_message_arrives_whole(make_pair: MakePair, in_thread: Callable[..., Future[Any]]) -> None:
    with make_pair() as (ours, theirs):
        data = numbered(2_000_000)

        def send() -> None:
            ours.send(data)
            ours.send_eof()

        sending = in_thread(send)
        assert all_of(theirs) == data
        sending.result(5)


def test_both_directions_flow_at_once(make_pair: MakePair, in_thread: Callable[..., Future[Any]]) -> None:
    with make_pair() as (ours, theirs):
        data = numbered(300_000)

        def send(stream: sync.Stream) -> None:
            stream.send(data)
            stream.send_eof()

        sending = [in_thread(send, stream) for stream in (ours, theirs)]
        receiving = [in_thread(all_of, stream) for stream in (ours, theirs)]
        assert [future.result(10) for future in receiving] == [data, data]
        for future in sending:
            future.result(10)


def test_messages_of_many_threads_are_whole(make_pair: MakePair, in_thread: Callable[..., Future[Any]]) -> None:
    with make_pair() as (ours, theirs):
        size = 100_000

        def send(sender: int) -> None:
            for number in range(5):
                ours.send(bytes([sender, number]) * (size // 2))

        sending = [in_thread(send, sender) for sender in range(6)]
        seen: dict[int, int] = {}
        for _ in range(30):
            message = theirs.receive_exactly(size)
            assert message == message[:2] * (size // 2)
            assert seen.get(message[0], 0) == message[1], "the messages of one thread keep their order"
            seen[message[0]] = message[1] + 1
        for future in sending:
            future.result(5)


def test_a_time_limit_takes_nothing(make_pair: MakePair) -> None:
    with make_pair() as (ours, theirs):
        ours.send(b"123")
        for receive in (lambda: theirs.receive_exactly(4), lambda: theirs.receive_until(b"\n")):
            begun = time.monotonic()
            with pytest.raises(TimeoutError), sync.timeout(0.02):
                receive()
            assert time.monotonic() - begun > 0.01
        assert theirs.receive() == b"123"
        with pytest.raises(TimeoutError), sync.timeout(0):
            theirs.receive()
        ours.send(b"x")
        with sync.timeout(5):
            assert theirs.receive() == b"x"


def test_a_send_in_vain_has_sent_nothing_or_all(make_pair: MakePair) -> None:
    with make_pair() as (ours, theirs):
        message = numbered(8192)
        sent = 0
        with pytest.raises(TimeoutError), sync.timeout(0.1):
            while sent < 1000:
                ours.send(message)
                sent += 1
        assert 0 < sent < 1000
        received = bytearray()

        def drain() -> None:
            while chunk := next(iter(theirs), b""):
                received.extend(chunk)

        draining = threading.Thread(target=drain)
        draining.start()
        ours.send_eof()
        draining.join(10)
        assert len(received) % len(message) == 0
        assert len(received) // len(message) in (sent, sent + 1)


def test_a_reset(make_pair: MakePair) -> None:
    with make_pair() as (ours, theirs):
        ours.send(b"before")
        theirs.send(b"unread")
        ours.abort()
        assert theirs.receive_exactly(6) == b"before"
        for _ in range(2):
            with pytest.raises(BrokenConnection):
                theirs.receive()


def test_closing_sends_what_is_queued(make_pair: MakePair, in_thread: Callable[..., Future[Any]]) -> None:
    with make_pair(Limits(close_seconds=5)) as (ours, theirs):
        data = numbered(300_000)

        def send() -> None:
            with ours:
                ours.send(data)

        sending = in_thread(send)
        assert all_of(theirs) == data
        sending.result(5)
        assert ours.closed
        ours.close()
        for use in (ours.receive, lambda: ours.send(b"x"), ours.send_eof, ours.fileno):
            with pytest.raises(ClosedConnection):
                use()


def test_closing_wakes_another_thread(make_pair: MakePair, in_thread: Callable[..., Future[Any]]) -> None:
    for how in ("close", "abort"):
        with make_pair() as (ours, _):
            begun = threading.Event()

            def receive(stream: sync.Stream = ours, begun: threading.Event = begun) -> bytes:
                begun.set()
                return stream.receive()

            receiving = in_thread(receive)
            begun.wait(5)
            time.sleep(0.01)
            getattr(ours, how)()
            with pytest.raises((ClosedConnection, EndOfStream, BrokenConnection)):
                receiving.result(5)


def test_closing_is_bounded(make_pair: MakePair) -> None:
    with make_pair(Limits(close_seconds=0.1)) as (ours, _):
        with pytest.raises(TimeoutError), sync.timeout(0.05):
            while True:
                ours.send(bytes(100_000))
        begun = time.monotonic()
        ours.close()
        assert time.monotonic() - begun < Limits().close_seconds


def test_lines_and_delimiters(make_pair: MakePair) -> None:
    with make_pair() as (ours, theirs):
        ours.send(b"one\r\ntwo\n1234567\nlast")
        ours.send_eof()
        assert theirs.receive_until(b"\r\n") == b"one\r\n"
        lines = iter(theirs.lines(max_bytes=7))
        assert next(lines) == b"two"
        with pytest.raises(PeerViolation):
            next(lines)
        assert list(theirs.lines(max_bytes=8)) == [b"1234567", b"last"]


def test_kinds_of_receive_mix(make_pair: MakePair, in_thread: Callable[..., Future[Any]]) -> None:
    with make_pair() as (ours, theirs):
        chance = random.Random(2)
        data = bytes(chance.choice(b"abc\n") for _ in range(50_000))

        def send() -> None:
            for at in range(0, len(data), 777):
                ours.send(data[at : at + 777])
            ours.send_eof()

        sending = in_thread(send)
        got = bytearray()
        while len(got) < len(data):
            match chance.randrange(3):
                case 0:
                    got += theirs.receive(chance.randint(1, 2000))
                case 1:
                    got += theirs.receive_exactly(min(chance.randint(0, 2000), len(data) - len(got)))
                case _:
                    try:
                        got += theirs.receive_until(b"\n", max_bytes=40)
                    except (PeerViolation, EndOfStream):
                        got += theirs.receive(1)
        assert bytes(got) == data
        sending.result(5)


@pytest.mark.parametrize("transport", LISTENING)
def test_listening(transport: str, tmp_path: Path, no_leaks: None, in_thread: Callable[..., Future[Any]]) -> None:
    with sync.listen(url(transport, tmp_path)) as listener:
        with pytest.raises(TimeoutError), sync.timeout(0.01):
            listener.accept()
        with pytest.raises(ListenError):
            sync.listen(listener.local)
        accepting = in_thread(listener.accept)
        with sync.connect(listener.local) as ours, accepting.result(5) as theirs:
            ours.send(b"x")
            assert theirs.receive() == b"x"
            assert listener.connections == 1
        assert listener.connections == 0
    with pytest.raises(ClosedConnection):
        listener.accept()
    with pytest.raises(ConnectError):
        sync.connect(listener.local)


def test_an_interrupt_loses_nothing(no_leaks: None) -> None:
    """Ctrl-C while it blocks: the exception comes out, and the stream is as good as before."""
    with sync.listen("mem://") as listener, sync.connect(listener.local) as ours, listener.accept() as theirs:
        ours.send(b"123")
        timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            theirs.receive_exactly(4)
        timer.join()
        assert theirs.receive() == b"123"


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["tcp4", "mem"])
def test_connections_come_and_go(transport: str, tmp_path: Path, no_leaks: None) -> None:
    with sync.listen(url(transport, tmp_path)) as listener:
        for number in range(1000):
            with sync.connect(listener.local) as ours, listener.accept() as theirs:
                ours.send(numbered(1, number))
                assert theirs.receive() == numbered(1, number)


@pytest.mark.parametrize("transport", LISTENING)
def test_serving(transport: str, tmp_path: Path, no_leaks: None, in_thread: Callable[..., Future[Any]]) -> None:
    """Each connection in a thread; at the end of the block none is left."""

    def echo(stream: sync.Stream) -> None:
        for chunk in stream:
            stream.send(chunk)

    def ask(where: object, number: int) -> bool:
        with sync.connect(where) as stream:  # type: ignore[arg-type]
            stream.send(numbered(1000, number))
            stream.send_eof()
            return all_of(stream) == numbered(1000, number)

    before = threading.active_count()
    with sync.serve(url(transport, tmp_path), echo) as server:
        where = server.local
        asked = [in_thread(ask, where, number) for number in range(30)]
        assert all(future.result(10) for future in asked)
        assert server.stats["accepted"] == 30
    with pytest.raises(ConnectError):
        sync.connect(where)
    deadline = time.monotonic() + 5
    while threading.active_count() > before + 8:  # the pool's own
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_descriptors_travel(no_leaks: None) -> None:
    with sync.listen("mem://") as listener, sync.connect(listener.local) as ours, listener.accept() as theirs:
        reading, writing = os.pipe()
        ours.send_fds(b"a pipe", [writing])
        os.close(writing)
        data, fds = theirs.receive_fds()
        assert data == b"a pipe"
        os.close(fds[0])
        assert os.read(reading, 1) == b""
        os.close(reading)
