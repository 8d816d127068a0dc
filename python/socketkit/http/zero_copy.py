"""ASGI's extension `http.response.zerocopysend`: a file becomes an answer's body without passing through Python."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .. import _core
    from ..connection import Stream
    from .asgi import Event

# What a scope says of it. Shared, as the versions are.
EXTENSIONS: dict[str, dict[str, Any]] = {"http.response.zerocopysend": {}}


async def send_file(stream: Stream, exchange: _core.Exchange, event: Event) -> None:
    """Send the piece of a file that the event names; called by `Exchange.send`.

    Without an offset the file's own position is taken, and moved. A file that has become shorter meanwhile breaks the
    connection, for what was promised cannot be kept: OSError.
    """
    file = event["file"]
    descriptor = file if isinstance(file, int) else file.fileno()
    offset, count = event.get("offset"), event.get("count")
    start = os.lseek(descriptor, 0, os.SEEK_CUR) if offset is None else offset
    if count is None:
        count = max(os.fstat(descriptor).st_size - start, 0)
    head, carried = exchange.begin_file(count, bool(event.get("more_body", False)))
    await head
    if carried:
        await _send(stream, exchange, descriptor, start, count)
    if offset is None:
        os.lseek(descriptor, start + count, os.SEEK_SET)
    await exchange.end_file()


async def _send(stream: Stream, exchange: _core.Exchange, descriptor: int, start: int, count: int) -> None:
    before = stream.sent_bytes
    try:
        sent = await stream._send_file(descriptor, start, count)
    finally:
        # Who went away in the middle had some of it, which belongs into the log.
        exchange.count_file(min(stream.sent_bytes - before, count))
    if sent < count:
        stream.abort()
        raise OSError(f"the file ended {count - sent:,} bytes before what was promised of it")
