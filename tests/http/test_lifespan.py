"""An application's startup and shutdown."""

from __future__ import annotations

from typing import Any

import pytest

from socketkit.http import serve
from socketkit.http.lifespan import StartupFailed
from tests.conftest import Run

from .applications import answer, hello, parted, request, talk


def test_an_application_starts_before_and_ends_behind_its_requests(run: Run) -> None:
    told: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            told.append("request")
            scope["state"]["count"] += 1
            await answer(send, b"%d" % scope["state"]["count"])
            return
        assert (await receive())["type"] == "lifespan.startup"
        scope["state"]["count"] = 5
        told.append("started")
        await send({"type": "lifespan.startup.complete"})
        assert (await receive())["type"] == "lifespan.shutdown"
        told.append("ended")
        await send({"type": "lifespan.shutdown.complete"})

    async def main() -> list[bytes]:
        async with serve("tcp://127.0.0.1:0", app) as service:
            return [parted(await talk(service.local, request()))[2] for _ in range(2)]

    assert run(main()) == [b"6", b"6"]  # each request has a copy of the state
    assert told == ["started", "request", "request", "ended"]


def test_an_application_without_a_lifespan_is_served(run: Run) -> None:
    async def main() -> bytes:
        async with serve("tcp://127.0.0.1:0", hello) as service:
            return await talk(service.local, request())

    assert parted(run(main()))[0] == 200


@pytest.mark.parametrize("says", ["failed", "raises"])
def test_an_application_that_cannot_start_is_not_served(run: Run, says: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if says == "raises":
            raise ValueError("no database")
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    async def main() -> None:
        async with serve("tcp://127.0.0.1:0", app):
            raise AssertionError("it was served")

    with pytest.raises(StartupFailed, match="no database"):
        run(main())


def test_a_failed_shutdown_is_logged(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "disk full"})

    async def main() -> None:
        async with serve("tcp://127.0.0.1:0", app):
            pass

    run(main())
    assert "disk full" in caplog.text
