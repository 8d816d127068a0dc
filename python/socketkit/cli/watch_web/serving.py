"""`socketkit watch --web`: the page served on loopback, and the address with its token."""

from __future__ import annotations

import asyncio
import os
import re
import stat
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import click

from .application import Page
from .auditing import audits_of
from .door import Door

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Literal

    from ...inspect.watch import Watched, Watching
    from ..watch_recording import Recording


async def serve_page(
    watching: Watching,
    recording: Recording | None = None,
    *,
    port: int = 0,
    token_file: str | None = None,
    may_close: bool = False,
    namespaces: Literal["all", "own"] = "all",
) -> None:
    """Until it is cancelled. The address goes to stdout, alone, so that a program can read it."""
    from ...http import serve

    door = Door(None if token_file is None else token_in(token_file))
    async with watching, recording.beside(watching) if recording is not None else nullcontext():
        auditing = audits_of(watching, namespaces=namespaces)
        page = Page(watching, door, auditing, close_socket=_close if may_close else None)
        async with serve(f"tcp://127.0.0.1:{port}", page) as server:
            click.echo("watching; open this address in a browser, Ctrl-C ends:", err=True)
            click.echo(f"http://127.0.0.1:{server.local.port}/?token={door.token}")
            await _together(page.work(), auditing.go_on())


async def _together(*works: Coroutine[Any, Any, None]) -> None:
    """Until one of them fails, which is raised as it is: a person reads it."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def token_in(path: str) -> str:
    """The token that the file has; a new file gets a new one. UsageError if it is not to be trusted."""
    from secrets import token_urlsafe

    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        return _read_token(path)
    with os.fdopen(fd, "w") as file:
        token = token_urlsafe(32)
        file.write(f"{token}\n")
    return token


def _read_token(path: str) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # not to wait for a writer, should it be a FIFO
    with os.fdopen(fd, encoding="utf-8", errors="replace") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise click.UsageError(f"{path} is no plain file: name one that has the token, or a new one")
        # Its group may read it: that is how the token is given to whoever scrapes the metrics.
        if status.st_mode & 0o037 or status.st_uid not in (os.geteuid(), 0):
            raise click.UsageError(f"others could read or change {path}: chmod 600 {path}, and let it be yours")
        token = file.read(1_000).strip()
    if re.fullmatch(r"[A-Za-z0-9_-]{32,128}", token) is None:
        raise click.UsageError(f"{path} has no token (32 to 128 letters, digits, - and _): remove it, and it gets one")
    return token


def _close(row: Watched) -> None:
    from ...inspect.table import destroy

    destroy(row.entry)
