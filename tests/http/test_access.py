"""`access=`: what is told of a request, and that it cannot harm an answer."""

from __future__ import annotations

import asyncio
import logging

import pytest

from socketkit import connect
from socketkit.http import Access, serve
from tests.conftest import Run

from .applications import echo, hello, parted, request, talk


def test_a_refusal_is_told(run: Run) -> None:
    told: list[Access] = []

    async def main() -> None:
        async with serve("tcp://127.0.0.1:0", hello, access=told.append) as service:
            await talk(service.local, b"nonsense\r\n\r\n")

    run(main())
    assert [(access.status, access.target) for access in told] == [(400, "")]


def test_a_client_that_went_away_is_told_without_a_status(run: Run) -> None:
    async def main() -> Access:
        told: asyncio.Future[Access] = asyncio.get_running_loop().create_future()
        async with serve("tcp://127.0.0.1:0", echo, access=told.set_result) as service:
            async with connect(str(service.local)) as stream:
                await stream.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab")
            return await told

    access = run(main())
    assert (access.status, access.method) == (0, "POST")


def test_an_access_that_fails_is_logged(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    def fails(_: Access) -> None:
        raise ZeroDivisionError

    async def main() -> bytes:
        async with serve("tcp://127.0.0.1:0", hello, access=fails) as service:
            return await talk(service.local, request())

    with caplog.at_level(logging.ERROR):
        assert parted(run(main()))[2] == b"hello"
    assert "access= failed" in caplog.text
    caplog.clear()
