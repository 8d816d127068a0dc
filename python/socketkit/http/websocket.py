"""One WebSocket (RFC 6455) as ASGI sees it. `frames` reads and writes the frames; here is who waits for what.

A task of its own reads, so that pings are answered and an end is seen while the application is busy with something
else. It stops reading when the application is behind: then the peer waits.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import time
from collections import deque
from contextlib import suppress
from hashlib import sha1
from typing import TYPE_CHECKING, Any

from ..errors import BrokenConnection, ClosedConnection, EndOfStream, SocketError, raisable
from .access import Access
from .extra import REMEDY, has_websocket
from .isolation import isolated
from .scopes import target_of, told

if TYPE_CHECKING:
    from .. import _core
    from ..connection import Stream
    from .frames import Frames
    from .service import Service


async def serve_websocket(service: Service, stream: Stream, scope: dict[str, Any], exchange: _core.Exchange) -> None:
    """Let the application decide about the offer, and serve it until either side ends; the connection's last."""
    key, fault = key_of(scope)
    if fault is not None:
        await exchange.answer(*fault)
        return
    if not has_websocket():
        _logger.error("%s asked for a WebSocket, and wsproto is not installed: %s", stream.peer.endpoint, REMEDY)
        await exchange.answer(501, f"no WebSocket here: {REMEDY}\n")
        return
    socket = WebSocket(service, stream, scope, exchange, key)
    service._conversing.add(socket)
    began = time.monotonic()
    try:
        await socket.run(service._app)
    finally:
        service._conversing.discard(socket)
        if service._access is not None:
            seconds = time.monotonic() - began
            peer, method, status = stream.peer, "GET", socket.status
            service._access(Access(peer, method, target_of(scope), status, socket.sent_bytes, seconds, "1.1"))


def key_of(scope: dict[str, Any]) -> tuple[bytes, tuple[int, str] | None]:
    """The key of the handshake, or what is wrong with it (RFC 6455 §4.2.1)."""
    values = {name: [value for known, value in scope["headers"] if known == name] for name in (_KEY, _VERSION)}
    if values[_VERSION] != [b"13"]:
        return b"", (426, "a WebSocket of version 13 is spoken here\n")
    keys = values[_KEY]
    with suppress(binascii.Error):
        if len(keys) == 1 and len(base64.b64decode(keys[0], validate=True)) == 16:
            return keys[0], None
    return b"", (400, "Sec-WebSocket-Key must be 16 bytes in base64\n")


def accept_of(key: bytes) -> bytes:
    """What proves that the offer was understood."""
    return base64.b64encode(sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", usedforsecurity=False).digest())


class WebSocket:
    """ASGI's events of one WebSocket."""

    def __init__(
        self, service: Service, stream: Stream, scope: dict[str, Any], exchange: _core.Exchange, key: bytes
    ) -> None:
        self.status = 0
        self.sent_bytes = 0
        self._stream = stream
        self._exchange = exchange
        self._key = key
        self._most_bytes = service._limits.message_bytes
        headers = scope["headers"]
        self._offers = b", ".join(value for name, value in headers if name == b"sec-websocket-extensions").decode(
            "latin-1"
        )
        protocols = b",".join(value for name, value in headers if name == b"sec-websocket-protocol").decode("latin-1")
        self._scope = scope | {
            "type": "websocket",
            "scheme": "wss" if service.encrypted else "ws",
            "subprotocols": [word.strip() for word in protocols.split(",") if word.strip()],
            "extensions": {"websocket.http.response": {}},
        }
        del self._scope["method"]
        self._frames: Frames | None = None
        self._events: deque[dict[str, Any]] = deque([{"type": "websocket.connect"}])
        self._waiting_bytes = 0
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._ended = False
        self._closed_by_us = False
        self._reader: asyncio.Task[None] | None = None
        self._sending = asyncio.Lock()

    async def run(self, app: Any) -> None:
        failure: BaseException | None = None
        try:
            await isolated(app(self._scope, self.receive, self.send))
        except (SocketError, ClosedConnection) as raised:
            if not self._ended:
                raise
            _logger.info("%s went away: %s", self._stream.peer.endpoint, raised)
        except Exception as raised:
            failure = raised
            _logger.error("%s: the application failed", told(self._stream, self._scope), exc_info=raised)
        finally:
            await self._finish(failure)

    async def _finish(self, failure: BaseException | None) -> None:
        try:
            if self._frames is None:
                if not self._exchange.begun:
                    self.status = 500 if failure else 403
                    await self._exchange.answer(self.status, "the WebSocket was refused\n")
            elif not self._ended:
                with suppress(SocketError, ClosedConnection):
                    await self._close(1011 if failure else 1000, "")
            if self._reader is not None and not self._reader.done():
                # The peer's own close is waited for, so that the end is one for both (RFC 6455 §7.1.1).
                await asyncio.wait([self._reader], timeout=CLOSE_SECONDS)
        finally:
            if self._reader is not None:
                self._reader.cancel()
                await asyncio.wait([self._reader])

    def _stop_requests(self) -> None:
        """The service ends: whoever goes on without being told would be cut."""
        if self._frames is not None and not self._ended and self._reader is not None:
            self._goodbye = asyncio.ensure_future(self._leave())

    async def _leave(self) -> None:
        with suppress(SocketError, ClosedConnection):
            await self._close(1001, "the service ends")

    # --- what the application calls

    async def receive(self) -> dict[str, Any]:
        while not self._events:
            if self._ended:
                return {"type": "websocket.disconnect", "code": 1006, "reason": ""}
            self._news.clear()
            await self._news.wait()
        event = self._events.popleft()
        self._waiting_bytes -= _size(event)
        self._room.set()
        return event

    async def send(self, event: dict[str, Any]) -> None:
        kind = event["type"]
        if self._frames is not None:
            await self._send_open(kind, event)
        elif kind == "websocket.accept":
            await self._accept(event)
        elif kind == "websocket.close":
            self.status = 403
            await self._exchange.answer(403, "the WebSocket was refused\n")
        elif kind in ("websocket.http.response.start", "websocket.http.response.body"):
            self.status = event.get("status", self.status)
            await self._exchange.send({**event, "type": kind.removeprefix("websocket.")})
        else:
            raise RuntimeError(f"{kind} comes after websocket.accept")

    async def _send_open(self, kind: str, event: dict[str, Any]) -> None:
        assert self._frames is not None
        if kind == "websocket.close":
            await self._close(event.get("code") or 1000, event.get("reason") or "")
        elif kind != "websocket.send":
            raise RuntimeError(f"{kind} comes before websocket.accept")
        elif self._ended or self._closed_by_us:
            raise raisable(BrokenConnection)("send", self._stream.peer.endpoint, "the WebSocket is closed")
        else:
            data = event.get("bytes")
            if data is None:
                data = event["text"]
            async with self._sending:
                await self._stream.send(self._frames.message(data))
            self.sent_bytes += len(data)

    # --- the connection

    async def _accept(self, event: dict[str, Any]) -> None:
        from .frames import Frames

        self._frames = Frames(self._most_bytes)
        headers = [(b"upgrade", b"websocket"), (b"sec-websocket-accept", accept_of(self._key))]
        if extension := self._frames.accept(self._offers):
            headers.append((b"sec-websocket-extensions", extension.encode()))
        if subprotocol := event.get("subprotocol"):
            headers.append((b"sec-websocket-protocol", subprotocol.encode("latin-1")))
        headers += [(bytes(name), bytes(value)) for name, value in event.get("headers") or ()]
        await self._exchange.switch(headers)
        self.status = 101
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        frames, stream = self._frames, self._stream
        assert frames is not None
        code = 1006
        silent = 0
        try:
            while not frames.closed:
                await self._wait_for_room()
                try:
                    async with asyncio.timeout(PING_SECONDS):
                        data = await stream.receive(READ_BYTES)
                except TimeoutError:
                    silent += 1
                    if silent > SILENT_PINGS:
                        await self._close(1011, "no answer to a ping")
                        break
                    await self._send_now(frames.ping())
                    continue
                silent = 0
                for event in frames.received(data, asyncio.get_running_loop().time()):
                    await self._wait_for_room()  # one read may bring ten thousand of them
                    self._put(event)
                if frames.flooded:
                    stream.penalise()
                if answer := frames.answers():
                    await self._send_now(answer)
            code = frames.close_code
        except (SocketError, EndOfStream, ClosedConnection):
            pass
        finally:
            self._ended = True
            self._put({"type": "websocket.disconnect", "code": code, "reason": frames.close_reason})
            if frames.fault:
                _logger.info("%s broke the rules of WebSocket: %s", stream.peer.endpoint, frames.fault)

    async def _wait_for_room(self) -> None:
        while len(self._events) >= WAITING_EVENTS or self._waiting_bytes >= self._most_bytes:
            self._room.clear()
            await self._room.wait()

    def _put(self, event: dict[str, Any]) -> None:
        self._events.append(event)
        self._waiting_bytes += _size(event)
        self._news.set()

    async def _close(self, code: int, reason: str) -> None:
        if self._frames is None or self._closed_by_us:
            return
        self._closed_by_us = True
        if close := self._frames.close(code, reason):
            await self._send_now(close)

    async def _send_now(self, data: bytes) -> None:
        async with self._sending:
            await self._stream.send(data)


def _size(event: dict[str, Any]) -> int:
    if event["type"] != "websocket.receive":
        return 0
    return len(event.get("bytes") or event.get("text") or b"")


_KEY = b"sec-websocket-key"
_VERSION = b"sec-websocket-version"

READ_BYTES = 65_536
WAITING_EVENTS = 32
PING_SECONDS = 20.0
SILENT_PINGS = 2
CLOSE_SECONDS = 2.0

_logger = logging.getLogger("socketkit")
