"""Records over a stream: borders, ends, cuts, limits; and with an implementation that is not ours."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typing_extensions import Buffer

from socketkit import (
    BrokenConnection,
    BusyConnection,
    ClosedConnection,
    EndOfStream,
    Endpoint,
    Identity,
    Limits,
    Listener,
    Messages,
    PeerViolation,
    connect,
    listen,
    sync,
)
from socketkit.errors import MessageTooLarge
from socketkit.records import BlockingRecordMessages, RecordMessages
from socketkit.verbs import Opening
from tests import sk_seq
from tests.conftest import Run

pytestmark = pytest.mark.usefixtures("no_leaks")

CARRIERS = pytest.mark.parametrize("scheme", ["seqpacket+tcp", "seqpacket+tls"])
LIMITS = Limits(close_seconds=0.5)
CLOSE = b"\xff\xff\xff\xff"


def framed(*payloads: bytes) -> bytes:
    return b"".join(struct.pack("!I", len(payload)) + payload for payload in payloads)


def listening(scheme: str, limits: Limits = LIMITS) -> Opening[Listener[Messages]]:
    return listen(f"{scheme}://127.0.0.1:0", Messages, limits=limits)


def connected(where: Endpoint, limits: Limits = LIMITS) -> Opening[Messages]:
    return connect(where, Messages, limits=limits)


@asynccontextmanager
async def pair(scheme: str, limits: Limits = LIMITS) -> AsyncIterator[tuple[RecordMessages, RecordMessages]]:
    """Who called, and who was called."""
    async with listening(scheme, limits) as listener:
        accepting: asyncio.Task[Any] = asyncio.ensure_future(_accepted(listener))
        async with connected(listener.local, limits) as ours, await accepting as theirs:
            assert isinstance(ours, RecordMessages)
            yield ours, theirs


async def _accepted(listener: Listener[Messages]) -> RecordMessages:
    accepted = await listener.accept()
    assert isinstance(accepted, RecordMessages)
    return accepted


@asynccontextmanager
async def against_bytes(limits: Limits = LIMITS) -> AsyncIterator[tuple[RecordMessages, socket.socket]]:
    """Ours, that was called by a plain socket that sends what a test writes."""
    async with listening("seqpacket+tcp", limits) as listener:
        with socket.create_connection(("127.0.0.1", listener.local.port or 0)) as raw:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            ours = await _accepted(listener)
            try:
                yield ours, raw
            finally:
                ours.abort()


def in_thread(work: Callable[[], Any]) -> asyncio.Future[Any]:
    return asyncio.get_running_loop().run_in_executor(None, work)


# --- records


@CARRIERS
def test_borders_and_order_are_kept(run: Run, scheme: str) -> None:
    async def main() -> None:
        async with pair(scheme) as (ours, theirs):
            await ours.send(b"one")
            await ours.send(b"")
            two_to_four: list[Buffer] = [b"two", b"", bytearray(b"three"), memoryview(b"four")]
            await ours.send_many(two_to_four)
            assert await theirs.receive() == b"one"
            assert await theirs.receive() == b""
            assert [await theirs.receive() for _ in range(4)] == [b"two", b"", b"three", b"four"]
            await theirs.send_many([])
            await theirs.send(b"back")
            assert await ours.receive_many() == [b"back"]
            assert (ours.sent_messages, ours.received_messages) == (6, 1)
            assert (theirs.sent_messages, theirs.received_messages) == (1, 6)
            assert (ours.dropped, ours.path_mtu_bytes, ours.max_message_bytes) == (0, None, LIMITS.message_bytes)
            assert ours.encrypted == scheme.endswith("tls")
            assert ours.alpn == ("sk-seq/1" if ours.encrypted else None)

    run(main())


@CARRIERS
def test_many_at_once(run: Run, scheme: str) -> None:
    async def main() -> None:
        async with pair(scheme) as (ours, theirs):
            sent = [bytes([number % 256]) * (number % 300) for number in range(5_000)]
            sending = asyncio.ensure_future(ours.send_many(sent))
            got: list[bytes] = []
            while len(got) < len(sent):
                some = await theirs.receive_many(1_000)
                assert 1 <= len(some) <= 1_000
                got += some
            await sending
            assert got == sent

    run(main())


@CARRIERS
@pytest.mark.parametrize("size", [1, 16_384, 32_764, 32_768, 65_531, 65_532, 65_536, 300_000, 1_048_576])
def test_every_size(run: Run, scheme: str, size: int) -> None:
    async def main() -> None:
        async with pair(scheme) as (ours, theirs):
            record = bytes(range(256)) * (size // 256 + 1)
            sent: list[Buffer] = [record[:size], b"between", bytearray(record[:size]), b""]
            sending = asyncio.ensure_future(ours.send_many(sent))
            assert [await theirs.receive() for _ in sent] == sent
            await sending

    run(main())


@given(st.lists(st.binary(max_size=300), max_size=20), st.integers(1, 7))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_records_in_any_pieces(payloads: list[bytes], piece: int) -> None:
    async def main() -> None:
        async with against_bytes() as (ours, raw):
            data = framed(*payloads) + CLOSE
            raw.setblocking(False)
            sending = asyncio.ensure_future(_in_pieces(raw, data, piece))
            assert [record async for record in ours] == payloads
            await sending

    asyncio.run(main())


async def _in_pieces(raw: socket.socket, data: bytes, piece: int) -> None:
    loop = asyncio.get_running_loop()
    for at in range(0, len(data), piece):
        await loop.sock_sendall(raw, data[at : at + piece])
        await asyncio.sleep(0)


def test_iteration_ends_at_the_close_record(run: Run) -> None:
    async def main() -> None:
        async with pair("seqpacket+tls") as (ours, theirs):
            await ours.send_many([b"a", b"b"])
            await ours.send_eof()
            assert [record async for record in theirs] == [b"a", b"b"]
            for receive in (theirs.receive, theirs.receive_many):
                with pytest.raises(EndOfStream):
                    await receive()

    run(main())


def test_what_a_stream_has_is_not_there(run: Run) -> None:
    async def main() -> None:
        async with pair("seqpacket+tcp") as (ours, _):
            for name in ("receive_exactly", "receive_until", "start_tls", "lines"):
                assert not hasattr(ours, name)
            with pytest.raises(AttributeError, match="RecordMessages has no receive_exactly"):
                ours.receive_exactly(1)

    run(main())


def test_max_count_is_at_least_one(run: Run) -> None:
    async def main() -> None:
        async with pair("seqpacket+tcp") as (ours, _):
            with pytest.raises(ValueError, match="max_count must be at least 1"):
                await ours.receive_many(0)

    run(main())


# --- ends


@CARRIERS
def test_half_close(run: Run, scheme: str) -> None:
    async def main() -> None:
        async with pair(scheme) as (ours, theirs):
            await ours.send(b"question")
            await ours.send_eof()
            await ours.send_eof()
            with pytest.raises(ClosedConnection):
                await ours.send(b"more")
            assert await theirs.receive() == b"question"
            with pytest.raises(EndOfStream):
                await theirs.receive()
            await theirs.send(b"answer")
            assert await ours.receive() == b"answer"

    run(main())


@CARRIERS
def test_closing_says_so(run: Run, scheme: str) -> None:
    async def main() -> None:
        async with pair(scheme) as (ours, theirs):
            await ours.send(b"last")
            await ours.aclose()
            await ours.aclose()
            assert ours.closed
            assert await theirs.receive() == b"last"
            with pytest.raises(EndOfStream):
                await theirs.receive()
            with pytest.raises(ClosedConnection):
                await ours.receive()

    run(main())


@CARRIERS
def test_closing_sends_what_is_queued(run: Run, scheme: str) -> None:
    async def main() -> None:
        async with pair(scheme, Limits(close_seconds=5)) as (ours, theirs):
            sent = [bytes(200_000)] * 20
            await ours.send_many(sent)
            closing = asyncio.ensure_future(ours.aclose())
            assert [record async for record in theirs] == sent
            await closing

    run(main())


def test_a_server_ends_with_the_close_record(run: Run) -> None:
    """What `serve` calls when a handler has returned."""

    async def main() -> None:
        async with pair("seqpacket+tls") as (ours, theirs):
            await theirs.send(b"x")
            assert theirs._close_soon()
            assert [record async for record in ours] == [b"x"]

    run(main())


def test_aborting_is_a_cut(run: Run) -> None:
    async def main() -> None:
        async with pair("seqpacket+tcp") as (ours, theirs):
            ours.abort()
            with pytest.raises(BrokenConnection, match="reset"):
                await theirs.receive()

    run(main())


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b"", "without a close record"),
        (framed(b"whole"), "without a close record"),
        (b"\0\0", "inside a record"),
        (framed(b"half")[:-1], "inside a record"),
        (CLOSE[:3], "inside a record"),
    ],
)
def test_an_end_without_a_close_record_is_a_cut(run: Run, sent: bytes, words: str) -> None:
    async def main() -> None:
        async with against_bytes() as (ours, raw):
            raw.sendall(sent)
            raw.shutdown(socket.SHUT_WR)
            if sent.endswith(b"whole"):
                assert await ours.receive() == b"whole"
            for _ in range(2):
                with pytest.raises(BrokenConnection, match=f"cut: the stream ended {words}"):
                    await ours.receive()

    run(main())


def test_an_end_that_tls_announces_is_no_end_of_records(run: Run) -> None:
    async def main() -> None:
        async with listening("seqpacket+tls") as listener:
            peer = await in_thread(lambda: sk_seq.call(listener.local.port or 0, tls=True))
            theirs = await _accepted(listener)
            peer.send(b"x")
            closing = in_thread(peer.close)  # close_notify without a close record
            assert await theirs.receive() == b"x"
            with pytest.raises(BrokenConnection, match="without a close record"):
                await theirs.receive()
            await theirs.aclose()
            with suppress(OSError):
                await closing
            peer.sock.close()

    run(main())


# --- violations


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (0x80000000, "0x80000000 is no length of a record: it is reserved"),
        (0xFFFFFFFE, "0xfffffffe is no length of a record: it is reserved"),
        (1_001, "a record of 1001 bytes, and limits.message_bytes is 1000"),
        (0x7FFFFFFF, "a record of 2147483647 bytes, and limits.message_bytes is 1000"),
    ],
)
def test_a_length_is_refused_as_soon_as_it_is_there(run: Run, length: int, words: str) -> None:
    async def main() -> None:
        async with against_bytes(LIMITS.replace(message_bytes=1_000)) as (ours, raw):
            raw.sendall(framed(bytes(1_000)) + struct.pack("!I", length))
            assert await ours.receive() == bytes(1_000)
            for _ in range(2):
                with pytest.raises(PeerViolation, match=re.escape(words)):
                    await ours.receive()

    run(main())


def test_nothing_may_follow_the_close_record(run: Run) -> None:
    async def main() -> None:
        async with against_bytes() as (ours, raw):
            raw.sendall(framed(b"x") + CLOSE + b"?")
            assert await ours.receive_many() == [b"x"]
            with pytest.raises(PeerViolation, match="1 bytes came behind the close record"):
                await ours.receive()
        async with against_bytes() as (ours, raw):
            raw.sendall(CLOSE)
            with pytest.raises(EndOfStream):
                await ours.receive()
            raw.sendall(b"too late to matter")
            with pytest.raises(EndOfStream):
                await ours.receive()

    run(main())


def test_too_long_a_record_is_not_sent(run: Run) -> None:
    async def main() -> None:
        async with pair("seqpacket+tcp", LIMITS.replace(message_bytes=1_000)) as (ours, theirs):
            assert ours.max_message_bytes == 1_000
            for send in (ours.send(bytes(1_001)), ours.send_many([b"fits", bytes(1_001)])):
                with pytest.raises(MessageTooLarge, match=r"1,001 bytes, and 1,000 are the most"):
                    await send
            await ours.send(bytes(1_000))
            assert await theirs.receive() == bytes(1_000)
            assert ours.sent_messages == 1

    run(main())


def test_limits_without_an_end_have_the_protocols(run: Run) -> None:
    async def main() -> None:
        async with pair("seqpacket+tcp", Limits.unlimited()) as (ours, _):
            assert ours.max_message_bytes == 0x7FFFFFFF

    run(main())


# --- tasks


@CARRIERS
def test_a_cancelled_receive_loses_nothing(run: Run, scheme: str) -> None:
    """At every moment of a record that arrives in pieces, for each way to receive."""

    async def main() -> None:
        async with pair(scheme) as (ours, theirs):
            for number in range(300):
                record = b"%d" % number * 50
                ways = (theirs.receive, theirs.receive_many, theirs.__anext__)
                receiving = asyncio.ensure_future(_awaited(ways[number % 3]))
                for _ in range(number % 4):
                    await asyncio.sleep(0)
                await ours.send(record)
                for _ in range(number // 4 % 4):
                    await asyncio.sleep(0)
                receiving.cancel()
                try:
                    got: Any = await receiving
                except asyncio.CancelledError:
                    got = await theirs.receive()
                assert got in (record, [record])

    run(main(), 30)


async def _awaited(call: Callable[..., Any], *arguments: Any) -> Any:
    """For tasks that may be cancelled before they begin."""
    return await call(*arguments)


def test_a_cancelled_receive_of_a_half_record_keeps_it(run: Run) -> None:
    async def main() -> None:
        async with against_bytes() as (ours, raw):
            record = bytes(100_000)
            data = framed(record)
            for at in (2, 4, 5, 20_000, 99_000):
                raw.sendall(data[:at])
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(_awaited(ours.receive), 0.02)
                raw.sendall(data[at:])
                assert await ours.receive() == record

    run(main())


@CARRIERS
def test_a_cancelled_send_has_sent_nothing(run: Run, scheme: str) -> None:
    async def main() -> None:
        async with pair(scheme) as (ours, theirs):
            sent = 0
            while True:
                try:
                    await asyncio.wait_for(_awaited(ours.send, b"%d" % sent * 20_000), 0.05)
                except TimeoutError:
                    break
                sent += 1
            assert ours.sent_messages == sent
            sending = asyncio.ensure_future(ours.send_many([b"never"] * 3))
            await asyncio.sleep(0)
            sending.cancel()
            ending = asyncio.ensure_future(ours.send_eof())
            got = [record async for record in theirs]
            await ending
            assert got == [b"%d" % number * 20_000 for number in range(sent)]

    run(main())


@CARRIERS
def test_concurrent_senders_do_not_mix(run: Run, scheme: str) -> None:
    async def main() -> None:
        async with pair(scheme) as (ours, theirs):

            async def talk(who: int) -> None:
                for number in range(40):
                    await ours.send_many([bytes([who]) * (who * 700), b"%d %d" % (who, number)])

            async def everybody() -> None:
                await asyncio.gather(*map(talk, range(1, 9)))
                await ours.send_eof()

            talking = asyncio.ensure_future(everybody())
            got = [record async for record in theirs]
            await talking
            assert len(got) == 8 * 40 * 2
            heard = dict.fromkeys(range(1, 9), 0)
            for payload, label in zip(got[::2], got[1::2], strict=True):
                who, number = map(int, label.split())
                assert payload == bytes([who]) * (who * 700)
                assert number == heard[who]
                heard[who] += 1

    run(main())


def test_two_receivers_are_refused(run: Run) -> None:
    async def main() -> None:
        async with pair("seqpacket+tcp") as (ours, theirs):
            first = asyncio.ensure_future(_awaited(ours.receive))
            await asyncio.sleep(0)
            with pytest.raises(BusyConnection):
                await ours.receive_many()
            await theirs.send(b"x")
            assert await first == b"x"

    run(main())


def test_who_does_not_receive_is_not_read(run: Run) -> None:
    """The peer must wait; what waits here is bounded."""

    async def main() -> None:
        async with pair("seqpacket+tcp") as (ours, theirs):
            await ours.send(b"first")
            assert await theirs.receive() == b"first"
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    while True:
                        await ours.send(bytes(50_000))
            assert theirs.received_bytes < 300_000

    run(main())


def test_a_promise_takes_no_memory(run: Run) -> None:
    """Long records that have only begun keep what has come of them, not what was announced."""

    async def main() -> None:
        async with listening("seqpacket+tcp", Limits.unlimited().replace(message_bytes=16 << 20)) as listener:
            with ExitStack() as callers:
                before = resident_bytes()
                receiving = []
                for _ in range(50):
                    raw = callers.enter_context(socket.create_connection(("127.0.0.1", listener.local.port or 0)))
                    raw.sendall(struct.pack("!I", 16 << 20) + bytes(50_000))
                    ours = await _accepted(listener)
                    callers.callback(ours.abort)
                    receiving.append(asyncio.ensure_future(_awaited(ours.receive)))
                await asyncio.sleep(0.05)
                grown = resident_bytes() - before
                assert not any(task.done() for task in receiving)
                assert grown < 50 * 400_000, f"{grown:,} bytes for 50 promises of 16 MiB"
            for outcome in await asyncio.gather(*receiving, return_exceptions=True):
                assert isinstance(outcome, ClosedConnection)

    run(main())


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_first_record_must_come_in_time(run: Run) -> None:
    async def main() -> None:
        async with against_bytes(LIMITS.replace(first_message_seconds=0.6)) as (ours, raw):
            raw.sendall(framed(bytes(100))[:50])  # a part of one is none
            with pytest.raises(BrokenConnection, match="first_message_seconds"):
                await ours.receive()
        async with against_bytes(LIMITS.replace(first_message_seconds=0.6)) as (ours, raw):
            raw.sendall(framed(b""))
            assert await ours.receive() == b""
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(_awaited(ours.receive), 1.5)

    run(main())


def test_a_record_must_not_drip(run: Run) -> None:
    async def main() -> None:
        limits = LIMITS.replace(slow_window_seconds=0.6, slowest_bytes_per_second=1_000)
        async with against_bytes(limits) as (ours, raw):
            raw.sendall(framed(b"x"))
            assert await ours.receive() == b"x"
            dripping = asyncio.ensure_future(_drip(raw, framed(bytes(1_000))))
            with pytest.raises(BrokenConnection, match="slowest_bytes_per_second"):
                await ours.receive()
            dripping.cancel()

    run(main())


async def _drip(raw: socket.socket, data: bytes) -> None:
    with suppress(OSError):
        for at in range(len(data)):
            raw.sendall(data[at : at + 1])
            await asyncio.sleep(0.05)


# --- a second implementation


@CARRIERS
def test_a_stranger_calls(run: Run, scheme: str) -> None:
    async def main() -> None:
        async with listening(scheme) as listener:
            port = listener.local.port or 0
            talking = in_thread(lambda: _ask(sk_seq.call(port, tls=scheme.endswith("tls"))))
            async with await _accepted(listener) as theirs:
                await theirs.send_many([b"welcome", b""])
                got = [record async for record in theirs]
            assert got == QUESTIONS
            assert await talking == [b"welcome", b""]

    run(main())


@CARRIERS
def test_a_stranger_is_called(run: Run, scheme: str, tmp_path: Path) -> None:
    async def main() -> None:
        pem = None
        if scheme.endswith("tls"):
            pem = tmp_path / "stranger.pem"
            identity = Identity.new()
            pem.write_bytes(identity._pem)
        with socket.create_server(("127.0.0.1", 0)) as door:
            talking = in_thread(lambda: _ask(sk_seq.answer(door, str(pem) if pem else None)))
            pin = f"?pin={identity.fingerprint}" if pem else ""
            where = Endpoint.parse(f"{scheme}://127.0.0.1:{door.getsockname()[1]}{pin}")
            async with connected(where) as ours:
                await ours.send_many([b"welcome", b""])
                got = [record async for record in ours]
            assert got == QUESTIONS
            assert await talking == [b"welcome", b""]

    run(main())


QUESTIONS = [b"one", b"", bytes(range(256)) * 400, b"last"]


def _ask(peer: sk_seq.Peer) -> list[bytes]:
    """Byte by byte, then many in one segment; then the end, and what the other side had to say."""
    for byte in framed(*QUESTIONS[:2]):
        peer.sock.sendall(bytes([byte]))
    peer.send(*QUESTIONS[2:])
    peer.end()
    heard = peer.all()
    with suppress(OSError):
        peer.close()
    peer.sock.close()
    return heard


# --- blocking


@CARRIERS
def test_blocking(scheme: str) -> None:
    def echo(listener: sync.Listener[sync.Messages]) -> list[bytes]:
        heard = []
        with listener.accept() as theirs:
            for record in theirs:
                heard.append(record)
                theirs.send(record)
        return heard

    with sync.listen(f"{scheme}://127.0.0.1:0", sync.Messages) as listener, ThreadPoolExecutor(1) as pool:
        echoing = pool.submit(echo, listener)
        with sync.connect(listener.local, sync.Messages) as ours:
            assert isinstance(ours, BlockingRecordMessages)
            ours.send(b"one")
            ours.send_many([b"", b"three"])
            got: list[bytes] = []
            while len(got) < 3:
                got += ours.receive_many()
            ours.send_eof()
            with pytest.raises(EndOfStream):
                ours.receive()
            assert got == echoing.result() == [b"one", b"", b"three"]
        assert ours.closed


def test_blocking_out_of_time_has_taken_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        with sync.connect(f"seqpacket+tcp://127.0.0.1:{door.getsockname()[1]}", sync.Messages) as ours:
            raw, _ = door.accept()
            with raw:
                raw.sendall(framed(b"whole")[:6])
                for receive in (ours.receive, ours.receive_many):
                    with pytest.raises(TimeoutError), sync.timeout(0.05):
                        receive()
                raw.sendall(framed(b"whole")[6:] + CLOSE)
                assert list(ours) == [b"whole"]


def test_blocking_threads_send_whole_records() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door, ThreadPoolExecutor(1) as pool:
        hearing = pool.submit(_hear, door)
        with sync.connect(f"seqpacket+tcp://127.0.0.1:{door.getsockname()[1]}", sync.Messages) as ours:
            talkers = [threading.Thread(target=_talk, args=(ours, who)) for who in range(4)]
            for talker in talkers:
                talker.start()
            for talker in talkers:
                talker.join()
            ours.send_eof()
            assert sorted(hearing.result()) == sorted(bytes([who]) * 30_000 for who in range(4) for _ in range(20))


def _hear(door: socket.socket) -> list[bytes]:
    peer = sk_seq.answer(door)
    with peer.sock:
        return peer.all()


def _talk(ours: sync.Messages, who: int) -> None:
    for _ in range(20):
        ours.send(bytes([who]) * 30_000)


# --- the page


def test_the_examples_of_the_page() -> None:
    """Each worked example: what it says in bytes is what is sent for what it says in words."""
    page = (Path(__file__).parents[1] / "docs" / "protocols" / "sk-seq.md").read_text()
    examples = re.findall(r"^    ((?:[0-9a-f]{2} ?)+)  +(.+)$", page, re.MULTILINE)
    assert len(examples) >= 4
    for data, words in examples:
        payloads = [text.encode() for text in re.findall(r'"([^"]*)"', words)]
        end = CLOSE if "close record" in words else b""
        assert bytes.fromhex(data) == framed(*payloads) + end, words
