"""HTTP/2 in bytes: frames and fields as no library would write them, and what a server answers to them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from socketkit import EndOfStream, Stream, connect

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

END_STREAM = ACK = 0x01
END_HEADERS = 0x04
PADDED = 0x08
WITH_PRIORITY = 0x20

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = 0, 1, 2, 3
STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL = 5, 6, 7, 8
COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 9, 11


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def settings(*pairs: tuple[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(code.to_bytes(2, "big") + value.to_bytes(4, "big") for code, value in pairs))


def window_update(stream: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, increment.to_bytes(4, "big"))


def reset(stream: int, code: int = CANCEL) -> bytes:
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def field(name: bytes, value: bytes) -> bytes:
    """A literal that enters no table (RFC 7541 §6.2.2), whatever is in it."""
    return b"\0" + number(len(name), 7) + name + number(len(value), 7) + value


def number(value: int, bits: int, above: int = 0) -> bytes:
    """An integer in `bits` and what follows (RFC 7541 §5.1); `above`: the bits above them."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([above | value])
    out, value = bytearray([above | most]), value - most
    while value >= 128:
        out.append(128 | value % 128)
        value //= 128
    return bytes(out) + bytes([value])


def block(*fields: tuple[bytes, bytes], **pseudo: bytes | None) -> bytes:
    """The fields of a request: usual ones, those of `pseudo` replaced (None: left out), then `fields`."""
    usual: dict[str, bytes | None] = {"method": b"GET", "scheme": b"https", "path": b"/", "authority": b"example.org"}
    all_pseudo = [(f":{name}".encode(), value) for name, value in (usual | pseudo).items() if value is not None]
    return b"".join(field(*pair) for pair in [*all_pseudo, *fields])


def request(stream: int, fields: bytes = b"", flags: int = END_HEADERS | END_STREAM) -> bytes:
    return frame(HEADERS, flags, stream, fields or block())


class Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes


def end_told(came: Frame) -> tuple[str, int] | None:
    """What a frame ends ("stream" or "connection"), and its code."""
    if came.kind == GOAWAY:
        return "connection", int.from_bytes(came.payload[4:8], "big")
    if came.kind == RST_STREAM:
        return "stream", int.from_bytes(came.payload[:4], "big")
    return None


class Wire:
    """A connection that has said its preface, and knows nothing else of HTTP/2."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    async def send(self, data: bytes) -> None:
        await self.stream.send(data)

    async def frame(self) -> Frame | None:
        """The next one that came; None behind the last."""
        try:
            head = await self.stream.receive_exactly(9)
            payload = await self.stream.receive_exactly(int.from_bytes(head[:3], "big"))
        except (EndOfStream, OSError):
            return None
        return Frame(head[3], head[4], int.from_bytes(head[5:], "big") & 0x7FFFFFFF, payload)

    async def until_answered(self, stream: int) -> None:
        while (came := await self.frame()) is not None:
            if came.stream == stream and came.kind in (HEADERS, DATA) and came.flags & END_STREAM:
                return
            if came.kind in (GOAWAY, RST_STREAM):
                raise AssertionError(f"{came} in place of an answer")
        raise AssertionError("the connection ended in place of an answer")

    async def ending(self) -> tuple[str, int]:
        """("connection", code of the GOAWAY), ("stream", code of the reset), or ("closed", 0)."""
        while (came := await self.frame()) is not None:
            if (end := end_told(came)) is not None:
                return end
        return "closed", 0


@asynccontextmanager
async def wire_to(service: Any, beginning: bytes = PREFACE + settings()) -> AsyncIterator[Wire]:
    address = str(service.local).replace("h2,http/1.1", "h2")
    async with connect(address) as stream:
        wire = Wire(stream)
        await wire.send(beginning)
        yield wire
        stream.abort()  # the service must not wait for what a test has left open
