"""Rules of closing one's own side: bounded, idempotent, and told to whoever waits (DESIGN section 3)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ...errors import ClosedConnection
from ..claims import aclose, claim, on_a_pair, raises, receive_one, same, started, turns

if TYPE_CHECKING:
    from ...messages import Messages


@on_a_pair
async def closing_is_idempotent(ours: Messages, theirs: Messages) -> None:
    await asyncio.gather(*[aclose(ours) for _ in range(3)])
    await ours.aclose()
    ours.abort()
    ours.abort()
    await ours.aclose()
    claim(ours.closed, "closed and yet not `closed`")
    claim(not theirs.closed, "the other end is `closed`, which nobody has closed")


@on_a_pair
async def a_closed_connection_says_so(ours: Messages, theirs: Messages) -> None:
    await theirs.send(b"unread")
    await ours.aclose()
    with raises(ClosedConnection, "receive"):
        await ours.receive()
    with raises(ClosedConnection, "receive_many"):
        await ours.receive_many()
    with raises(ClosedConnection, "send"):
        await ours.send(b"x")
    with raises(ClosedConnection, "send_many"):
        await ours.send_many([b"x"])
    with raises(ClosedConnection, "iteration"):
        async for _ in ours:
            pass
    with raises(ClosedConnection, "fileno"):
        ours.fileno()
    same(repr(ours).endswith("closed>"), True, f"repr {ours!r} tells that it is closed")
    claim(ours.peer.endpoint is not None, "a closed connection has forgotten its peer")


@on_a_pair
async def closing_wakes_whoever_waits(ours: Messages, theirs: Messages) -> None:
    waiting = await started(receive_one(ours))
    await turns(2)
    await ours.aclose()
    with raises(ClosedConnection, "the receive that waited while its connection was closed"):
        await waiting


@on_a_pair
async def aborting_wakes_whoever_waits(ours: Messages, theirs: Messages) -> None:
    waiting = await started(ours.receive_many())
    await turns(2)
    ours.abort()
    with raises(ClosedConnection, "the receive that waited when its connection was aborted"):
        await waiting


@on_a_pair
async def a_block_closes_it(ours: Messages, theirs: Messages) -> None:
    async with ours as entered:
        same(entered is ours, True, "what `async with` gives is the connection")
    claim(ours.closed, "open behind its block")


RULES = (
    closing_is_idempotent,
    a_closed_connection_says_so,
    closing_wakes_whoever_waits,
    aborting_wakes_whoever_waits,
    a_block_closes_it,
)
