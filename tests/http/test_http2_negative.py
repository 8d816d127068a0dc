"""What a peer of HTTP/2 must not do (RFC 9113), frame by frame as h2spec asks it, but in bytes of our own.

An error of a stream may be answered by the end of the stream or of the connection (RFC 9113 §5.4.1); one of the
connection ends it. Afterwards the server answers as before: on the same connection where that goes on, and on a new
one.
Fields and their compression are in `test_http2_fields`.
"""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import pytest

from socketkit.http import serve
from tests.conftest import Run

from .applications import answer, require_http
from .raw_frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    STREAM_CLOSED,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    Wire,
    block,
    frame,
    request,
    reset,
    settings,
    window_update,
    wire_to,
)

pytestmark = pytest.mark.usefixtures("no_leaks")


class Answered(NamedTuple):
    """Wait until this stream has its whole answer."""

    stream: int


Step = bytes | Answered
OPEN = END_HEADERS  # a request whose body is still to come

# section and what is sent -> the codes that an error of the connection may have
ENDS_THE_CONNECTION: dict[str, tuple[tuple[Step, ...], set[int]]] = {
    "4.2 HEADERS above the bound": ((frame(HEADERS, OPEN, 1, bytes(16_385)),), {FRAME_SIZE_ERROR}),
    "4.2 a length of 16 MB": ((b"\xff\xff\xff" + frame(DATA, 0, 1)[3:],), {FRAME_SIZE_ERROR}),
    "4.3 PRIORITY inside a block": (
        (frame(HEADERS, 0, 1, block()) + frame(PRIORITY, 0, 3, bytes(5)),),
        {PROTOCOL_ERROR},
    ),
    "4.3 another HEADERS inside a block": ((frame(HEADERS, 0, 1, block()) + request(3),), {PROTOCOL_ERROR}),
    "4.3 an unknown frame inside a block": (
        (frame(HEADERS, 0, 1, block()) + frame(0x16, 0, 1) + frame(CONTINUATION, END_HEADERS, 1),),
        {PROTOCOL_ERROR},
    ),
    "4.3 another stream's CONTINUATION": (
        (frame(HEADERS, 0, 1, block()) + frame(CONTINUATION, END_HEADERS, 3),),
        {PROTOCOL_ERROR},
    ),
    "5.1 DATA on an idle stream": ((frame(DATA, END_STREAM, 1, b"a"),), {PROTOCOL_ERROR}),
    "5.1 RST_STREAM on an idle stream": ((reset(1),), {PROTOCOL_ERROR}),
    "5.1 WINDOW_UPDATE on an idle stream": ((window_update(1, 1),), {PROTOCOL_ERROR}),
    "5.1 CONTINUATION on an idle stream": ((frame(CONTINUATION, END_HEADERS, 1, block()),), {PROTOCOL_ERROR}),
    "5.1 HEADERS on a stream that ended": ((request(1), Answered(1), request(1)), {STREAM_CLOSED, PROTOCOL_ERROR}),
    "5.1 CONTINUATION on a stream that ended": (
        (request(1), Answered(1), frame(CONTINUATION, END_HEADERS, 1, block())),
        {STREAM_CLOSED, PROTOCOL_ERROR},
    ),
    "5.1.1 an even number": ((request(2),), {PROTOCOL_ERROR}),
    "5.1.1 a lower number": ((request(5), Answered(5), request(3)), {PROTOCOL_ERROR, STREAM_CLOSED}),
    "5.1.1 number 0": ((request(0),), {PROTOCOL_ERROR}),
    "6.1 DATA on stream 0": ((frame(DATA, END_STREAM, 0, b"a"),), {PROTOCOL_ERROR}),
    "6.1 DATA with more padding than frame": (
        (request(1, flags=OPEN) + frame(DATA, PADDED | END_STREAM, 1, b"\x05ab"),),
        {PROTOCOL_ERROR},
    ),
    "6.1 padded DATA without a length": (
        (request(1, flags=OPEN) + frame(DATA, PADDED, 1),),
        {PROTOCOL_ERROR, FRAME_SIZE_ERROR},
    ),
    "6.2 HEADERS with more padding than frame": (
        (frame(HEADERS, OPEN | END_STREAM | PADDED, 1, b"\xff" + block()[:20]),),
        {PROTOCOL_ERROR},
    ),
    "6.2 HEADERS shorter than its priority": (
        (frame(HEADERS, OPEN | END_STREAM | WITH_PRIORITY, 1, b"\0\0"),),
        {FRAME_SIZE_ERROR, PROTOCOL_ERROR},
    ),
    "6.3 PRIORITY on stream 0": ((frame(PRIORITY, 0, 0, bytes(5)),), {PROTOCOL_ERROR}),
    "6.4 RST_STREAM on stream 0": ((reset(0),), {PROTOCOL_ERROR}),
    "6.4 RST_STREAM of 3 bytes": ((request(1, flags=OPEN) + frame(RST_STREAM, 0, 1, bytes(3)),), {FRAME_SIZE_ERROR}),
    "6.5 SETTINGS on a stream": ((frame(SETTINGS, 0, 1),), {PROTOCOL_ERROR}),
    "6.5 SETTINGS of 5 bytes": ((frame(SETTINGS, 0, 0, bytes(5)),), {FRAME_SIZE_ERROR}),
    "6.5 an acknowledgement with a payload": ((frame(SETTINGS, ACK, 0, bytes(6)),), {FRAME_SIZE_ERROR}),
    "6.5.2 ENABLE_PUSH 2": ((settings((2, 2)),), {PROTOCOL_ERROR}),
    "6.5.2 a window of 2^31": ((settings((4, 1 << 31)),), {FLOW_CONTROL_ERROR}),
    "6.5.2 MAX_FRAME_SIZE 16,383": ((settings((5, 16_383)),), {PROTOCOL_ERROR}),
    "6.5.2 MAX_FRAME_SIZE 2^24": ((settings((5, 1 << 24)),), {PROTOCOL_ERROR}),
    "6.6 PUSH_PROMISE of a client": (
        (request(1, flags=OPEN) + frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2" + block()),),
        {PROTOCOL_ERROR},
    ),
    "6.7 PING on a stream": ((frame(PING, 0, 1, bytes(8)),), {PROTOCOL_ERROR}),
    "6.7 PING of 7 bytes": ((frame(PING, 0, 0, bytes(7)),), {FRAME_SIZE_ERROR}),
    "6.7 PING of 9 bytes": ((frame(PING, 0, 0, bytes(9)),), {FRAME_SIZE_ERROR}),
    "6.8 GOAWAY on a stream": ((frame(GOAWAY, 0, 1, bytes(8)),), {PROTOCOL_ERROR}),
    "6.8 GOAWAY of 7 bytes": ((frame(GOAWAY, 0, 0, bytes(7)),), {FRAME_SIZE_ERROR}),
    "6.9 WINDOW_UPDATE by 0": ((window_update(0, 0),), {PROTOCOL_ERROR}),
    "6.9 WINDOW_UPDATE of 3 bytes": ((frame(WINDOW_UPDATE, 0, 0, bytes(3)),), {FRAME_SIZE_ERROR}),
    "6.9.1 the connection's window above 2^31-1": ((window_update(0, (1 << 31) - 1),), {FLOW_CONTROL_ERROR}),
    "6.9.2 SETTINGS that open a window above 2^31-1": (
        (request(1, flags=OPEN) + window_update(1, (1 << 31) - 65_536) + settings((4, 65_536)),),
        {FLOW_CONTROL_ERROR},
    ),
    "6.10 CONTINUATION without HEADERS": (
        (request(1, flags=OPEN) + frame(CONTINUATION, END_HEADERS, 1, b""),),
        {PROTOCOL_ERROR},
    ),
    "6.10 CONTINUATION on stream 0": (
        (frame(HEADERS, 0, 1, block()) + frame(CONTINUATION, END_HEADERS, 0),),
        {PROTOCOL_ERROR},
    ),
}

# section and what is sent -> the codes that an error of the stream may have
ENDS_THE_STREAM: dict[str, tuple[tuple[Step, ...], set[int]]] = {
    "4.2 DATA above the bound": (
        (request(1, flags=OPEN) + frame(DATA, END_STREAM, 1, bytes(16_385)),),
        {FRAME_SIZE_ERROR},
    ),
    "5.1 DATA behind the answer": ((request(1), Answered(1), frame(DATA, END_STREAM, 1, b"a")), {STREAM_CLOSED}),
    "5.1 DATA behind the end": ((request(1) + frame(DATA, END_STREAM, 1, b"a"),), {STREAM_CLOSED}),
    "5.1 HEADERS behind the end": ((request(1) + request(1),), {STREAM_CLOSED}),
    "5.1 DATA behind a reset": (
        (request(1, flags=OPEN) + reset(1) + frame(DATA, END_STREAM, 1, b"a"),),
        {STREAM_CLOSED},
    ),
    "5.1 HEADERS behind a reset": ((request(1, flags=OPEN) + reset(1) + request(1),), {STREAM_CLOSED}),
    "5.1.2 more streams than are allowed": (
        (b"".join(request(2 * index + 1, flags=OPEN) for index in range(101)),),
        {REFUSED_STREAM, PROTOCOL_ERROR},
    ),
    "5.3.1 a stream that depends on itself": ((frame(PRIORITY, 0, 1, b"\0\0\0\1\x10"),), {PROTOCOL_ERROR}),
    "5.3.1 a request that depends on itself": (
        (frame(HEADERS, OPEN | END_STREAM | WITH_PRIORITY, 1, b"\0\0\0\1\x10" + block()),),
        {PROTOCOL_ERROR},
    ),
    "6.3 PRIORITY of 4 bytes": ((frame(PRIORITY, 0, 1, bytes(4)),), {FRAME_SIZE_ERROR}),
    "6.9 a stream's WINDOW_UPDATE by 0": ((request(1, flags=OPEN) + window_update(1, 0),), {PROTOCOL_ERROR}),
    "6.9.1 a stream's window above 2^31-1": (
        (request(1, flags=OPEN) + window_update(1, (1 << 31) - 1),),
        {FLOW_CONTROL_ERROR},
    ),
    "6.9.1 more DATA than the window": (
        (request(1, flags=OPEN) + b"".join(frame(DATA, 0, 1, bytes(16_384)) for _ in range(5)),),
        {FLOW_CONTROL_ERROR},
    ),
    "8.1 trailers that do not end the stream": (
        (request(1, flags=OPEN) + frame(HEADERS, END_HEADERS, 1, block()[:0] + b"\0\1x\1y"),),
        {PROTOCOL_ERROR},
    ),
}

# What a receiver ignores, or must take: the request behind it is answered.
IS_TAKEN: dict[str, tuple[Step, ...]] = {
    "4.1 an unknown frame": (frame(0x16, 0xFF, 0, bytes(8)),),
    "4.1 an unknown frame on an idle stream": (frame(0x16, 0, 1, b"x"),),
    "4.1 flags that mean nothing": (frame(PING, 0xFE, 0, bytes(8)),),
    "4.1 the reserved bit": (frame(PING, 0, 1 << 31, bytes(8)),),
    "5.1 PRIORITY on an idle stream": (frame(PRIORITY, 0, 1, b"\0\0\0\0\x10"),),
    "5.1 PRIORITY on a closed stream": (request(1), Answered(1), frame(PRIORITY, 0, 1, b"\0\0\0\0\x10")),
    "5.1 WINDOW_UPDATE behind the answer": (request(1), Answered(1), window_update(1, 1)),
    "5.1 RST_STREAM behind the answer": (request(1), Answered(1), reset(1)),
    "6.1 DATA with padding": (
        request(1, flags=OPEN) + frame(DATA, PADDED | END_STREAM, 1, b"\x03ab" + bytes(3)),
        Answered(1),
    ),
    "6.2 HEADERS with padding and a priority": (
        frame(HEADERS, OPEN | END_STREAM | PADDED | WITH_PRIORITY, 1, b"\x02\0\0\0\0\x10" + block() + bytes(2)),
        Answered(1),
    ),
    "6.4 a reset with an unknown code": (request(1, flags=OPEN) + reset(1, 0xFFFFFFFF),),
    "6.5.2 an unknown setting": (settings((0xAAAA, 7)),),
    "6.5.3 a setting twice: the last one counts": (settings((4, 0), (4, 65_535)), request(1), Answered(1)),
    "6.7 an acknowledgement that nobody asked for": (frame(PING, ACK, 0, bytes(8)),),
    "6.9.2 a window that is negative, and opens": (
        settings((4, 2)) + request(1) + settings((4, 0)) + settings((4, 65_535)),
        Answered(1),
    ),
    "6.10 a block in many pieces": (
        frame(HEADERS, END_STREAM, 1, block()[:3])
        + b"".join(frame(CONTINUATION, 0, 1, block()[at : at + 1]) for at in range(3, 20))
        + frame(CONTINUATION, END_HEADERS, 1, block()[20:]),
        Answered(1),
    ),
    "8.1 an empty DATA that ends a body": (request(1, flags=OPEN) + frame(DATA, END_STREAM, 1), Answered(1)),
    "8.1 trailers": (request(1, flags=OPEN) + frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\0\1x\1y"), Answered(1)),
}  # fmt: skip


async def late(scope: Any, receive: Any, send: Any) -> None:
    """Answer behind the whole body, as most applications do."""
    require_http(scope)
    while (event := await receive())["type"] == "http.request" and event["more_body"]:
        pass
    await answer(send, b"hello")


async def take(wire: Wire, steps: tuple[Step, ...]) -> None:
    for step in steps:
        if isinstance(step, Answered):
            await wire.until_answered(step.stream)
        else:
            await wire.send(step)


async def still_served(service: Any) -> None:
    async with wire_to(service) as honest:
        await honest.send(request(1))
        await honest.until_answered(1)


@pytest.mark.parametrize("case", ENDS_THE_CONNECTION)
def test_what_ends_the_connection(run: Run, case: str) -> None:
    steps, codes = ENDS_THE_CONNECTION[case]

    async def main() -> tuple[str, int]:
        async with serve("tls://127.0.0.1:0", late) as service:
            async with wire_to(service) as wire:
                await take(wire, steps)
                how = await wire.ending()
                if how[0] == "connection":
                    assert (await wire.ending())[0] == "closed"
            await still_served(service)
            return how

    how, code = run(main())
    assert how == "connection"
    assert code in codes


@pytest.mark.parametrize("case", ENDS_THE_STREAM)
def test_what_ends_the_stream(run: Run, case: str, caplog: pytest.LogCaptureFixture) -> None:
    steps, codes = ENDS_THE_STREAM[case]

    async def main() -> tuple[str, int]:
        async with serve("tls://127.0.0.1:0", late) as service:
            async with wire_to(service) as wire:
                await take(wire, steps)
                how = await wire.ending()
                if how[0] == "stream":
                    await wire.send(reset(5) + reset(7) if "5.1.2" in case else b"")
                    await wire.send(request(2001))
                    await wire.until_answered(2001)
                else:
                    assert (await wire.ending())[0] == "closed"
            await still_served(service)
            return how

    how, code = run(main())
    assert not caplog.records  # a peer's fault is none of the application's
    assert how in ("stream", "connection")
    assert code in codes


@pytest.mark.parametrize("case", IS_TAKEN)
def test_what_is_taken(run: Run, case: str) -> None:
    async def main() -> None:
        async with serve("tls://127.0.0.1:0", late) as service, wire_to(service) as wire:
            await take(wire, IS_TAKEN[case])
            await wire.send(request(2001))
            await wire.until_answered(2001)

    run(main())


@pytest.mark.parametrize(
    "beginning",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        PREFACE[:-2] + b"xx" + settings(),
        settings(),
        PREFACE + frame(PING, 0, 0, bytes(8)),
        PREFACE + request(1),
    ],
    ids=["HTTP/1.1", "another end", "no preface", "PING before SETTINGS", "a request before SETTINGS"],
)
def test_a_preface_that_is_none(run: Run, beginning: bytes) -> None:
    """RFC 9113 §3.4: PROTOCOL_ERROR, or an end without a word."""

    async def main() -> tuple[str, int]:
        async with serve("tls://127.0.0.1:0", late) as service:
            async with wire_to(service, beginning) as wire:
                how = await wire.ending()
            await still_served(service)
            return how

    assert run(main()) in (("connection", PROTOCOL_ERROR), ("closed", 0))


def test_settings_and_pings_are_acknowledged(run: Run) -> None:
    """RFC 9113 §6.5.3, §6.7"""

    async def main() -> None:
        async with serve("tls://127.0.0.1:0", late) as service, wire_to(service) as wire:
            await wire.send(frame(PING, 0, 0, b"12345678"))
            seen: list[tuple[int, bytes]] = []
            while len(seen) < 2:
                came = await wire.frame()
                assert came is not None
                if came.kind in (SETTINGS, PING) and came.flags & ACK:
                    seen.append((came.kind, came.payload))
            assert seen == [(SETTINGS, b""), (PING, b"12345678")]

    run(main())


def test_a_window_of_one_byte_is_kept_to(run: Run) -> None:
    """RFC 9113 §6.9.2"""

    async def main() -> list[bytes]:
        async with serve("tls://127.0.0.1:0", late) as service:
            async with wire_to(service, PREFACE + settings((4, 1))) as wire:
                await wire.send(request(1))
                pieces: list[bytes] = []
                while len(pieces) < 5:
                    came = await wire.frame()
                    assert came is not None
                    if came.kind == DATA:
                        pieces.append(came.payload)
                        await wire.send(window_update(1, 1))
                return pieces

    assert run(main()) == [b"h", b"e", b"l", b"l", b"o"]


def test_a_goaway_is_heeded(run: Run) -> None:
    """RFC 9113 §6.8, with an unknown code (§7), and words in it."""

    async def main() -> tuple[str, int]:
        async with serve("tls://127.0.0.1:0", late) as service:
            async with wire_to(service) as wire:
                await wire.send(frame(GOAWAY, 0, 0, bytes(4) + b"\0\0\xff\xff" + b"enough"))
                how = await wire.ending()
            await still_served(service)
            return how

    assert run(main())[0] in ("closed", "connection")


def test_one_bad_stream_leaves_the_others_alone(run: Run) -> None:
    async def main() -> None:
        running, go_on = asyncio.Event(), asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            require_http(scope)
            running.set()
            await go_on.wait()
            await answer(send, b"hello")

        async with serve("tls://127.0.0.1:0", app) as service, wire_to(service) as wire:
            await wire.send(request(1))
            await running.wait()
            await wire.send(request(3, flags=OPEN) + reset(3) + frame(DATA, END_STREAM, 3, b"a"))
            assert await wire.ending() == ("stream", STREAM_CLOSED)
            go_on.set()
            await wire.until_answered(1)

    run(main())
