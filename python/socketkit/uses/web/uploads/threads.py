"""Calls that block, off the loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
P = ParamSpec("P")

__all__ = ["in_thread"]


async def in_thread(call: Callable[P, T], *words: P.args, **named: P.kwargs) -> T:
    """What the call gives. Cancelled: it is waited for, for it uses descriptors that are closed behind it."""
    running = asyncio.ensure_future(asyncio.to_thread(call, *words, **named))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            await asyncio.wait([running])
        if not running.cancelled():
            running.exception()  # it is not told twice
        raise
