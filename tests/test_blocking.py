"""The blocking connections and their listener: their own methods, their time, threads that share them.

What every stream must keep, whatever carries it, is in tests/conformance/test_sync.py.
"""

from __future__ import annotations

import errno
import os
import pickle
import time
import weakref
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from socketkit import (
    BrokenConnection,
    BusyConnection,
    ClosedConnection,
    EndOfStream,
    Limits,
    PeerViolation,
    _core,
    blocking,
    sync,
)
from socketkit import connect as connect_async
from socketkit.drivers import ThreadDriver, block
from socketkit.opening import open_stream
from tests.conftest import Run
from tests.in_threads import BIG, echo, in_thread, pair, wait_until, wait_until_blocked

pytestmark = pytest.mark.usefixtures("no_leaks")


# --- their names


@pytest.mark.parametrize("name", ["Stream", "Messages", "SocketMessages", "RecordMessages", "Datagrams", "Listener"])
def test_they_are_called_as_users_meet_them(name: str) -> None:
    kind = getattr(sync, name)
    assert kind is getattr(blocking, name)
    assert repr(kind) == f"<class 'socketkit.sync.{name}'>"
    assert b"socketkit.sync" in pickle.dumps(kind)
    assert pickle.loads(pickle.dumps(kind)) is kind


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
