"""An ASGI application as a server calls it, without a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

Headers = dict[str, str]


@dataclass
class Answered:
    status: int
    headers: Headers
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def events(self) -> Iterator[Any]:
        for part in self.text.split("\n\n"):
            if part:
                yield json.loads(part.removeprefix("data: "))


@dataclass
class Call:
    """One request, going on. `sent` is told of every message of the answer."""

    app: Any
    target: str
    method: str = "GET"
    headers: Headers = field(default_factory=dict)
    body: bytes = b""
    sent: Callable[[Any], None] = lambda message: None
    repeated: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        self.gone = asyncio.Event()
        self.messages: list[Any] = []
        self.news = asyncio.Event()
        self._asked = False

    async def run(self) -> Answered:
        parts = urlsplit(self.target)
        pairs = [*({"host": "127.0.0.1:7000"} | self.headers).items(), *self.repeated]
        scope = {
            "type": "http",
            "method": self.method,
            "path": parts.path,
            "query_string": parts.query.encode(),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in pairs],
        }
        await self.app(scope, self._receive, self._send)
        return self.answer

    @property
    def answer(self) -> Answered:
        start, *rest = self.messages
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        return Answered(start["status"], headers, b"".join(message.get("body", b"") for message in rest))

    async def until(self, there: Callable[[list[Any]], bool]) -> list[Any]:
        """Wait until that is true of the events so far."""
        while True:
            self.news.clear()
            events = list(self.answer.events()) if len(self.messages) > 1 else []
            if there(events):
                return events
            await self.news.wait()

    async def _receive(self) -> Any:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": self.body, "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if self.gone.is_set():
            raise BrokenPipeError
        self.messages.append(message)
        self.news.set()
        self.sent(message)


async def called(app: Any, target: str, method: str = "GET", **options: Any) -> Answered:
    return await Call(app, target, method, **options).run()


async def ended(call: Call, running: asyncio.Task[Answered]) -> None:
    """The caller goes."""
    call.gone.set()
    with suppress(BrokenPipeError):
        await running
