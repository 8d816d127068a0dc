"""Two connected ends in one process."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from ..connection import Stream
from ..endpoint import Endpoint
from ..limits import Limits
from ..messages import Messages
from ..verbs import bind, connect, listen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..datagrams import Datagrams
    from ..listener import Listener

_Shape = TypeVar("_Shape", Stream, Messages)


@asynccontextmanager
async def stream_pair(
    url: str | Endpoint = "mem://", *, limits: Limits = Limits()
) -> AsyncIterator[tuple[Stream, Stream]]:
    """Listen on `url`, connect to it, and give both ends: (the one that connected, the one that was accepted).

    At the end both are aborted: what is still queued is dropped, and nothing waits.
    """
    ours, theirs = await _accepted(url, Stream, limits)
    try:
        yield ours, theirs
    finally:
        ours.abort()
        theirs.abort()


@asynccontextmanager
async def message_pair(
    url: str | Endpoint = "mem://", *, limits: Limits = Limits()
) -> AsyncIterator[tuple[Messages, Messages]]:
    """Both ends of a connection of messages; as `stream_pair`.

    A type on which nobody listens (`udp`, `dgram+unix`) has two sockets that are connected to one another.
    """
    endpoint = Endpoint.parse(url)
    if endpoint.carrier in _UDP or "dgram" in endpoint.modifiers:
        ours, theirs = await _joined(endpoint, limits)
    else:
        ours, theirs = await _accepted(endpoint, Messages, limits)
    try:
        yield ours, theirs
    finally:
        ours.abort()
        theirs.abort()


@asynccontextmanager
async def datagram_pair(
    url: str | Endpoint = "udp://127.0.0.1:0", *, limits: Limits = Limits()
) -> AsyncIterator[tuple[Datagrams, Datagrams]]:
    """Two bound sockets, each of which the other reaches at its `local`. Both are aborted at the end.

    Of a Unix address the second one's path ends in `.2`.
    """
    endpoint = Endpoint.parse(url)
    other = endpoint.replace(path=f"{endpoint.path}.2") if endpoint.carrier == "unix" else endpoint
    ours = await bind(endpoint, limits=limits)
    try:
        theirs = await bind(other, limits=limits)
    except BaseException:
        ours.abort()
        raise
    try:
        yield ours, theirs
    finally:
        ours.abort()
        theirs.abort()


async def _accepted(url: str | Endpoint, shape: type[_Shape], limits: Limits) -> tuple[_Shape, _Shape]:
    async with listen(url, shape, limits=limits) as listener:
        # Both at once: under TLS neither is done without the other.
        accepting = asyncio.create_task(_accept(listener))
        ours = None
        try:
            ours = await connect(listener.local, shape, limits=limits)
            return ours, await accepting
        except BaseException:
            accepting.cancel()
            if ours is not None:
                ours.abort()
            raise


async def _accept(listener: Listener[_Shape]) -> _Shape:
    return await listener.accept()


async def _joined(endpoint: Endpoint, limits: Limits) -> tuple[Messages, Messages]:
    """One socket that `connect` makes, and one that is connected back to it and handed over by number."""
    import socket

    unix, path = endpoint.carrier == "unix", endpoint.path or ""
    family = socket.AF_UNIX if unix else socket.AF_INET6 if ":" in (endpoint.host or "127.0.0.1") else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as theirs:
        if unix:
            theirs.bind(f"\0{path[1:]}" if path.startswith("@") else path)
        else:
            theirs.bind((endpoint.host or "127.0.0.1", 0))
            endpoint = endpoint.replace(port=theirs.getsockname()[1])
        ours = await connect(endpoint, Messages, limits=limits)
        try:
            with socket.socket(fileno=ours.fileno()) as view:
                name = view.getsockname()
                view.detach()
            theirs.connect(name)
            if unix and not path.startswith("@"):
                os.unlink(path)  # they need no name any more
            return ours, await connect(f"fd://{theirs.detach()}", Messages, limits=limits)
        except BaseException:
            ours.abort()
            raise


_UDP = ("udp", "udp4", "udp6")
