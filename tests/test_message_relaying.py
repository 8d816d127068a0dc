"""Two sides that keep borders, joined: what passes, what is refused, how it ends, and what a cancellation leaves."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from socketkit import BrokenConnection, ClosedConnection, EndOfStream, PeerViolation, RelayReport, relay
from socketkit import message_relaying as module
from socketkit.errors import MessageTooLarge
from socketkit.limits import Limits
from socketkit.message_relaying import MessageRelay
from socketkit.testing import message_pair, stream_pair
from socketkit.testing.claims import started, until
from tests.conftest import Run

pytestmark = pytest.mark.usefixtures("no_leaks")

ENDING = ["mem://", "seqpacket+tcp://localhost:0", "seqpacket+tls://localhost:0", "seqpacket+unix://{folder}/{number}"]
ENDLESS = ["udp://127.0.0.1:0", "dgram+unix://{folder}/{number}"]


def pair(url: str, folder: Path, number: int) -> Any:
    return message_pair(url.format(folder=folder, number=number))


async def awaited(relaying: MessageRelay) -> RelayReport:
    return await relaying


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AFTER_END_SECONDS", 0.1)


@pytest.mark.parametrize("left", ENDING)
@pytest.mark.parametrize("right", ENDING)
def test_borders_and_ends_are_passed_on(run: Run, left: str, right: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with pair(left, tmp_path, 1) as (x, a), pair(right, tmp_path, 2) as (b, y):
            relaying = relay(a, b)
            task = await started(awaited(relaying))
            await x.send_many([b"one", b"t" * 2000, b"three"])
            assert [await y.receive() for _ in range(3)] == [b"one", b"t" * 2000, b"three"]
            await x.send_eof()
            with pytest.raises(EndOfStream):
                await y.receive()
            await y.send(b"late")
            await y.send_eof()
            assert await x.receive() == b"late"
            with pytest.raises(EndOfStream):
                await x.receive()
            report = await task
            assert report[:2] + report[3:] == (2008, 4, 3, 1)
            assert (relaying.a_to_b_messages, relaying.b_to_a_bytes, relaying.refused) == (3, 4, 0)

    run(main())


@pytest.mark.parametrize("right", ENDLESS)
def test_silence_is_the_end_of_what_knows_none(run: Run, right: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with message_pair() as (x, a), pair(right, tmp_path, 1) as (b, y):
            task = await started(awaited(relay(a, b)))
            await x.send(b"question")
            await x.send_eof()
            assert await y.receive() == b"question"
            await y.send(b"answer")
            assert await x.receive() == b"answer"
            with pytest.raises(EndOfStream):
                await x.receive()
            assert (await task).b_to_a_messages == 1

    run(main())


def test_empty_messages_are_messages(run: Run) -> None:
    async def main() -> None:
        async with message_pair() as (x, a), message_pair("seqpacket+tcp://localhost:0") as (b, y):
            task = await started(awaited(relay(a, b)))
            await x.send_many([b"", b"x", b""])
            assert [await y.receive() for _ in range(3)] == [b"", b"x", b""]
            task.cancel()

    run(main())


def test_what_a_datagram_cannot_hold_is_refused_counted_and_logged(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with message_pair() as (x, a), message_pair("udp://127.0.0.1:0") as (b, y):
            relaying = relay(a, b)
            task = await started(awaited(relaying))
            await x.send_many([b"before", bytes(65_507), bytes(65_508), bytes(65_509), b"behind"])
            assert [len(await y.receive()) for _ in range(3)] == [6, 65_507, 6]
            assert relaying.refused == 2
            task.cancel()

    with caplog.at_level(logging.WARNING, "socketkit"):
        run(main())
    (told,) = caplog.messages
    assert "a message of 65,508 bytes is more than the 65,507 that fit in one; it does not go to udp://" in told


def test_where_nothing_may_be_missing_too_large_a_message_ends_it(run: Run) -> None:
    async def main() -> None:
        small = Limits(message_bytes=1000)
        async with message_pair() as (x, a), message_pair("seqpacket+tcp://localhost:0", limits=small) as (b, y):
            task = await started(awaited(relay(a, b)))
            await x.send(bytes(1001))
            with pytest.raises(MessageTooLarge, match=r"1,001 bytes is more than the 1,000"):
                await task
            with pytest.raises(BrokenConnection):
                await y.receive()

    run(main())


def test_reset_is_passed_on(run: Run) -> None:
    async def main() -> None:
        url = "seqpacket+tcp://localhost:0"
        async with message_pair(url) as (x, a), message_pair(url) as (b, y):
            task = await started(awaited(relay(a, b)))
            x.abort()
            with pytest.raises(BrokenConnection, match="relay seqpacket"):
                await task
            with pytest.raises(BrokenConnection):
                await y.receive()

    run(main())


def test_closed_here(run: Run) -> None:
    async def main() -> None:
        async with message_pair() as (_, a), message_pair() as (b, y):
            task = await started(awaited(relay(a, b)))
            await a.aclose()
            with pytest.raises(ClosedConnection):
                await task
            with pytest.raises((BrokenConnection, EndOfStream)):
                await y.receive()

    run(main())


def test_cancelled_both_sides_stay_usable_and_nothing_is_lost(run: Run) -> None:
    async def main() -> None:
        url = "seqpacket+tcp://localhost:0"
        async with message_pair(url) as (x, a), message_pair(url) as (b, y):
            task = await started(awaited(relay(a, b)))
            messages = [number.to_bytes(4, "big") + bytes(10_000) for number in range(2000)]
            sending = asyncio.ensure_future(asyncio.wait_for(x.send_many(messages), 9))
            first = [await y.receive() for _ in range(10)]
            task.cancel()
            receiving = asyncio.ensure_future(_drained(y, 2000 - 10))
            await asyncio.wait([task])
            assert task.cancelled()
            again = await started(awaited(relay(a, b)))
            assert first + await receiving == messages
            await sending
            await b.send(b"mine")  # was relayed to y, and may be used beside it
            assert await y.receive() == b"mine"
            again.cancel()

    run(main(), 20)


async def _drained(side: Any, count: int) -> list[bytes]:
    messages: list[bytes] = []
    while len(messages) < count:
        messages += await side.receive_many()
    return messages


def test_slow_side_stops_the_other(run: Run) -> None:
    async def main() -> None:
        url = "seqpacket+tcp://localhost:0"
        async with message_pair(url) as (x, a), message_pair(url) as (b, _):
            relaying = relay(a, b)
            task = await started(awaited(relaying))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    while True:
                        await x.send(bytes(100_000))
            # What the buffers of both connections hold, and one batch.
            assert x.sent_messages * 100_000 < 60_000_000
            task.cancel()

    run(main())


def test_unreachable_peer_is_counted_and_ends_nothing(run: Run) -> None:
    async def main() -> None:
        async with message_pair() as (x, a), message_pair("udp://127.0.0.1:0") as (b, y):
            relaying = relay(a, b)
            task = await started(awaited(relaying))
            y.abort()
            while not relaying.unreachable:
                await x.send(b"anybody?")
                await asyncio.sleep(0.01)
            assert not task.done()
            task.cancel()

    run(main())


@pytest.mark.parametrize(
    ("cut", "sent"), [("lines", b"one\n\nthree"), ("lengths", b"\0\0\0\3one\0\0\0\0\0\0\0\5three")]
)
def test_stream_is_cut(run: Run, cut: Any, sent: bytes) -> None:
    async def main() -> None:
        async with stream_pair() as (x, a), message_pair() as (b, y):
            task = await started(awaited(relay(a, b, messages=cut)))
            for at in range(0, len(sent), 5):
                await x.send(sent[at : at + 5])
            await x.send_eof()
            assert [await y.receive() for _ in range(3)] == [b"one", b"", b"three"]
            with pytest.raises(EndOfStream):
                await y.receive()
            await y.send_many([b"one", b"", b"three"])
            await y.send_eof()
            back = b""
            async for chunk in x:
                back += chunk
            assert back.rstrip(b"\n") == sent
            assert (await task)[3:] == (3, 3)

    run(main())


def test_border_that_a_line_cannot_keep(run: Run) -> None:
    async def main() -> None:
        async with stream_pair() as (x, a), message_pair() as (b, y):
            task = await started(awaited(relay(a, b, messages="lines")))
            await y.send(b"one\ntwo")
            with pytest.raises(MessageTooLarge, match="as lengths it can"):
                await task
        async with stream_pair() as (x, a), message_pair("udp://127.0.0.1:0") as (b, y):
            relaying = relay(a, b, messages="lines")
            task = await started(awaited(relaying))
            await y.send_many([b"one\ntwo", b"three\n"])
            assert await x.receive() == b"three\n"
            assert relaying.refused == 1
            task.cancel()

    run(main())


def test_stream_that_ends_inside_a_message(run: Run) -> None:
    async def main() -> None:
        async with stream_pair() as (x, a), message_pair() as (b, y):
            task = await started(awaited(relay(a, b, messages="lengths")))
            await x.send(b"\0\0\0\1a\0\0\0\5b")
            await x.send_eof()
            assert await y.receive() == b"a"
            with pytest.raises(PeerViolation, match="ends inside a message"):
                await task

    run(main())


def test_idle(run: Run) -> None:
    async def main() -> None:
        async with message_pair() as (_, a), message_pair() as (b, _):
            with pytest.raises(BrokenConnection, match=r"no message either way for 0\.05 s"):
                await MessageRelay(a, b, idle_seconds=0.05)
        async with message_pair() as (x, a), message_pair("udp://127.0.0.1:0") as (b, _):
            await MessageRelay(a, b, idle_seconds=0.05)
            with pytest.raises(EndOfStream):
                await x.receive()

    run(main())


def test_is_used_once(run: Run) -> None:
    async def main() -> None:
        async with message_pair() as (_, a), message_pair() as (b, _):
            relaying = relay(a, b)
            task = await started(awaited(relaying))
            with pytest.raises(RuntimeError, match="once"):
                await relaying
            assert "0 messages and 0 messages" in repr(relaying)
            task.cancel()
            await until(task.done)

    run(main())
