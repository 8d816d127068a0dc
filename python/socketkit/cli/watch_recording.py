"""`socketkit watch --record`: what is watched goes into a file, beside a screen or alone, as a service."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from ..inspect.processes import why_hidden

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from ..inspect.history import Recorder
    from ..inspect.watch import Watching


def recording_of(file: str | None, *, quiet: bool, max_size: str | None, max_age: str | None) -> Recording | None:
    """What the options ask for. The file is opened now: what is wrong with it is told before there is a screen."""
    if file is None:
        if quiet or max_size is not None or max_age is not None:
            raise click.UsageError("--quiet, --max-size and --max-age go with --record FILE")
        return None
    from ..inspect.history import Recorder
    from .units import parsed_amount, parsed_span

    options: dict[str, Any] = {}
    try:
        if max_size is not None:
            options["max_bytes"] = parsed_amount(max_size)
        if max_age is not None:
            options["max_age"] = timedelta(seconds=parsed_span(max_age))
        return Recording(Recorder(file, **options))
    except (ValueError, OverflowError) as failure:
        if type(failure) not in (ValueError, OverflowError):  # it is about the file
            raise
        raise click.UsageError(str(failure)) from None


class Recording:
    """A file into which somebody is about to record; it is closed at the end of either."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    async def alone(self, watching: Watching) -> None:
        """Until it is cancelled."""
        with self._recorder as recorder:
            async with watching:
                if not watching.complete:
                    click.echo(f"whose some sockets are is not known: {why_hidden()}", err=True)
                click.echo(f"recording: socketkit history {recorder.path}", err=True)
                await recorder.record(watching, told=_say)

    @asynccontextmanager
    async def beside(self, watching: Watching, told: Callable[[str], None] | None = None) -> AsyncIterator[None]:
        """While the block runs. A file that breaks is told of, and ends nothing; it is raised behind the block."""
        with self._recorder as recorder:
            told = told or _say
            recording = asyncio.create_task(recorder.record(watching, alone=False, told=told))
            recording.add_done_callback(lambda done: done.cancelled() or told(str(done.exception())))
            try:
                yield
            finally:
                recording.cancel()
                await asyncio.wait([recording])
            if not recording.cancelled() and (failure := recording.exception()) is not None:
                raise failure


def _say(text: str) -> None:
    click.echo(f"socketkit: {text}", err=True)
