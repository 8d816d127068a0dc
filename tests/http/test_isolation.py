"""What one request sets, the next one on its connection does not see."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextvars import ContextVar
from typing import Any

import pytest

from socketkit.http import serve
from socketkit.http.isolation import isolated
from tests.conftest import Run

from .applications import answer, request, require_http, talk

name: ContextVar[str] = ContextVar("name", default="nobody")


def test_requests_of_a_connection_have_contexts_of_their_own(run: Run) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        require_http(scope)
        before = name.get()
        name.set("somebody")
        await asyncio.sleep(0)
        assert name.get() == "somebody"
        await answer(send, before.encode())

    async def main() -> bytes:
        async with serve("tcp://127.0.0.1:0", app) as service:
            return await talk(service.local, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" + request())

    assert run(main()).count(b"nobody") == 2


def test_results_and_failures_come_through(run: Run) -> None:
    async def gives() -> int:
        await asyncio.sleep(0)
        return 3

    async def fails() -> None:
        await asyncio.sleep(0)
        raise KeyError("x")

    async def main() -> int:
        with pytest.raises(KeyError):
            await isolated(fails())
        return await isolated(gives())

    assert run(main()) == 3


def test_a_cancellation_arrives_inside(run: Run) -> None:
    async def main() -> list[str]:
        seen = []

        async def waits() -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise

        async def wrapped() -> None:
            await isolated(waits())

        task = asyncio.create_task(wrapped())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        return seen

    assert run(main()) == ["cancelled"]


def test_what_is_no_coroutine_is_awaited_as_well(run: Run) -> None:
    class Awaitable:
        def __await__(self) -> Generator[Any, Any, int]:
            yield from asyncio.sleep(0).__await__()
            return 4

    async def main() -> int:
        return await isolated(Awaitable())

    assert run(main()) == 4
