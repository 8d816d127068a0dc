"""Server-sent events (the HTML standard, section 9.2) as ASGI events: what a page is told while it is open."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from .exchange import begin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .asgi import Receive, Send


async def begin_events(send: Send) -> None:
    await begin(send, 200, "text/event-stream")


async def send_event(send: Send, value: Mapping[str, object]) -> None:
    """Returns when it has been taken: who is slow is told less often, and no queue grows. OSError if he has gone."""
    # JSON has no line breaks of its own, which would end the event.
    text = json.dumps(value, separators=(",", ":"))
    await send({"type": "http.response.body", "body": f"data: {text}\n\n".encode(), "more_body": True})


async def send_sign(send: Send) -> None:
    """A comment that pages do not see: whoever has gone without a word is noticed, and so is a dead server."""
    await send({"type": "http.response.body", "body": b":\n\n", "more_body": True})


async def end_events(send: Send) -> None:
    await send({"type": "http.response.body"})


async def gone(receive: Receive) -> None:
    """Returns when the caller has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
