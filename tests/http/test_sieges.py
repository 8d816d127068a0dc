"""Clients that take places and give nothing: honest ones are served meanwhile, and the others are gone in the end."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import h2.events
import pytest

from socketkit import Limits, Stream, connect
from socketkit.http import multiplexed, serve
from tests.conftest import Run

from .applications import answer, echo, hello, parted, request, require_http, talk
from .raw_frames import (
    CANCEL,
    CONTINUATION,
    DATA,
    END_STREAM,
    HEADERS,
    PREFACE,
    PROTOCOL_ERROR,
    Wire,
    block,
    frame,
    settings,
    window_update,
    wire_to,
)
from .raw_frames import request as request_frame
from .test_multiplexed import URL, client_of

pytestmark = [pytest.mark.usefixtures("no_leaks"), pytest.mark.slow]


@pytest.mark.parametrize(
    "beginning",
    [b"", b"GET / HTTP/1.1\r\nX: ", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nx"],
    ids=["silent", "half a head", "half a body"],
)
def test_half_open_clients_keep_nobody_out(run: Run, beginning: bytes) -> None:
    limits = Limits(connections=400, first_message_seconds=3, idle_seconds=3, slow_window_seconds=2)

    async def main() -> tuple[list[int], int]:
        async with serve("tcp://127.0.0.1:0", echo, limits=limits) as service, AsyncExitStack() as attackers:
            streams = []
            for _ in range(300):
                stream = await attackers.enter_async_context(connect(str(service.local)))
                if beginning:
                    await stream.send(beginning)
                streams.append(stream)
            served = [parted(await talk(service.local, request()))[0] for _ in range(20)]
            await asyncio.gather(*map(ends, streams))
            return served, service.connections

    served, left = run(main(), seconds=25)
    assert served == [200] * 20
    assert left == 0


async def ends(stream: Stream) -> None:
    """Return when the other side has had enough."""
    try:
        async for _ in stream:
            pass
    except OSError:
        pass


# --- HTTP/2, whose looks at its peers are ten seconds apart


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiplexed, "LOOK_SECONDS", 0.2)


def is_end(event: h2.events.Event) -> bool:
    return isinstance(event, h2.events.ConnectionTerminated)


def is_reset(event: h2.events.Event) -> bool:
    return isinstance(event, h2.events.StreamReset)


@pytest.mark.usefixtures("quick")
def test_a_connection_without_requests_is_ended(run: Run) -> None:
    async def main() -> int:
        async with serve(URL, hello, limits=Limits(idle_seconds=1)) as service, client_of(service) as client:
            await client.answer(await client.ask())
            return int((await client.until(is_end)).error_code)

    assert run(main()) == 0


@pytest.mark.usefixtures("quick")
def test_a_running_request_keeps_it_as_long_as_pings_are_answered(run: Run) -> None:
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        require_http(scope)
        await asyncio.sleep(2)
        await hello(scope, receive, send)

    async def main() -> int:
        async with serve(URL, slow, limits=Limits(idle_seconds=1)) as service, client_of(service) as client:
            return (await client.answer(await client.ask()))[0]

    assert run(main()) == 200


@pytest.mark.usefixtures("quick")
def test_a_peer_that_answers_no_ping_is_left(run: Run) -> None:
    ended = asyncio.Event()

    async def waits(scope: Any, receive: Any, send: Any) -> None:
        require_http(scope)
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        ended.set()

    async def main() -> None:
        async with serve(URL, waits) as service, client_of(service) as client:
            await client.ask()
            await ended.wait()  # the client reads nothing, and so answers nothing

    run(main())


@pytest.mark.usefixtures("quick")
def test_a_body_that_comes_too_slowly_is_reset(run: Run) -> None:
    async def main() -> int:
        async with serve(URL, echo) as service, client_of(service) as client:
            number = await client.ask(method=b"POST", end=False)
            client.h2.send_data(number, b"a")
            await client.flush()
            return int((await client.until(is_reset)).error_code)

    assert run(main()) == 8  # CANCEL


@pytest.mark.usefixtures("quick")
def test_a_window_that_stays_closed_is_reset(run: Run) -> None:
    async def large(scope: Any, receive: Any, send: Any) -> None:
        require_http(scope)
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": bytes(1_000_000)})

    async def main() -> int:
        async with serve(URL, large, limits=Limits(write_stalled_seconds=1)) as service, client_of(service) as client:
            client.acknowledges = False
            await client.ask()
            return int((await client.until(is_reset)).error_code)

    assert run(main()) == 8


@pytest.mark.usefixtures("quick")
def test_a_window_that_opens_byte_by_byte_is_reset(run: Run) -> None:
    """CVE-2019-9511: each byte is some progress, and none that anybody could wait for."""

    async def large(scope: Any, receive: Any, send: Any) -> None:
        require_http(scope)
        await answer(send, bytes(1_000_000))

    async def main() -> tuple[str, int]:
        async with serve(URL, large, limits=Limits(write_stalled_seconds=1)) as service:
            async with wire_to(service, PREFACE + settings((4, 1))) as wire:
                await wire.send(request_frame(1))
                dripping = asyncio.create_task(drip(wire))
                try:
                    return await wire.ending()
                finally:
                    dripping.cancel()
                    await asyncio.wait([dripping])

    async def drip(wire: Wire) -> None:
        while True:
            await wire.send(window_update(1, 1))
            await asyncio.sleep(0.02)

    assert run(main()) == ("stream", CANCEL)


@pytest.mark.usefixtures("quick")
def test_a_slow_reader_who_goes_on_is_served(run: Run) -> None:
    async def large(scope: Any, receive: Any, send: Any) -> None:
        require_http(scope)
        await answer(send, bytes(100_000))

    limits = Limits(write_stalled_seconds=0.5, slowest_bytes_per_second=5_000)

    async def main() -> None:
        async with serve(URL, large, limits=limits) as service:
            async with wire_to(service, PREFACE + settings((4, 1_000))) as wire:
                await wire.send(window_update(0, 1_000_000) + request_frame(1))
                opening = asyncio.create_task(open_slowly(wire))
                try:
                    await wire.until_answered(1)
                finally:
                    opening.cancel()
                    await asyncio.wait([opening])

    async def open_slowly(wire: Wire) -> None:
        while True:
            await wire.send(window_update(1, 2_000))
            await asyncio.sleep(0.02)

    run(main())


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "piece",
    [b"", frame(CONTINUATION, 0, 1, b"\0"), frame(DATA, 0, 1)[:3]],
    ids=["no request", "a block that drips", "a frame that drips"],
)
def test_whoever_begins_nothing_is_left(run: Run, piece: bytes) -> None:
    async def main() -> tuple[str, int]:
        async with serve(URL, hello, limits=Limits(idle_seconds=1)) as service, wire_to(service) as wire:
            if piece:
                await wire.send(frame(HEADERS, END_STREAM, 1, block()[:5]))
            dripping = asyncio.create_task(drip(wire))
            try:
                return await wire.ending()
            finally:
                dripping.cancel()
                await asyncio.wait([dripping])

    async def drip(wire: Wire) -> None:
        for byte in piece * 3:
            await wire.send(bytes([byte]))
            await asyncio.sleep(0.1)

    assert run(main()) in (("connection", 0), ("connection", PROTOCOL_ERROR), ("closed", 0))
