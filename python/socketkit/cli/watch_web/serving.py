"""`socketkit watch --web`: the page, hosted beside what it shows."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from ...hosting import place
from ...hosting.web import web
from ..hosting import run_hosted
from .application import Page
from .auditing import audits_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from typing import Literal

    from ...hosting import Hosted, Wanted
    from ...http import Service
    from ...inspect.watch import Watched, Watching
    from ..hosting import Manner
    from ..watch_recording import Recording


def serve_page(
    watching: Watching,
    wanted: Wanted,
    manner: Manner,
    recording: Recording | None = None,
    *,
    may_close: bool = False,
    namespaces: Literal["all", "own"] = "all",
) -> None:
    """Until something ends it. What fails while watching is raised as it is: a person reads it."""

    @asynccontextmanager
    async def opened(hosted: Hosted) -> AsyncIterator[Service]:
        async with watching, recording.beside(watching) if recording is not None else nullcontext():
            auditing = audits_of(watching, namespaces=namespaces)
            page = Page(watching, auditing, close_socket=_close if may_close else None)
            async with (
                web(page, relative=True)(hosted) as service,
                _working(hosted, page.work(), auditing.go_on()),
            ):
                yield service

    run_hosted(opened, place(wanted), manner)


@asynccontextmanager
async def _working(hosted: Hosted, *works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """These go on beside the block. The first that fails ends the service, and is raised behind the block."""
    tasks = [asyncio.create_task(work) for work in works]
    for task in tasks:
        task.add_done_callback(lambda ended: None if ended.cancelled() else hosted.stop("watching failed"))
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()


def _close(row: Watched) -> None:
    from ...inspect.table import destroy

    destroy(row.entry)
