"""A pair of connected streams over each carrier."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from socketkit import Limits, Stream, connect
from socketkit.testing import stream_pair

MakePair = Callable[[], AbstractAsyncContextManager[tuple[Stream, Stream]]]

# One rule waits for close_seconds.
LIMITS = Limits(close_seconds=0.2)


@asynccontextmanager
async def adopted_pair(limits: Limits = LIMITS) -> AsyncIterator[tuple[Stream, Stream]]:
    """Two ends that something else made, taken over by number."""
    ends = socket.socketpair()
    ours, theirs = [await connect(f"fd://{end.detach()}", limits=limits) for end in ends]
    try:
        yield ours, theirs
    finally:
        ours.abort()
        theirs.abort()


def make_pair(transport: str, folder: Path, limits: Limits = LIMITS) -> MakePair:
    """The factory of a transport of `TRANSPORTS`; paths are made in `folder`."""
    if transport == "fd":
        return lambda: adopted_pair(limits)
    numbers = itertools.count()

    def pair() -> AbstractAsyncContextManager[tuple[Stream, Stream]]:
        return stream_pair(url(transport, folder, next(numbers)), limits=limits)

    return pair


def url(transport: str, folder: Path, number: int = 0) -> str:
    """An address of the transport on which nobody listens yet."""
    return {
        "tcp4": "tcp://127.0.0.1:0",
        "tcp6": "tcp://[::1]:0",
        "tcp": "tcp://:0",
        "unix": f"unix://{folder}/{number}.sock",
        "abstract": f"unix://@socketkit-test-{os.getpid()}-{number}",
        "mem": "mem://",
        "tls": "tls://127.0.0.1:0",
        "tls-unix": f"tls+unix://{folder}/{number}.sock",
    }[transport]


LISTENING = ("tcp4", "tcp6", "unix", "abstract", "mem", "tls", "tls-unix")
TRANSPORTS = (*LISTENING, "fd")
