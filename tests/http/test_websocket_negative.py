"""What a peer of WebSocket must not do (RFC 6455), in bytes of our own: each ends it with the code of the fault.

Afterwards the server takes another WebSocket as before.
"""

from __future__ import annotations

import asyncio
import zlib
from typing import Any

import pytest

from socketkit import Limits, Stream, connect
from socketkit.http import serve, websocket
from tests.conftest import Run

from .test_websocket import echo, offer

pytestmark = pytest.mark.usefixtures("no_leaks")

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
FIN, COMPRESSED = 0x80, 0x40
PROTOCOL, DATA, TOO_BIG = 1002, 1007, 1009
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"
MOST = 1_000
NO_CODES = (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000)


def frame(first: int, payload: bytes = b"", *, length: bytes = b"", masked: bool = True) -> bytes:
    """A frame, masked by zeros; `length` as it is written, if not in the shortest way."""
    count = len(payload)
    if not length:
        length = bytes([count]) if count < 126 else b"\x7e" + count.to_bytes(2, "big")
    mask = bytes(4) if masked else b""
    return bytes([first, length[0] | (0x80 if masked else 0)]) + length[1:] + mask + payload


def close(code: int, reason: bytes = b"") -> bytes:
    return frame(FIN | CLOSE, code.to_bytes(2, "big") + reason)


def deflated(data: bytes) -> bytes:
    making = zlib.compressobj(wbits=-15)
    return (making.compress(data) + making.flush(zlib.Z_SYNC_FLUSH))[:-4]


REFUSED: dict[str, tuple[bytes, int]] = {
    "5.1 not masked": (frame(FIN | TEXT, b"a", masked=False), PROTOCOL),
    "5.2 reserved bit 1 without its extension": (frame(FIN | 0x40 | TEXT, b"a"), PROTOCOL),
    "5.2 reserved bit 2": (frame(FIN | 0x20 | TEXT, b"a"), PROTOCOL),
    "5.2 reserved bit 3": (frame(FIN | 0x10 | TEXT, b"a"), PROTOCOL),
    **{f"5.2 opcode {code}": (frame(FIN | code, b"a"), PROTOCOL) for code in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "5.2 a length of 5 in two bytes": (frame(FIN | TEXT, b"abcde", length=b"\x7e\0\5"), PROTOCOL),
    "5.2 a length of 5 in eight bytes": (frame(FIN | TEXT, b"abcde", length=b"\x7f" + bytes(7) + b"\5"), PROTOCOL),
    "5.2 a length above 2^63": (frame(FIN | BINARY, length=b"\x7f" + b"\xff" * 8), PROTOCOL),
    "5.4 a continuation of nothing": (frame(FIN | CONTINUATION, b"a"), PROTOCOL),
    "5.4 a message inside another": (frame(TEXT, b"a") + frame(FIN | TEXT, b"b"), PROTOCOL),
    "5.5 a ping in fragments": (frame(PING, b"a"), PROTOCOL),
    "5.5 a close in fragments": (frame(CLOSE, b"\x03\xe8"), PROTOCOL),
    "5.5 a ping of 126 bytes": (frame(FIN | PING, bytes(126)), PROTOCOL),
    "5.5 a pong of 126 bytes": (frame(FIN | PONG, bytes(126)), PROTOCOL),
    "5.5 a close of 126 bytes": (frame(FIN | CLOSE, b"\x03\xe8" + b"a" * 124), PROTOCOL),
    "5.5.1 a close of one byte": (frame(FIN | CLOSE, b"\x03"), PROTOCOL),
    "5.5.1 a reason that is no UTF-8": (close(1000, b"\xff"), DATA),
    **{f"7.4 close with {code}": (close(code), PROTOCOL) for code in NO_CODES},
    "8.1 text that is no UTF-8": (frame(FIN | TEXT, b"\xff"), DATA),
    "8.1 half a letter": (frame(FIN | TEXT, b"\xc3"), DATA),
    "8.1 a surrogate": (frame(FIN | TEXT, b"\xed\xa0\x80"), DATA),
    "8.1 an overlong letter": (frame(FIN | TEXT, b"\xc0\xaf"), DATA),
    "8.1 half a letter in two fragments": (frame(TEXT, b"a") + frame(FIN | CONTINUATION, b"\xc3"), DATA),
    "a message above the bound": (frame(FIN | BINARY, bytes(MOST + 1)), TOO_BIG),
    "fragments above the bound": (
        frame(BINARY, bytes(600)) + frame(CONTINUATION, bytes(600)) + frame(FIN | CONTINUATION), TOO_BIG
    ),
}  # fmt: skip

WITH_DEFLATE: dict[str, tuple[bytes, int]] = {
    "7692 6.1 a compressed ping": (frame(FIN | COMPRESSED | PING, b"a"), PROTOCOL),
    "7692 6.1 a compressed continuation": (
        frame(COMPRESSED | TEXT, deflated(b"a")) + frame(FIN | COMPRESSED | CONTINUATION, b""),
        PROTOCOL,
    ),
    "7692 7.2.2 what does not inflate": (frame(FIN | COMPRESSED | BINARY, b"\xff\xff\xff\xff"), DATA),
    "a thousand times as much when inflated": (frame(FIN | COMPRESSED | BINARY, deflated(bytes(1_000_000))), TOO_BIG),
    "text that is no UTF-8 when inflated": (frame(FIN | COMPRESSED | TEXT, deflated(b"\xff")), DATA),
}

TAKEN: dict[str, tuple[bytes, str | bytes]] = {
    "a ping between fragments": (frame(TEXT, b"a") + frame(FIN | PING, b"x") + frame(FIN | CONTINUATION, b"b"), "ab"),
    "a letter in two fragments": (frame(TEXT, b"a\xc3") + frame(FIN | CONTINUATION, b"\xbc"), "aü"),
    "empty fragments": (frame(TEXT) + frame(CONTINUATION) + frame(FIN | CONTINUATION), ""),
    "many fragments": (frame(BINARY, b"a") + frame(CONTINUATION, b"a") * 998 + frame(FIN | CONTINUATION), b"a" * 999),
    "a pong that nobody asked for": (frame(FIN | PONG, b"x") + frame(FIN | TEXT, b"a"), "a"),
    "a ping of 125 bytes": (frame(FIN | PING, bytes(125)) + frame(FIN | TEXT, b"a"), "a"),
    "a message of the bound": (frame(FIN | BINARY, bytes(MOST)), bytes(MOST)),
}  # fmt: skip


def require_websocket(scope: Any) -> None:
    if scope["type"] != "websocket":
        raise NotImplementedError(scope["type"])


async def open_to(stream: Stream, *fields: str) -> None:
    await stream.send(offer(*fields))
    head = await stream.receive_until(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 "), head


async def frames_of(stream: Stream) -> list[tuple[int, bytes]]:
    """(first byte, payload) until the other side ends; a server's frames are not masked."""
    data, frames = b"".join([chunk async for chunk in stream]), []
    while data:
        at, count = 2, data[1]
        if count == 126:
            at, count = 4, int.from_bytes(data[2:4], "big")
        frames.append((data[0], data[at : at + count]))
        data = data[at + count :]
    return frames


def service_of(app: Any = echo) -> Any:
    return serve("tcp://127.0.0.1:0", app, limits=Limits(message_bytes=MOST))


@pytest.mark.parametrize("case", [*REFUSED, *WITH_DEFLATE])
def test_what_ends_it(run: Run, case: str) -> None:
    sent, code = (REFUSED | WITH_DEFLATE)[case]
    told: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        require_websocket(scope)
        await receive()
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            told.append(event)

    async def main() -> list[tuple[int, bytes]]:
        async with service_of(app) as service:
            async with connect(str(service.local)) as stream:
                await open_to(stream, *([DEFLATE] if case in WITH_DEFLATE else []))
                await stream.send(sent)
                frames = await frames_of(stream)
            async with connect(str(service.local)) as stream:
                await open_to(stream)
            return frames

    (end,) = run(main())
    assert end[0] == FIN | CLOSE
    assert int.from_bytes(end[1][:2], "big") == code
    assert told == []


@pytest.mark.parametrize("case", TAKEN)
def test_what_is_taken(run: Run, case: str) -> None:
    sent, message = TAKEN[case]
    told: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        require_websocket(scope)
        await receive()
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            told.append(event.get("text", event.get("bytes")))

    async def main() -> list[tuple[int, bytes]]:
        async with service_of(app) as service, connect(str(service.local)) as stream:
            await open_to(stream)
            await stream.send(sent + close(1000))
            return await frames_of(stream)

    assert run(main())[-1] == (FIN | CLOSE, b"\x03\xe8")
    assert told == [message]


def test_messages_behind_a_close_are_not_heard(run: Run) -> None:
    """RFC 6455 §5.5.1"""
    told: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        require_websocket(scope)
        await receive()
        await send({"type": "websocket.accept"})
        told.append(await receive())

    async def main() -> None:
        async with service_of(app) as service, connect(str(service.local)) as stream:
            await open_to(stream)
            await stream.send(close(1000) + frame(FIN | TEXT, b"late"))
            await frames_of(stream)

    run(main())
    assert told == [{"type": "websocket.disconnect", "code": 1000, "reason": ""}]


FLOODS: dict[str, tuple[bytes, bytes]] = {
    "pings": (b"", frame(FIN | PING, bytes(125))),
    "pongs": (b"", frame(FIN | PONG)),
    "empty fragments": (frame(TEXT), frame(CONTINUATION)),
}


@pytest.mark.parametrize("name", FLOODS)
def test_cheap_frames_are_bounded(run: Run, name: str) -> None:
    first, cheap = FLOODS[name]

    async def main() -> tuple[int, bytes]:
        async with service_of() as service, connect(str(service.local)) as stream:
            await open_to(stream)
            await stream.send(first + cheap * 200)
            ending = (await frames_of(stream))[-1]
            assert service.stats["abuse"] == 1
            return ending

    kind, payload = run(main())
    assert (kind, int.from_bytes(payload[:2], "big")) == (FIN | CLOSE, 1008)
    assert name.encode() in payload


def test_a_read_full_of_messages_waits_for_the_application(run: Run) -> None:
    most = 0

    async def main() -> int:
        count = 0

        async def app(scope: Any, receive: Any, send: Any) -> None:
            nonlocal count, most
            require_websocket(scope)
            await receive()
            await send({"type": "websocket.accept"})
            waiting = receive.__self__._events
            while (await receive())["type"] == "websocket.receive":
                count += 1
                most = max(most, len(waiting))
                await asyncio.sleep(0)

        async with service_of(app) as service, connect(str(service.local)) as stream:
            await open_to(stream)
            await stream.send(frame(FIN | TEXT) * 5_000 + close(1000))
            await frames_of(stream)
        return count

    assert run(main()) == 5_000
    assert most <= websocket.WAITING_EVENTS
