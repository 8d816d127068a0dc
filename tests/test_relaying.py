"""Relaying two streams: every byte once and in order, half-close, resets, and what is left when it is stopped."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import socket
import struct
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import socketkit.sync
from socketkit import (
    BrokenConnection,
    BusyConnection,
    ClosedConnection,
    EndOfStream,
    RelayReport,
    Stream,
    connect,
    listen,
    relay,
)
from socketkit.relaying import Relay
from socketkit.testing import stream_pair
from socketkit.testing.claims import all_of, numbered, started, until
from tests.conformance.transports import adopted_pair, make_pair, url
from tests.conftest import Run
from tests.in_threads import named_threads

pytestmark = pytest.mark.usefixtures("no_leaks")

KINDS = ("tcp4", "unix", "mem", "tls", "tls-unix")
# Moved by the relay thread, by the loop, and by the loop with plain text on one side.
MOVERS = (("tcp4", "tcp4"), ("tls", "tls"), ("tls", "tcp4"), ("tcp4", "tls"))


@asynccontextmanager
async def chain(folder: Path, first: str = "tcp4", second: str = "tcp4") -> AsyncIterator[tuple[Stream, ...]]:
    """x - a | b - y: what is to be relayed is a and b."""
    (folder / "ab").mkdir(exist_ok=True)
    async with make_pair(first, folder)() as (x, a), make_pair(second, folder / "ab")() as (y, b):
        yield x, a, b, y


async def relayed(relaying: Relay) -> RelayReport:
    """As a user writes it: with a coroutine of his around."""
    return await relaying


async def passes(x: Stream, y: Stream, data: bytes = b"ping") -> None:
    await x.send(data)
    assert await y.receive_exactly(len(data)) == data


async def pour(stream: Stream, data: bytes) -> None:
    for start in range(0, len(data), 100_000):
        await stream.send(data[start : start + 100_000])


def reset(stream: Stream) -> None:
    """As a peer does that is killed with unread data, or pulls the plug."""
    with socket.socket(fileno=os.dup(stream.fileno())) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.abort()


@pytest.mark.parametrize("second", KINDS)
@pytest.mark.parametrize("first", KINDS)
def test_bytes_go_both_ways_until_both_have_ended(run: Run, first: str, second: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with chain(tmp_path, first, second) as (x, a, b, y):
            relaying = relay(a, b)
            assert (relaying.a_to_b_bytes, relaying.b_to_a_bytes) == (0, 0)
            task = await started(relayed(relaying))
            await passes(x, y, b"question")
            await passes(y, x, b"an answer")
            await until(lambda: (relaying.a_to_b_bytes, relaying.b_to_a_bytes) == (8, 9))
            await x.send_eof()
            assert await all_of(y) == b""
            assert not task.done()
            await passes(y, x, b"more after the end")
            await y.send_eof()
            assert await all_of(x) == b""
            report = await task
            assert (report.a_to_b_bytes, report.b_to_a_bytes) == (8, 27)
            assert 0 < report.seconds < 10
            assert (relaying.a_to_b_bytes, relaying.b_to_a_bytes) == (8, 27)
            assert (a.received_bytes, a.sent_bytes, b.received_bytes, b.sent_bytes) == (8, 27, 27, 8)
            for stream in (a, b):
                assert not stream.closed
                with pytest.raises(EndOfStream):
                    await stream.receive()
                with pytest.raises(ClosedConnection):
                    await stream.send(b"after the end")
                await stream.aclose()

    run(main())


@pytest.mark.parametrize("kinds", MOVERS)
@pytest.mark.parametrize("from_a", [True, False])
def test_each_half_closes_alone(run: Run, from_a: bool, kinds: tuple[str, str], tmp_path: Path) -> None:
    async def main() -> None:
        async with chain(tmp_path, *kinds) as (x, a, b, y):
            task = await started(relayed(relay(a, b)))
            early, late = (x, y) if from_a else (y, x)
            await early.send(b"last words")
            await early.send_eof()
            assert await all_of(late) == b"last words"
            for number in range(100):
                await passes(late, early, numbered(1, number))
            await late.aclose()
            assert await all_of(early) == b""
            report = await task
            assert {report.a_to_b_bytes, report.b_to_a_bytes} == {10, 800}

    run(main())


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [*MOVERS, ("tcp4", "unix"), ("mem", "tcp4"), ("mem", "tls")])
def test_50_mb_each_way(run: Run, kinds: tuple[str, str], tmp_path: Path) -> None:
    async def digest(stream: Stream) -> tuple[int, str]:
        hashed, count = hashlib.blake2b(), 0
        async for chunk in stream:
            hashed.update(chunk)
            count += len(chunk)
        return count, hashed.hexdigest()

    async def send(stream: Stream, data: bytes) -> None:
        await pour(stream, data)
        await stream.send_eof()

    async def main() -> None:
        one, other = os.urandom(50_000_000), os.urandom(50_000_000)
        async with chain(tmp_path, *kinds) as (x, a, b, y):
            task = await started(relayed(relay(a, b)))
            _, _, at_y, at_x = await asyncio.gather(send(x, one), send(y, other), digest(y), digest(x))
            assert at_y == (50_000_000, hashlib.blake2b(one).hexdigest())
            assert at_x == (50_000_000, hashlib.blake2b(other).hexdigest())
            report = await task
            assert (report.a_to_b_bytes, report.b_to_a_bytes) == (50_000_000, 50_000_000)
            assert (a.received_bytes, a.sent_bytes) == (50_000_000, 50_000_000)

    run(main(), 60)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_received_before_goes_first(run: Run, kind: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with chain(tmp_path, kind, kind) as (x, a, b, y):
            await x.send(b"header\nbody")
            await y.send(b"banner\nrest")
            assert await a.receive_until(b"\n") == b"header\n"
            assert await b.receive_until(b"\n") == b"banner\n"
            task = await started(relayed(relay(a, b)))
            await x.send(b" and more")
            await x.send_eof()
            await y.send_eof()
            assert (await all_of(y), await all_of(x)) == (b"body and more", b"rest")
            report = await task
            assert (report.a_to_b_bytes, report.b_to_a_bytes) == (13, 4)
            assert (a.received_bytes, a.sent_bytes, b.received_bytes, b.sent_bytes) == (20, 4, 11, 13)

    run(main())


@pytest.mark.parametrize("kinds", MOVERS)
def test_what_was_queued_to_a_side_goes_before_what_is_relayed(
    run: Run, kinds: tuple[str, str], tmp_path: Path
) -> None:
    data = numbered(1_000_000)

    async def main() -> None:
        async with chain(tmp_path, *kinds) as (x, a, b, y):
            await b.send(data)  # far more than the kernel takes
            task = await started(relayed(relay(a, b)))
            await x.send(b"behind")
            await x.send_eof()
            await y.send_eof()
            assert await all_of(y) == data + b"behind"
            report = await task
            assert report.a_to_b_bytes == len(b"behind")
            assert b.sent_bytes == len(data) + len(b"behind")

    run(main())


@pytest.mark.parametrize("kinds", MOVERS)
def test_an_end_that_was_received_or_sent_before(run: Run, kinds: tuple[str, str], tmp_path: Path) -> None:
    async def main() -> None:
        async with chain(tmp_path, *kinds) as (x, a, b, y):
            await x.send(b"all there is")
            await x.send_eof()
            with pytest.raises(EndOfStream):
                await a.receive_exactly(100)
            await a.send_eof()
            await y.send(b"cannot be passed on")
            assert await b.receive_exactly(7) == b"cannot "
            report = await relay(a, b)
            assert (report.a_to_b_bytes, report.b_to_a_bytes) == (12, 0)
            assert await all_of(y) == b"all there is"
            # What could not be sent to a is still b's to receive.
            await y.send_eof()
            assert await all_of(b) == b"be passed on"

    run(main())


@pytest.mark.parametrize("first", KINDS)
@pytest.mark.parametrize("second", KINDS)
def test_a_cancelled_relay_loses_no_byte(run: Run, first: str, second: str, tmp_path: Path) -> None:
    """Cancelled in the middle of much, both ways; then the owner goes on by hand."""
    one, other = numbered(500_000), numbered(500_000, 1 << 40)

    async def by_hand(source: Stream, destination: Stream) -> None:
        async for chunk in source:
            await destination.send(chunk)
        await destination.send_eof()

    async def collect(stream: Stream, into: bytearray) -> None:
        async for chunk in stream:
            into += chunk

    async def send(stream: Stream, data: bytes, cancelled: asyncio.Event) -> None:
        await pour(stream, data)
        await cancelled.wait()  # else the relay may be done before
        await stream.send_eof()

    async def main() -> None:
        for threshold in (1, 300_000, 2_000_000):
            async with chain(tmp_path, first, second) as (x, a, b, y):
                relaying = relay(a, b)
                task = await started(relayed(relaying))
                at_x, at_y = bytearray(), bytearray()
                cancelled = asyncio.Event()
                work = [send(x, one, cancelled), send(y, other, cancelled), collect(x, at_x), collect(y, at_y)]
                ends = [await started(coroutine) for coroutine in work]
                await until(lambda: relaying.a_to_b_bytes + relaying.b_to_a_bytes >= threshold)  # noqa: B023
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                cancelled.set()
                assert a.received_bytes >= relaying.a_to_b_bytes
                assert b.sent_bytes >= relaying.a_to_b_bytes
                await asyncio.gather(by_hand(a, b), by_hand(b, a), *ends)
                assert (bytes(at_y), bytes(at_x)) == (one, other)
                assert a.received_bytes == b.sent_bytes == len(one)
                assert b.received_bytes == a.sent_bytes == len(other)

    run(main(), 30)


@pytest.mark.parametrize("kinds", MOVERS)
def test_cancelled_and_relayed_again_many_times(run: Run, kinds: tuple[str, str], tmp_path: Path) -> None:
    data = numbered(500_000)

    async def main() -> None:
        async with chain(tmp_path, *kinds) as (x, a, b, y):

            async def send() -> None:
                await pour(x, data)
                await x.send_eof()
                await y.send_eof()

            sending, collecting = await started(send()), await started(all_of(y))
            for number in range(200):
                task = await started(relayed(relay(a, b)))
                await asyncio.sleep(0.0002 * (number % 5))
                task.cancel()
                await asyncio.wait([task])
                assert task.cancelled() or task.result()
                if not task.cancelled():
                    break
            else:
                await relay(a, b)
            await sending
            assert await collecting == data

    run(main())


@pytest.mark.parametrize("kinds", MOVERS)
def test_cancelled_twice_in_the_same_turn(run: Run, kinds: tuple[str, str], tmp_path: Path) -> None:
    async def main() -> None:
        for stalled in (False, True):
            async with chain(tmp_path, *kinds) as (x, a, b, y):
                task = await started(relayed(relay(a, b)))
                await passes(x, y)
                task.cancel()
                if stalled:
                    await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                await passes(x, a)
                await passes(b, y)

    run(main())


@pytest.mark.parametrize("kinds", MOVERS)
def test_cancelled_before_it_began(run: Run, kinds: tuple[str, str], tmp_path: Path) -> None:
    async def main() -> None:
        async with chain(tmp_path, *kinds) as (x, a, b, y):
            task = asyncio.get_running_loop().create_task(relayed(relay(a, b)))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await passes(x, a)
            await passes(b, y)

    run(main())


@pytest.mark.parametrize("kinds", MOVERS)
def test_a_time_limit_around_it(run: Run, kinds: tuple[str, str], tmp_path: Path) -> None:
    async def main() -> None:
        async with chain(tmp_path, *kinds) as (x, a, b, y):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await relay(a, b)
            await passes(x, a)
            await passes(b, y)

    run(main())


@pytest.mark.parametrize("kinds", MOVERS)
@pytest.mark.parametrize("side", ["a", "b"])
def test_a_reset_is_passed_on_as_a_reset(run: Run, side: str, kinds: tuple[str, str], tmp_path: Path) -> None:
    async def main() -> None:
        async with chain(tmp_path, *kinds) as (x, a, b, y):
            task = await started(relayed(relay(a, b)))
            await passes(x, y)
            broken, other, where = (x, y, a) if side == "a" else (y, x, b)
            reset(broken)
            with pytest.raises(BrokenConnection, match=f"side {side}: reset by the peer") as caught:
                await task
            assert caught.value.operation == "relay"
            assert caught.value.endpoint == where.peer.endpoint
            with pytest.raises(BrokenConnection):
                await other.receive()
            # The broken side says so to whoever goes on using it.
            with pytest.raises(BrokenConnection):
                await where.receive()
            with pytest.raises(BrokenConnection):
                await where.send(b"x")
            await where.aclose()

    run(main())


@pytest.mark.parametrize("kinds", MOVERS)
def test_a_reset_in_the_middle_of_much_is_no_end(run: Run, kinds: tuple[str, str], tmp_path: Path) -> None:
    async def main() -> None:
        async with chain(tmp_path, *kinds) as (x, a, b, y):
            task = await started(relayed(relay(a, b)))
            pouring = await started(pour(x, bytes(50_000_000)))
            await y.receive_exactly(1_000_000)
            pouring.cancel()
            reset(x)
            with pytest.raises(BrokenConnection):
                await all_of(y)
            with pytest.raises(BrokenConnection):
                await task

    run(main())


def test_an_end_that_was_not_announced_is_no_end(run: Run, tmp_path: Path) -> None:
    """A FIN without close_notify: anybody on the way can send that one."""

    async def main() -> None:
        async with chain(tmp_path, "tls", "tcp4") as (x, a, b, y):
            task = await started(relayed(relay(a, b)))
            await passes(x, y)
            with socket.socket(fileno=os.dup(x.fileno())) as sock:
                sock.shutdown(socket.SHUT_WR)
            with pytest.raises(BrokenConnection, match="side a: cut: it ended without close_notify"):
                await task
            with pytest.raises(BrokenConnection):
                await y.receive()

    run(main())


@pytest.mark.parametrize("kinds", [("unix", "unix"), ("unix", "tls-unix")])
def test_both_streams_are_busy_meanwhile(run: Run, kinds: tuple[str, str], tmp_path: Path) -> None:
    async def main() -> None:
        async with chain(tmp_path, *kinds) as (x, a, b, y):
            task = await started(relayed(relay(a, b)))
            for stream in (a, b):
                for use in (
                    lambda stream=stream: stream.receive(),
                    lambda stream=stream: stream.receive_exactly(1),
                    lambda stream=stream: stream.receive_until(b"\n"),
                    lambda stream=stream: stream.receive_fds(),
                    lambda stream=stream: stream.send(b"x"),
                    lambda stream=stream: stream.send_fds(b"x", []),
                    lambda stream=stream: stream.send_eof(),
                    lambda: relay(a, b),
                    lambda: relay(b, x),
                    lambda: relay(y, a),
                ):
                    with pytest.raises(BusyConnection):
                        await use()
            await passes(x, y)
            await passes(y, x)
            task.cancel()

    run(main())


@pytest.mark.parametrize("kinds", MOVERS)
def test_a_stream_that_somebody_waits_on_is_busy(run: Run, kinds: tuple[str, str], tmp_path: Path) -> None:
    async def receive(stream: Stream) -> bytes:
        return await stream.receive()

    async def main() -> None:
        async with chain(tmp_path, *kinds) as (x, a, b, y):
            receiving = await started(receive(b))
            with pytest.raises(BusyConnection):
                await relay(a, b)
            await y.send(b"goes to the one who waits")
            assert await receiving == b"goes to the one who waits"
            await passes(x, a)
            pouring = await started(pour(a, bytes(20_000_000)))
            with pytest.raises(BusyConnection):
                await relay(a, b)
            pouring.cancel()

    run(main())


@pytest.mark.parametrize("kinds", MOVERS)
def test_what_cannot_be_relayed(run: Run, kinds: tuple[str, str], tmp_path: Path) -> None:
    async def main() -> None:
        async with chain(tmp_path, *kinds) as (x, a, b, y):
            with pytest.raises(ValueError, match="itself"):
                relay(a, a)
            with pytest.raises(TypeError, match="two streams"):
                relay(a, "tcp://localhost:1")  # type: ignore[call-overload]
            await a.aclose()
            with pytest.raises(ClosedConnection):
                await relay(a, b)
            await passes(b, y)
            relaying = relay(x, y)
            x.abort()
            with pytest.raises(ClosedConnection):
                await relaying

    run(main())


@pytest.mark.parametrize("kinds", MOVERS)
def test_a_relay_is_used_once(run: Run, kinds: tuple[str, str], tmp_path: Path) -> None:
    async def main() -> None:
        async with chain(tmp_path, *kinds) as (x, a, b, y):
            relaying = relay(a, b)
            task = await started(relayed(relaying))
            with pytest.raises(RuntimeError, match="once"):
                await relaying
            await passes(x, y)
            task.cancel()

    run(main())


@pytest.mark.parametrize("kinds", [*MOVERS, ("unix", "tcp4"), ("tcp4", "mem"), ("tls", "mem")])
@pytest.mark.parametrize("side", ["a", "b"])
def test_aborting_a_side_ends_it_and_resets_the_other(
    run: Run, side: str, kinds: tuple[str, str], tmp_path: Path
) -> None:
    async def main() -> None:
        async with chain(tmp_path, *kinds) as (x, a, b, y):
            task = await started(relayed(relay(a, b)))
            await passes(x, y)
            (a if side == "a" else b).abort()
            with pytest.raises(ClosedConnection, match=f"side {side}"):
                await task
            assert a.closed and b.closed
            for end, kind in zip((x, y), kinds, strict=True):
                with pytest.raises(
                    EndOfStream if kind in ("unix", "mem") else BrokenConnection
                ):  # Unix sockets know no reset
                    await end.receive()

    run(main())


@pytest.mark.parametrize("kinds", MOVERS)
def test_closing_a_side_ends_it_and_sends_what_is_left(run: Run, kinds: tuple[str, str], tmp_path: Path) -> None:
    async def main() -> None:
        async with chain(tmp_path, *kinds) as (x, a, b, y):
            task = await started(relayed(relay(a, b)))
            await y.send(b"delivered")
            await until(lambda: a.fileno() >= 0)
            assert await x.receive() == b"delivered"
            await a.aclose()
            assert a.closed
            with pytest.raises(ClosedConnection, match="side a"):
                await task
            assert await all_of(x) == b""
            with pytest.raises(BrokenConnection):
                await y.receive()

    run(main())


def test_dropped_streams_are_reset(run: Run, tmp_path: Path) -> None:
    """The task is destroyed with its loop's last reference; nobody awaits the relay any more."""

    async def main() -> None:
        async with make_pair("tcp4", tmp_path)() as (x, a), make_pair("tcp4", tmp_path)() as (y, b):
            coroutine = relayed(relay(a, b))
            coroutine.send(None)
            await passes(x, y)
            coroutine.close()
            await passes(x, a)
            await passes(b, y)

    run(main())


def test_many_at_once(run: Run, tmp_path: Path) -> None:
    async def one(number: int) -> None:
        async with adopted_pair() as (x, a), adopted_pair() as (y, b):
            task = await started(relayed(relay(a, b)))
            for step in range(10):
                await passes(x, y, numbered(1, number * step))
            if number % 2:
                task.cancel()
                await asyncio.wait([task])
                await passes(x, a)
            else:
                await x.send_eof()
                await y.send_eof()
                assert (await task).a_to_b_bytes == 80

    async def main() -> None:
        await asyncio.gather(*(one(number) for number in range(60)))

    run(main())


def test_its_text(run: Run) -> None:
    async def main() -> None:
        async with stream_pair() as (_, a), stream_pair() as (_, b):
            assert repr(relay(a, b)) == f"<Relay {a.peer.endpoint} and {b.peer.endpoint}, 0 B and 0 B>"

    run(main())


def test_the_relay_thread_takes_no_signals() -> None:
    """One that was delivered there would leave the main thread asleep in its epoll."""
    threads = named_threads("relay")
    assert threads
    for folder in threads:
        blocked = int((folder / "status").read_text().partition("SigBlk:")[2].split()[0], 16)
        assert blocked & 1 << signal.SIGINT - 1


# --- socketkit.sync


def sync_chain(folder: Path, kind: str) -> tuple[socketkit.sync.Stream, ...]:
    streams: list[socketkit.sync.Stream] = []
    for number in (1, 2):
        with socketkit.sync.listen(url(kind, folder, number)) as listener:
            # At once: under TLS the one that connects waits for the other's half of the handshake.
            connecting = threading.Thread(target=lambda at=listener.local: streams.append(socketkit.sync.connect(at)))
            connecting.start()
            accepted = listener.accept()
            connecting.join()
            streams.append(accepted)
    x, a, y, b = streams
    return x, a, b, y


@pytest.mark.parametrize("kind", KINDS)
def test_blocking(kind: str, tmp_path: Path) -> None:
    x, a, b, y = sync_chain(tmp_path, kind)
    reports: list[RelayReport] = []
    thread = threading.Thread(target=lambda: reports.append(socketkit.sync.relay(a, b)))
    thread.start()
    x.send(b"question")
    assert y.receive_exactly(8) == b"question"
    y.send(b"an answer")
    assert x.receive_exactly(9) == b"an answer"
    with pytest.raises(BusyConnection):
        a.receive()
    x.close()
    y.close()
    thread.join(10)
    assert [(report.a_to_b_bytes, report.b_to_a_bytes) for report in reports] == [(8, 9)]
    a.close()
    b.close()


@pytest.mark.parametrize("kind", ["tcp4", "tls"])
def test_blocking_out_of_time_loses_no_byte(kind: str, tmp_path: Path) -> None:
    x, a, b, y = sync_chain(tmp_path, kind)
    with x, a, b, y:
        x.send(b"on the way")
        with pytest.raises(TimeoutError), socketkit.sync.timeout(0.05):
            socketkit.sync.relay(a, b)
        assert y.receive_exactly(10) == b"on the way"
        x.send(b"later")
        assert a.receive() == b"later"


@pytest.mark.parametrize("kind", ["tcp4", "tls"])
def test_blocking_and_aborted_by_another_thread(kind: str, tmp_path: Path) -> None:
    x, a, b, y = sync_chain(tmp_path, kind)
    aborting = threading.Timer(0.05, a.abort)
    aborting.start()
    with pytest.raises(ClosedConnection, match="side a"):
        socketkit.sync.relay(a, b)
    for end in (x, y):
        with pytest.raises(BrokenConnection):
            end.receive()
        end.close()
    aborting.join()


def test_streams_of_two_loops(run: Run) -> None:
    other = asyncio.new_event_loop()

    async def pair() -> tuple[Stream, Stream]:
        async with listen("mem://") as listener:
            return await connect(listener.local), await listener.accept()

    try:
        x, a = other.run_until_complete(pair())

        async def main() -> None:
            async with stream_pair() as (_, b):
                with pytest.raises(ValueError, match="different event loops"):
                    relay(a, b)

        run(main())
        x.abort()
        a.abort()
    finally:
        other.close()
