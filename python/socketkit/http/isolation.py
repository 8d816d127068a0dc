"""Each request in a context of its own, though all of a connection run in one task."""

from __future__ import annotations

import types
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine, Generator


@types.coroutine
def isolated(awaitable: Awaitable[Any]) -> Generator[Any, Any, Any]:
    """Await it; the context variables that it sets are its own, and whoever comes next does not see them."""
    coroutine: Coroutine[Any, Any, Any] = awaitable if hasattr(awaitable, "send") else _waiting(awaitable)  # type: ignore[assignment]
    run = copy_context().run
    step, value = coroutine.send, None
    while True:
        try:
            awaited = run(step, value)
        except StopIteration as end:
            return end.value
        try:
            value, step = (yield awaited), coroutine.send
        except GeneratorExit:
            run(coroutine.close)
            raise
        except BaseException as failure:
            value, step = failure, coroutine.throw


async def _waiting(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
