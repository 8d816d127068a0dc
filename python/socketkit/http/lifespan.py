"""An application's beginning and end (ASGI's `lifespan`), in a task of its own for as long as the service lives."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .asgi import Application


class StartupFailed(RuntimeError):
    """The application says that it cannot start; what it said is the text."""


class Lifespan:
    """`await start()`, later `await stop()`. An application that raises at once knows no lifespan, and needs none."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self.state: dict[str, Any] = {}
        self._events: asyncio.Queue[dict[str, str]] = asyncio.Queue(2)
        self._answer: asyncio.Future[str | None] | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Return once the application is ready; StartupFailed if it says that it will not be."""
        self._answer = asyncio.get_running_loop().create_future()
        self._events.put_nowait({"type": "lifespan.startup"})
        self._task = asyncio.create_task(self._run())
        try:
            failure = await self._answer
        except BaseException:
            self._task.cancel()
            raise
        if failure is not None:
            raise StartupFailed(failure or "the application did not start, and did not say why")

    async def stop(self, grace_seconds: float) -> None:
        """Tell it that this is the end, and wait for it, for so long at most."""
        task = self._task
        if task is None or task.done():
            return
        self._answer = asyncio.get_running_loop().create_future()
        self._events.put_nowait({"type": "lifespan.shutdown"})
        done, _ = await asyncio.wait([task], timeout=grace_seconds)
        if not done:
            _logger.error("the application did not end %s seconds after lifespan.shutdown", grace_seconds)
            task.cancel()
            await asyncio.wait([task], timeout=CANCEL_SECONDS)

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        asked = False

        async def receive() -> dict[str, str]:
            nonlocal asked
            asked = True
            return await self._events.get()

        try:
            await self._app(scope, receive, self._send)
        except Exception as failure:
            # Raised before it has asked for anything: it only speaks http (ASGI, lifespan protocol).
            if asked:
                _logger.error("the application's lifespan failed", exc_info=failure)
                self._settle(f"{type(failure).__name__}: {failure}")
            elif _says_more_than_no(failure):
                _logger.info("the application knows no lifespan: %s", failure)
        finally:
            self._settle(None)

    async def _send(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "lifespan.startup.complete" | "lifespan.shutdown.complete":
                self._settle(None)
            case "lifespan.startup.failed":
                self._settle(event.get("message", ""))
            case "lifespan.shutdown.failed":
                _logger.error("the application's end failed: %s", event.get("message", ""))
                self._settle(None)
            case other:
                raise ValueError(f"{other!r} is no event of a lifespan")

    def _settle(self, failure: str | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(failure)


def _says_more_than_no(failure: Exception) -> bool:
    return not isinstance(failure, (AssertionError, NotImplementedError, ValueError))


CANCEL_SECONDS = 1.0

_logger = logging.getLogger("socketkit")
