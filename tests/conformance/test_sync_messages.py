"""The rules of messages and datagrams where they make sense without a loop: `socketkit.sync`, driven by threads."""

from __future__ import annotations

import asyncio
import itertools
import os
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
    EndOfStream,
    Endpoint,
    Limits,
    Messages,
    MessageTooLarge,
    UnreachablePeer,
    Unsupported,
    sync,
)
from socketkit.testing.claims import numbered
from tests.conformance.message_transports import DATAGRAMS, LISTENING, MESSAGES
from tests.conformance.transports import LIMITS

Pair = tuple[sync.Messages, sync.Messages]
MakePair = Callable[..., AbstractContextManager[Pair]]
InThread = Callable[..., Future[Any]]

NUMBERS = itertools.count()
ENDING = [name for name, found in MESSAGES.items() if found.ends]
LOSSLESS = [name for name, found in MESSAGES.items() if not found.lossy]


@pytest.fixture
def make_pair(request: pytest.FixtureRequest, tmp_path: Path, no_leaks: None) -> MakePair:
    """`with make_pair(name) as (ours, theirs)`: aborted at the end."""

    @contextmanager
    def pair(name: str, limits: Limits = LIMITS) -> Iterator[Pair]:
        ours, theirs = _open(name, tmp_path, limits)
        try:
            yield ours, theirs
        finally:
            ours.abort()
            theirs.abort()

    return pair


def _open(name: str, folder: Path, limits: Limits) -> Pair:
    address = MESSAGES[name].address(folder)
    if name in LISTENING:
        with sync.listen(address, Messages, limits=limits) as listener, ThreadPoolExecutor(1) as pool:
            accepting = pool.submit(listener.accept)  # under TLS neither side is done without the other
            return sync.connect(listener.local, Messages, limits=limits), accepting.result(5)
    if name.startswith("fd"):
        ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM if "dgram" in name else socket.SOCK_SEQPACKET)
    else:
        ends = _connected(name, folder)
    one, other = [sync.connect(f"fd://{end.detach()}", Messages, limits=limits) for end in ends]
    return one, other


def _connected(name: str, folder: Path) -> tuple[socket.socket, socket.socket]:
    family = {"udp4": socket.AF_INET, "udp6": socket.AF_INET6, "dgram-unix": socket.AF_UNIX}[name]
    one, other = socket.socket(family, socket.SOCK_DGRAM), socket.socket(family, socket.SOCK_DGRAM)
    for end in (one, other):
        end.bind({"udp4": ("127.0.0.1", 0), "udp6": ("::1", 0), "dgram-unix": f"{folder}/{next(NUMBERS)}"}[name])
    one.connect(other.getsockname())
    other.connect(one.getsockname())
    return one, other


@pytest.fixture
def in_thread() -> Iterator[InThread]:
    """`in_thread(function, *arguments)` gives its Future."""
    with ThreadPoolExecutor(8) as pool:
        yield pool.submit


@pytest.mark.parametrize("name", MESSAGES)
def test_borders(make_pair: MakePair, name: str) -> None:
    with make_pair(name) as (ours, theirs):
        sent = [b"one", b"", b"three" * 200, b"", bytearray(b"five"), memoryview(b"six")]
        for message in sent:
            ours.send(message)
        ours.send_many(sent)
        wanted = [bytes(message) for message in sent] * 2
        got = [theirs.receive(), next(theirs)]
        while len(got) < len(wanted):
            got += theirs.receive_many(3)
        assert got == wanted
        assert (ours.sent_messages, theirs.received_messages) == (12, 12)


@pytest.mark.parametrize("name", MESSAGES)
def test_sizes(make_pair: MakePair, name: str, in_thread: InThread) -> None:
    with make_pair(name) as (ours, theirs):
        size = ours.max_message_bytes
        sending = in_thread(ours.send, bytes(size))
        assert theirs.receive() == bytes(size)
        sending.result(5)
        with pytest.raises(MessageTooLarge):
            ours.send(bytes(size + 1))
        with pytest.raises(MessageTooLarge):
            ours.send_many([b"not sent", bytes(size + 1)])
        ours.send(b"behind it")
        assert theirs.receive() == b"behind it"


@pytest.mark.parametrize("name", ENDING)
def test_the_end(make_pair: MakePair, name: str) -> None:
    with make_pair(name) as (ours, theirs):
        ours.send_many([b"data", b""])
        ours.send_eof()
        ours.send_eof()
        assert list(theirs) == [b"data", b""]
        for _ in range(2):
            with pytest.raises(EndOfStream):
                theirs.receive()
            with pytest.raises(EndOfStream):
                theirs.receive_many()
        with pytest.raises(ClosedConnection):
            ours.send(b"more")
        theirs.send(b"the other half is open")
        assert ours.receive() == b"the other half is open"


@pytest.mark.parametrize("name", [name for name in MESSAGES if name not in ENDING])
def test_no_end(make_pair: MakePair, name: str) -> None:
    with make_pair(name) as (ours, theirs):
        with pytest.raises(Unsupported):
            ours.send_eof()
        ours.send(b"x")
        assert theirs.receive() == b"x"


@pytest.mark.parametrize("name", ENDING)
def test_a_reset(make_pair: MakePair, name: str) -> None:
    with make_pair(name) as (ours, theirs):
        ours.send(b"before")
        theirs.send(b"unread")
        time.sleep(0.01)  # it has crossed TCP's loopback
        ours.abort()
        assert theirs.receive() == b"before"
        for _ in range(2):
            with pytest.raises(BrokenConnection):
                theirs.receive()


@pytest.mark.parametrize("name", LOSSLESS)
def test_messages_of_many_threads_are_whole(make_pair: MakePair, name: str, in_thread: InThread) -> None:
    with make_pair(name) as (ours, theirs):
        size = min(20_000, ours.max_message_bytes)

        def send(sender: int) -> None:
            for number in range(0, 20, 2):
                ours.send(bytes([sender, number]) * (size // 2))
                ours.send_many([bytes([sender, number + 1]) * (size // 2)])

        sending = [in_thread(send, sender) for sender in range(6)]
        seen: dict[int, int] = {}
        for _ in range(120):
            message = theirs.receive()
            assert message == message[:2] * (size // 2)
            assert seen.get(message[0], 0) == message[1], "the messages of one thread keep their order"
            seen[message[0]] = message[1] + 1
        for future in sending:
            future.result(5)


@pytest.mark.parametrize("name", MESSAGES)
def test_a_time_limit_takes_nothing(make_pair: MakePair, name: str) -> None:
    with make_pair(name) as (ours, theirs):
        for receive in (theirs.receive, theirs.receive_many):
            begun = time.monotonic()
            with pytest.raises(TimeoutError), sync.timeout(0.02):
                receive()
            assert time.monotonic() - begun > 0.01
            with pytest.raises(TimeoutError), sync.timeout(0):
                receive()
        ours.send(b"x")
        with sync.timeout(5):
            assert theirs.receive() == b"x"


@pytest.mark.parametrize("name", LOSSLESS)
def test_a_send_in_vain_has_sent_nothing_or_all(make_pair: MakePair, name: str, in_thread: InThread) -> None:
    with make_pair(name) as (ours, theirs):
        message = numbered(2000)
        sent = 0
        with pytest.raises(TimeoutError), sync.timeout(0.1):
            while sent < 2000:
                ours.send(message)
                sent += 1
        assert 0 < sent < 2000
        last = in_thread(ours.send, b"that is all")  # what a send in vain had begun goes out before it
        got: list[bytes] = []
        while b"that is all" not in got:
            got += theirs.receive_many()
        last.result(5)
        assert got.pop() == b"that is all"
        assert set(got) == {message}
        assert len(got) in (sent, sent + 1)


@pytest.mark.parametrize("name", MESSAGES)
def test_closing(make_pair: MakePair, name: str, in_thread: InThread) -> None:
    for how in ("close", "abort"):
        with make_pair(name) as (ours, _):
            begun = threading.Event()

            def receive(connection: sync.Messages = ours, begun: threading.Event = begun) -> bytes:
                begun.set()
                return connection.receive()

            receiving = in_thread(receive)
            begun.wait(5)
            time.sleep(0.01)
            getattr(ours, how)()
            with pytest.raises((ClosedConnection, EndOfStream, BrokenConnection)):
                receiving.result(5)
            ours.close()
            assert ours.closed
            uses = (ours.receive, ours.receive_many, lambda c=ours: c.send(b"x"), ours.fileno)
            for use in uses:
                with pytest.raises(ClosedConnection):
                    use()


@pytest.mark.parametrize("name", LOSSLESS)
def test_closing_is_bounded(make_pair: MakePair, name: str) -> None:
    with make_pair(name, Limits(close_seconds=0.1)) as (ours, _):
        with pytest.raises(TimeoutError), sync.timeout(0.05):
            while True:
                ours.send(bytes(min(ours.max_message_bytes, 50_000)))
        begun = time.monotonic()
        ours.close()
        assert time.monotonic() - begun < Limits().close_seconds


def test_an_interrupt_loses_nothing(make_pair: MakePair) -> None:
    """Ctrl-C while it blocks: the exception comes out, and the connection is as good as before."""
    with make_pair("mem") as (ours, theirs):
        timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            theirs.receive()
        timer.join()
        ours.send(b"123")
        assert theirs.receive() == b"123"


@pytest.mark.parametrize("name", LISTENING)
def test_serving(name: str, tmp_path: Path, no_leaks: None, in_thread: InThread) -> None:
    def echo(messages: sync.Messages) -> None:
        for message in messages:
            messages.send(message)

    def ask(where: Endpoint, number: int) -> bool:
        with sync.connect(where, Messages) as messages:
            sent = [numbered(1, number), b"", numbered(100, number)]
            messages.send_many(sent)
            messages.send_eof()
            return list(messages) == sent

    with sync.serve(MESSAGES[name].address(tmp_path), echo, Messages) as server:
        asked = [in_thread(ask, server.local, number) for number in range(20)]
        assert all(future.result(10) for future in asked)
        assert server.stats["accepted"] == 20


# --- datagrams


@contextmanager
def bound(name: str, folder: Path) -> Iterator[tuple[sync.Datagrams, sync.Datagrams]]:
    found = DATAGRAMS[name]
    with sync.bind(found.address(folder, 1)) as ours, sync.bind(found.address(folder, 2)) as theirs:
        yield ours, theirs


@pytest.mark.parametrize("name", DATAGRAMS)
def test_datagrams(name: str, tmp_path: Path, no_leaks: None) -> None:
    with bound(name, tmp_path) as (ours, theirs):
        ours.send(b"question", theirs.local)
        question = theirs.receive()
        assert question.data == b"question"
        theirs.answer(question, b"answer")
        assert ours.receive().data == b"answer"
        ours.send_many([b"1", b"", b"3"], str(theirs.local))
        batch = theirs.receive_many()
        while len(batch) < 3:
            batch += theirs.receive_many()
        theirs.send_many(batch)
        assert [ours.receive().data, next(ours).data, ours.receive(1).data] == [b"1", b"", b"3"]
        ours.send(b"123456", theirs.local)
        cut = theirs.receive(max_bytes=4)
        assert (cut.data, cut.truncated) == (b"1234", True)
        with pytest.raises(MessageTooLarge):
            ours.send(bytes(2_000_000), theirs.local)
        with pytest.raises(TimeoutError), sync.timeout(0.02):
            theirs.receive()


def test_an_unreachable_peer(no_leaks: None) -> None:
    with sync.bind("udp://127.0.0.1:0") as ours, sync.bind("udp://127.0.0.1:0") as theirs:
        gone = theirs.local
        theirs.close()
        with pytest.raises(UnreachablePeer) as told, sync.timeout(5):
            ours.send(b"x", gone)
            ours.receive()
        assert told.value.endpoint == gone


def test_closing_wakes_a_thread_that_waits_for_datagrams(no_leaks: None, in_thread: InThread) -> None:
    for how in ("close", "abort"):
        with sync.bind("udp://127.0.0.1:0") as ours:
            receiving = in_thread(ours.receive)
            time.sleep(0.02)
            getattr(ours, how)()
            with pytest.raises(ClosedConnection):
                receiving.result(5)


def test_the_ends_of_both_worlds_understand_each_other(tmp_path: Path, no_leaks: None, in_thread: InThread) -> None:
    """One end in a loop, the other in a thread."""
    from socketkit import connect

    def serve_one(listener: sync.Listener[sync.Messages]) -> list[bytes]:
        with listener.accept() as messages:
            got = list(messages)
            messages.send_many(got)
            return got

    async def ask(where: Endpoint) -> list[bytes]:
        async with connect(where, Messages) as messages:
            await messages.send_many([b"1", b"", b"2"])
            await messages.send_eof()
            return [message async for message in messages]

    for name in LISTENING:
        with sync.listen(MESSAGES[name].address(tmp_path), Messages) as listener:
            serving = in_thread(serve_one, listener)
            assert asyncio.run(ask(listener.local)) == [b"1", b"", b"2"]
            assert serving.result(5) == [b"1", b"", b"2"]
