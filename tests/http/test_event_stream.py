"""Server-sent events, as they are written."""

from __future__ import annotations

import asyncio
from typing import Any

from socketkit.http.event_stream import begin_events, end_events, gone, send_event, send_sign


def test_an_event_is_one_line_whatever_is_in_it() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def tell() -> None:
        await begin_events(send)
        await send_event(send, {"text": "a\n\ndata: forged\r\n"})
        await send_sign(send)
        await end_events(send)

    asyncio.run(tell())
    start, event, sign, end = sent
    assert (b"content-type", b"text/event-stream") in start["headers"]
    assert event["body"] == b'data: {"text":"a\\n\\ndata: forged\\r\\n"}\n\n'
    assert event["more_body"]
    assert sign["body"] == b":\n\n"
    assert not end.get("more_body")


def test_gone_is_told_apart_from_what_is_sent() -> None:
    events = [{"type": "http.request", "body": b"x"}, {"type": "http.disconnect"}]

    async def receive() -> Any:
        return events.pop(0)

    asyncio.run(gone(receive))
    assert not events
