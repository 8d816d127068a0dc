"""HTTP/2's denials of service: what is cheap to send and dear to handle, or to keep, has a bound on the wire.

`test_floods` has each bound for itself, `test_sieges` what takes time.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from socketkit import Limits, SocketError
from socketkit.http import multiplexed, serve
from tests.conftest import Run

from .applications import answer, hello, require_http
from .raw_frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PROTOCOL_ERROR,
    RST_STREAM,
    SETTINGS,
    Wire,
    block,
    field,
    frame,
    number,
    request,
    reset,
    settings,
    window_update,
    wire_to,
)

pytestmark = pytest.mark.usefixtures("no_leaks")

OPEN = END_HEADERS


def in_turn(make: Any, count: int) -> bytes:
    """`make` of the numbers of so many streams."""
    return b"".join(make(2 * index + 1) for index in range(count))


def with_continuations(stream: int) -> bytes:
    return (
        frame(HEADERS, END_STREAM, stream, block())
        + frame(CONTINUATION, 0, stream) * 62
        + frame(9, END_HEADERS, stream)
    )


FLOODS: dict[str, bytes] = {
    "pings": frame(PING, 0, 0, bytes(8)) * 150,
    "answers to pings (CVE-2019-9512)": frame(PING, ACK, 0, bytes(8)) * 150,
    "settings (CVE-2019-9515)": settings((4, 65_535)) * 30,
    "acknowledged settings": frame(SETTINGS, ACK) * 150,
    "priorities (CVE-2019-9513)": frame(PRIORITY, 0, 1, b"\0\0\0\0\1") * 1_100,
    "windows": window_update(0, 1) * 4_100,
    "windows of streams that are over": request(1) + window_update(1, 1) * 4_100,
    "empty data (CVE-2019-9518)": request(1, flags=OPEN) + frame(DATA, 0, 1) * 150,
    "data that is padding": request(1, flags=OPEN) + frame(DATA, PADDED, 1, bytes([9]) + bytes(9)) * 150,
    "small data": request(1, flags=OPEN) + frame(DATA, 0, 1, b"a") * 2_100,
    "unknown frames": frame(0x16, 0, 0) * 150,
    "resets (CVE-2023-44487)": in_turn(lambda stream: request(stream) + reset(stream), 150),
    "resets of streams that are over (CVE-2019-9514)": request(1, flags=OPEN) + reset(1) * 150,
    "data on a stream that is over (CVE-2019-9514)": (
        request(1, flags=OPEN) + reset(1) + frame(DATA, 0, 1, bytes(64)) * 600
    ),
    "requests that must be reset (CVE-2025-8671)": in_turn(lambda stream: request(stream) * 2, 600),
    "bodies behind the end (CVE-2025-8671)": in_turn(
        lambda stream: request(stream) + frame(DATA, END_STREAM, stream, b"a"), 600
    ),
    "continuations (CVE-2024-27316)": in_turn(with_continuations, 10),
}


async def ending_of(wire: Wire, sent: bytes) -> tuple[str, int]:
    """How the connection ends while all of it is sent; resets of streams are no end of it."""

    async def send() -> None:
        with suppress(OSError):
            await wire.send(sent)

    sending = asyncio.create_task(send())
    try:
        while (how := await wire.ending())[0] == "stream":
            pass
        return how
    finally:
        sending.cancel()
        await asyncio.wait([sending])


@pytest.mark.parametrize("name", FLOODS)
def test_cheap_frames_are_bounded(run: Run, name: str) -> None:
    most = running = 0

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        nonlocal most, running
        require_http(scope)
        running += 1
        most = max(most, running)
        try:
            await asyncio.sleep(0.05)
            await answer(send, b"")
        finally:
            running -= 1

    async def main() -> tuple[str, int]:
        async with serve("tls://127.0.0.1:0", slow) as service, wire_to(service) as wire:
            ending = await ending_of(wire, FLOODS[name])
            assert service.stats["abuse"] == 1
            return ending

    how, code = run(main())
    assert how == "connection"
    assert code == ENHANCE_YOUR_CALM
    assert most <= multiplexed.MOST_STREAMS


def test_a_second_flood_keeps_its_source_out(run: Run) -> None:
    async def main() -> None:
        limits = Limits(trusted=())
        async with serve("tls://127.0.0.1:0", hello, limits=limits) as service:
            for _ in range(2):
                async with wire_to(service) as wire:
                    await ending_of(wire, FLOODS["pings"])
            with pytest.raises(SocketError):
                async with wire_to(service):
                    pass
            assert (service.stats["abuse"], service.stats["refused_penalty"]) == (2, 1)

    run(main())


def test_a_block_without_an_end_is_bounded(run: Run) -> None:
    """CVE-2024-27316: no more than a few pieces of it are kept, whatever they hold."""
    piece = frame(CONTINUATION, 0, 1, b"\0\x01a\x80" + b"x" * 16_000)

    async def main() -> tuple[str, int]:
        async with serve("tls://127.0.0.1:0", hello) as service, wire_to(service) as wire:
            return await ending_of(wire, frame(HEADERS, 0, 1, block()) + piece * 100)

    how, code = run(main())
    assert how == "connection"
    assert code in (ENHANCE_YOUR_CALM, PROTOCOL_ERROR)


BOMBS: dict[str, bytes] = {
    # CVE-2016-6581: an entry of the table that is named again and again by one byte.
    "an entry named 1,000 times": block() + b"\x40\x01x" + number(3_000, 7) + b"a" * 3_000 + b"\xbe" * 1_000,
    "many empty fields": block() + b"\0\x01x\0" * 2_000,
    "a long value": block() + b"\0\x01x" + number(33_000, 7) + b"a" * 33_000,
    "a long name": block() + b"\0" + number(33_000, 7) + b"a" * 33_000 + b"\0",
    "cookies without end": block() + field(b"cookie", b"") * 1_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_fields_are_bounded(run: Run, name: str) -> None:
    bomb = BOMBS[name]
    pieces = [bomb[at : at + 16_000] for at in range(0, len(bomb), 16_000)]
    sent = frame(HEADERS, END_STREAM | (END_HEADERS if len(pieces) == 1 else 0), 1, pieces[0])
    for left, piece in zip(range(len(pieces) - 2, -1, -1), pieces[1:], strict=True):
        sent += frame(CONTINUATION, 0 if left else END_HEADERS, 1, piece)
    asked: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        require_http(scope)
        asked.append(scope)

    async def main() -> tuple[str, int]:
        async with serve("tls://127.0.0.1:0", app) as service, wire_to(service) as wire:
            return await ending_of(wire, sent)

    how, code = run(main())
    assert (how, code) == ("connection", ENHANCE_YOUR_CALM)
    assert asked == []


def test_bodies_that_no_application_takes_are_bounded(run: Run) -> None:
    """By the window of the connection: whoever sends more breaks the rules."""

    async def busy(scope: Any, receive: Any, send: Any) -> None:
        require_http(scope)
        await asyncio.Event().wait()

    def body(stream: int) -> bytes:
        return request(stream, flags=OPEN) + frame(DATA, 0, stream, bytes(16_000)) * 4

    async def main() -> tuple[str, int]:
        async with serve("tls://127.0.0.1:0", busy, limits=Limits(grace_seconds=0)) as service:
            async with wire_to(service) as wire:
                return await ending_of(wire, in_turn(body, 1 + multiplexed.CONNECTION_WINDOW // 64_000))

    assert run(main()) == ("connection", FLOW_CONTROL_ERROR)


def test_streams_that_are_over_leave_nothing(run: Run) -> None:
    async def main() -> tuple[int, int]:
        async with serve("tls://127.0.0.1:0", hello) as service, wire_to(service) as wire:
            for index in range(150):
                await wire.send(request(2 * index + 1))
                await wire.until_answered(2 * index + 1)
            (connection,) = service._conversing
            assert isinstance(connection, multiplexed.Multiplexed)
            while connection._tasks:  # the last one has a word behind its answer
                await asyncio.sleep(0)
            return len(connection._requests), len(connection.h2.streams)

    requests, streams = run(main())
    assert requests == 0
    assert streams <= 2


def test_a_client_that_never_reads_holds_no_more_than_a_buffer(run: Run) -> None:
    """A hundred answers wait for him, each with one frame of its own."""
    sent_bytes = 0

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent_bytes
        require_http(scope)
        await send({"type": "http.response.start", "status": 200})
        while True:
            await send({"type": "http.response.body", "body": bytes(16_384), "more_body": True})
            sent_bytes += 16_384

    async def main() -> int:
        async with serve("tls://127.0.0.1:0", endless, limits=Limits(grace_seconds=0)) as service:
            async with wire_to(service, PREFACE + settings((4, (1 << 31) - 1))) as wire:
                await wire.send(window_update(0, 1 << 30) + in_turn(request, 100))
                before = -1
                while before != sent_bytes:
                    before = sent_bytes
                    await asyncio.sleep(0.2)
                return before

    assert run(main()) < 16 << 20


def test_others_are_served_between_the_frames_of_one(run: Run) -> None:
    """A read full of requests is not handled in one go."""
    turns = 0

    async def main() -> None:
        async with serve("tls://127.0.0.1:0", hello) as service, wire_to(service) as wire:
            looking = asyncio.create_task(look(asyncio.get_running_loop()))
            try:
                await wire.send(in_turn(lambda stream: request(stream) + window_update(stream, 1) * 15, 100))
                await wire.until_answered(199)
            finally:
                looking.cancel()

    async def look(loop: asyncio.AbstractEventLoop) -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    run(main())
    assert turns > 1_600 / multiplexed.FRAMES_AT_ONCE


def test_a_reset_costs_as_many_as_are_taken(run: Run) -> None:
    """A browser that leaves a page with everything still loading is no attacker."""

    async def waits(scope: Any, receive: Any, send: Any) -> None:
        require_http(scope)
        if scope["path"] == "/next":
            await hello(scope, receive, send)
        else:
            assert (await receive())["type"] == "http.request"
            assert (await receive())["type"] == "http.disconnect"

    async def main() -> None:
        async with serve("tls://127.0.0.1:0", waits) as service, wire_to(service) as wire:
            await wire.send(in_turn(request, 90))
            await wire.send(in_turn(lambda stream: frame(RST_STREAM, 0, stream, b"\0\0\0\x08"), 90))
            await wire.send(request(1001, block(path=b"/next")))
            await wire.until_answered(1001)

    run(main())
