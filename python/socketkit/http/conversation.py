"""One connection of HTTP/1.1: request after request, in the one task that `serve` gives it."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

from ..errors import ClosedConnection, EndOfStream, SocketError
from .access import Access
from .isolation import isolated
from .scopes import scope_template, target_of, told
from .websocket import serve_websocket

if TYPE_CHECKING:
    from .. import _core
    from ..connection import Stream
    from .service import Service


async def converse(service: Service, stream: Stream) -> None:
    """Answer the requests of `stream` until either side has had enough."""
    template = scope_template(service, stream)
    next_request = stream._next_request
    body_bytes = service._body_bytes
    answers = service._prepared._answers if service._prepared is not None else None
    told_as = stream.peer if service._access is not None else None
    service._conversing.add(stream)
    try:
        if service._stopping:
            stream._stop_requests()
        while (request := await next_request(template, body_bytes, answers, told_as)) is not None:
            if len(request) == 3:
                await refuse(service, stream, request[1], request[2])
                return
            if not await _answer(service, stream, request[0], request[1]):
                break
    finally:
        service._conversing.discard(stream)


async def _answer(service: Service, stream: Stream, scope: dict[str, Any], exchange: _core.Exchange) -> bool:
    """Let the application answer; whether the connection goes on."""
    if exchange.offers_websocket:
        await serve_websocket(service, stream, scope, exchange)
        await part(stream)
        return False
    began = time.monotonic() if service._access else 0.0
    if "state" in scope:
        scope["state"] = scope["state"].copy()
    failure: BaseException | None = None
    try:
        await isolated(service._app(scope, exchange.receive, exchange.send))
    except (Exception, asyncio.CancelledError) as raised:
        failure = raised
    try:
        gone = exchange.gone or (isinstance(failure, SocketError) and failure.endpoint == stream.peer.endpoint)
        if gone and not isinstance(failure, asyncio.CancelledError) and exchange.refusal is None:
            # The client went away, and whatever the application made of that is none of its faults.
            _logger.info("%s went away before it had its answer", stream.peer.endpoint)
            stream.abort()
            return False
        if not exchange.ended:
            await _mend(stream, scope, exchange, failure)
        elif isinstance(failure, Exception):
            _logger.error("%s: the application failed behind its answer", told(stream, scope), exc_info=failure)
        if isinstance(failure, asyncio.CancelledError):
            raise failure
    finally:
        if service._access is not None:
            _tell(service, stream, scope, exchange, began)
        failure = None  # its traceback holds this frame
    if exchange.keep_alive:
        return True
    await part(stream)
    return False


async def _mend(stream: Stream, scope: dict[str, Any], exchange: _core.Exchange, failure: BaseException | None) -> None:
    """The application ended without a whole answer."""
    refusal = exchange.refusal
    if isinstance(failure, asyncio.CancelledError):
        return
    if refusal is None:
        _logger.error(
            "%s: the application %s",
            told(stream, scope),
            "failed" if failure else "ended without a whole answer",
            exc_info=failure,
        )
    if exchange.begun:
        # The client must see that this was not all.
        stream.abort()
    else:
        status, words = refusal or (500, "Internal Server Error")
        await exchange.answer(status, words + "\n")


async def refuse(service: Service, stream: Stream, status: int, words: str) -> None:
    """Tell a client what is wrong with his request. It is the last thing that is said."""
    text = f"{words}\n".encode()
    head = (
        f"HTTP/1.1 {status} {REASONS[status]}\r\ncontent-type: text/plain; charset=utf-8\r\n"
        f"content-length: {len(text)}\r\nconnection: close\r\n\r\n"
    )
    _logger.info("%s: refused with %d: %s", stream.peer.endpoint, status, words)
    await stream.send(head.encode() + text)
    if service._access is not None:
        service._access(Access(stream.peer, "", "", status, len(text), 0.0, "1.1"))
    await part(stream)


async def part(stream: Stream) -> None:
    """End in good order with a client who may still be sending.

    Closing with unread input resets the connection, which may destroy the answer before he has read it (RFC 9112 §9.6).
    """
    try:
        await stream.send_eof()
        left = PARTING_BYTES
        async with asyncio.timeout(PARTING_SECONDS):
            while left > 0:
                left -= len(await stream.receive())
    except (TimeoutError, SocketError, EndOfStream, ClosedConnection):
        return


def _tell(service: Service, stream: Stream, scope: dict[str, Any], exchange: _core.Exchange, began: float) -> None:
    assert service._access is not None
    access = Access(
        stream.peer,
        scope["method"],
        target_of(scope),
        exchange.status,
        exchange.sent_bytes,
        time.monotonic() - began,
        scope["http_version"],
    )
    try:
        service._access(access)
    except Exception:
        _logger.exception("access= failed for %s", access)


PARTING_BYTES = 1 << 20
PARTING_SECONDS = 2.0
REASONS = {
    400: "Bad Request",
    413: "Content Too Large",
    414: "URI Too Long",
    417: "Expectation Failed",
    431: "Request Header Fields Too Large",
    501: "Not Implemented",
    505: "HTTP Version Not Supported",
}

_logger = logging.getLogger("socketkit")
