"""How a rule says what it expects, and the data that shows a lost, doubled or misplaced byte."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

from ..connection import Stream
from ..errors import EndOfStream

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from ..datagrams import Datagrams
    from ..messages import Messages

_End = TypeVar("_End")
MakePairOf = Callable[[], AbstractAsyncContextManager[tuple[_End, _End]]]
RuleOf = Callable[[MakePairOf[_End]], Awaitable[None]]
MakePair = MakePairOf[Stream]
Rule = RuleOf[Stream]


def on_a_pair(rule: Callable[[_End, _End], Coroutine[Any, Any, None]]) -> RuleOf[_End]:
    """Makes a rule of a function that needs one pair."""

    @wraps(rule)
    async def checked(make_pair: MakePairOf[_End]) -> None:
        async with make_pair() as (ours, theirs):
            await rule(ours, theirs)

    return checked


def claim(true: object, otherwise: str) -> None:
    """Like `assert`, and not switched off by `python -O`."""
    if not true:
        raise AssertionError(otherwise)


def same(got: object, wanted: object, what: str) -> None:
    if got != wanted:
        raise AssertionError(f"{what}: {_short(got)} instead of {_short(wanted)}")


@contextmanager
def raises(kind: type[BaseException], what: str) -> Iterator[None]:
    """What happens inside ends with exactly this kind of exception."""
    try:
        yield
    except kind:
        return
    except Exception as other:
        raise AssertionError(f"{what}: {kind.__name__} expected, got {other!r}") from other
    raise AssertionError(f"{what}: {kind.__name__} expected, nothing was raised")


def numbered(count: int, start: int = 0) -> bytes:
    """`count` numbers of eight bytes each: wherever one is lost, doubled or moved, it shows."""
    return struct.pack(f">{count}Q", *range(start, start + count))


async def all_of(stream: Stream) -> bytes:
    """Everything up to the end of the stream."""
    return b"".join([chunk async for chunk in stream])


async def turns(count: int) -> None:
    """Let the loop go round, so that what is ready happens."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(happened: Callable[[], object]) -> None:
    """Let the loop go round until `happened()`; the rule's own bound ends it."""
    while not happened():  # noqa: ASYNC110  (there is no event to tell of it)
        await asyncio.sleep(0.001)


async def started(coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """A task that has run up to where it waits."""
    task = asyncio.get_running_loop().create_task(coroutine)
    await asyncio.sleep(0)
    return task


async def receive_one(connection: Stream | Messages) -> bytes:
    """A receive as a user writes it: with a coroutine of his around."""
    return await connection.receive()


async def aclose(connection: Stream | Messages | Datagrams) -> None:
    """`aclose()` as a coroutine, which a task can be made of and cancelled."""
    await connection.aclose()


async def end_of(connection: Stream | Messages) -> None:
    with raises(EndOfStream, "receive at the end"):
        await connection.receive()


async def fill(connection: Stream | Messages, message: bytes = bytes(65_536)) -> tuple[int, asyncio.Task[None]]:
    """Send to a peer that does not read until a send has to wait: (messages taken, the task of the one that waits)."""
    taken = 0

    async def pour() -> None:
        nonlocal taken
        while taken < MOST_MESSAGES:
            await connection.send(message)
            taken += 1

    task = asyncio.get_running_loop().create_task(pour())
    # A peer in this process does not read, so once nothing has moved for some turns nothing will.
    still, before = 0, -1
    while still < 5:
        await asyncio.sleep(0.002)
        still = still + 1 if taken == before else 0
        before = taken
    size = taken * len(message)
    claim(taken < MOST_MESSAGES, f"send() took {size} bytes that nobody reads: there is no backpressure")
    claim(not task.done(), f"send() to a peer that does not read failed: {task}")
    return taken, task


def _short(value: object) -> str:
    text = repr(value)
    size = f" ({len(value)} bytes)" if isinstance(value, bytes | bytearray) else ""
    return (text if len(text) <= 120 else f"{text[:60]}...{text[-40:]}") + size


MOST_MESSAGES = 1024
