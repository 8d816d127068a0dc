"""Which conversations have nothing under way: a service that ends says goodbye to them, and waits for the others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Resting:
    """Of one service. `ending`: it ends, and nobody is waited for who has nothing under way."""

    def __init__(self) -> None:
        self.ending = False
        self._tasks: set[asyncio.Task[Any]] = set()

    def end(self) -> None:
        """From now on nobody rests. Idempotent."""
        self.ending = True
        for task in self._tasks:
            task.cancel()

    async def until(self, receive: Callable[[], Awaitable[bytes]]) -> bytes | None:
        """What is received while a conversation has nothing under way; None: the service ends."""
        if self.ending:
            return None
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            return await receive()
        except asyncio.CancelledError:
            # By `end`, unless somebody else has cancelled it as well.
            if self.ending and task.uncancel() == 0:
                return None
            raise
        finally:
            self._tasks.discard(task)
