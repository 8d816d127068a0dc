"""A connection joined to standard input and output, as `nc` does it: a stream, or messages by way of `message_bytes`.

- The end of standard input is passed on as a half-close; the peer's end ends the whole, once what it sent is written.
- If the peer ends first: who sits at a terminal has nothing more to say; the rest of a file or a pipe is still sent,
  for as long as it keeps coming.
- Cut short (Ctrl-C, nobody reads the output) the stream is reset: the peer must not take a part for the whole.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from ..errors import BrokenConnection, EndOfStream, MessageTooLarge
from .crlf import LineEnds
from .standard_io import CHUNK_BYTES
from .status_line import StatusLine, kept_up_to_date
from .units import amount, duration, rate

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from typing import Protocol

    from .standard_io import StandardOutput

    class Joined(Protocol):
        """What is asked of the connection."""

        @property
        def sent_bytes(self) -> int: ...
        @property
        def received_bytes(self) -> int: ...
        def receive(self, max_bytes: int) -> Awaitable[bytes]: ...
        def send(self, data: bytes) -> Awaitable[None]: ...
        def send_eof(self) -> Awaitable[None]: ...
        def aclose(self) -> Awaitable[None]: ...
        def abort(self) -> None: ...

    class Source(Protocol):
        """Standard input, or nothing in its place."""

        @property
        def terminal(self) -> bool: ...
        @property
        def ended(self) -> bool: ...
        @property
        def silent_seconds(self) -> float: ...
        async def receive(self) -> bytes: ...


async def join(stream: Joined, source: Source, sink: StandardOutput, *, crlf: bool, linger_seconds: float) -> None:
    """Both ways until the end, then close. Raises BrokenConnection, and OSError for what `source` and `sink` cannot do.

    `source` and `sink` can be joined to the next stream afterwards: nothing that was not sent here is taken from it.
    """
    line = StatusLine()
    if source.terminal and sink.terminal:
        line.hide()  # a conversation
    progress = _Progress(stream)
    try:
        async with kept_up_to_date(line, progress.text):
            await _both_ways(stream, source, sink, line, LineEnds() if crlf else None, linger_seconds)
    except BaseException as failure:
        # Of messages each is whole, and those before one that does not fit are to arrive.
        if source.ended or source.terminal or isinstance(failure, MessageTooLarge):
            with suppress(TimeoutError):
                async with asyncio.timeout(CUT_SHORT_SECONDS):
                    await stream.aclose()
        stream.abort()
        raise
    await stream.aclose()
    if line.visible:
        click.echo(progress.summary(), err=True)


async def _both_ways(
    stream: Joined,
    source: Source,
    sink: StandardOutput,
    line: StatusLine,
    line_ends: LineEnds | None,
    linger_seconds: float,
) -> None:
    sending = asyncio.create_task(_send(stream, source, line_ends))
    receiving = asyncio.create_task(_receive(stream, sink, line))
    abandoned = asyncio.create_task(sink.abandoned())
    tasks: set[asyncio.Task[BrokenConnection | None]] = {sending, receiving, abandoned}
    try:
        running = tasks
        while not receiving.done():
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        await _linger(sending, source, 0.0 if source.terminal else linger_seconds)
        if sending.done() and (failure := sending.result()) is not None:
            raise failure
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _send(stream: Joined, source: Source, line_ends: LineEnds | None) -> BrokenConnection | None:
    """What breaks the connection is returned: what the peer said before is still to be received."""
    try:
        while chunk := await source.receive():
            await stream.send(line_ends.converted(chunk) if line_ends else chunk)
        await stream.send_eof()
    except BrokenConnection as failure:
        return failure
    return None


async def _receive(stream: Joined, sink: StandardOutput, line: StatusLine) -> None:
    with suppress(EndOfStream):
        while True:
            chunk = await stream.receive(CHUNK_BYTES)
            if sink.terminal:
                line.hide()
            await sink.send(chunk)


async def _linger(sending: asyncio.Task[BrokenConnection | None], source: Source, seconds: float) -> None:
    """Wait until all is sent, or until the source has been silent for that long."""
    while not sending.done():
        patience = seconds - source.silent_seconds
        if patience <= 0:
            break
        await asyncio.wait([sending], timeout=patience)


class _Progress:
    """How far a stream is, in words."""

    def __init__(self, stream: Joined) -> None:
        self._stream = stream
        self._started_at = self._asked_at = time.monotonic()
        self._sent = self._received = 0

    def text(self) -> str:
        """With the rates since it was asked for the last time."""
        now = time.monotonic()
        seconds = now - self._asked_at
        sent, received = self._stream.sent_bytes, self._stream.received_bytes
        text = (
            f"sent {amount(sent)} ({rate((sent - self._sent) / seconds)}), "
            f"received {amount(received)} ({rate((received - self._received) / seconds)})"
        )
        self._sent, self._received, self._asked_at = sent, received, now
        return text

    def summary(self) -> str:
        seconds = time.monotonic() - self._started_at
        sent, received = self._stream.sent_bytes, self._stream.received_bytes
        return (
            f"sent {amount(sent)}, received {amount(received)} in {duration(seconds)} "
            f"({rate((sent + received) / seconds)})"
        )


CUT_SHORT_SECONDS = 1.0
