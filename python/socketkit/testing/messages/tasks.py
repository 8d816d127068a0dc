"""Rules of living among tasks: who may wait, in which context he runs, that nobody starves (DESIGN sections 3, 5)."""

from __future__ import annotations

import asyncio
import gc
import warnings
from contextvars import ContextVar
from typing import TYPE_CHECKING

from ...errors import BusyConnection, ClosedConnection
from ..claims import claim, numbered, on_a_pair, raises, receive_one, same, started, turns

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...messages import Messages
    from ..claims import MakePairOf


@on_a_pair
async def a_second_receiver_is_refused(ours: Messages, theirs: Messages) -> None:
    for receive in (receive_one(theirs), theirs.receive_many()):
        first = await started(receive)
        for _ in range(2):
            with raises(BusyConnection, "receive while another task receives"):
                await theirs.receive()
            with raises(BusyConnection, "receive_many while another task receives"):
                await theirs.receive_many()
            with raises(BusyConnection, "iteration while another task receives"):
                async for _ in theirs:
                    pass
        await theirs.send(b"sending is free")
        await ours.send(b"for the first")
        claim(await first in (b"for the first", [b"for the first"]), f"the first receiver's: {first}")
        same(await ours.receive(), b"sending is free", "received")
    await ours.send(b"next")
    same(await theirs.receive(), b"next", "a later receiver's")


@on_a_pair
async def a_receive_is_a_coroutine_to_asyncio(ours: Messages, theirs: Messages) -> None:
    """create_task, gather, wait_for, a TaskGroup and ensure_future take it as it is."""
    loop = asyncio.get_running_loop()
    task = loop.create_task(theirs.receive())
    await ours.send(b"1")
    same(await task, b"1", "create_task(receive())")
    got, _ = await asyncio.gather(theirs.receive_many(), ours.send_many([b"2"]))
    same(got, [b"2"], "gather(receive_many(), send_many())")
    waiting = asyncio.ensure_future(theirs.receive())
    async with asyncio.TaskGroup() as group:
        sending = group.create_task(ours.send(b"3"))
    same((await waiting, sending.result()), (b"3", None), "TaskGroup, ensure_future")
    await ours.send(b"4")
    same(await asyncio.wait_for(theirs.receive(), 5), b"4", "wait_for(receive())")


@on_a_pair
async def the_result_is_given_once(ours: Messages, theirs: Messages) -> None:
    await ours.send_many([b"1", b"2"])
    operation = theirs.receive()
    same(await operation, b"1", "the first await")
    with raises(RuntimeError, "the second await of one operation"):
        await operation
    same(await theirs.receive(), b"2", "the next receive")


@on_a_pair
async def what_is_not_awaited_warns_and_does_nothing(ours: Messages, theirs: Messages) -> None:
    sends: tuple[Callable[[], object], ...] = (
        lambda: ours.send(b"forgotten"),
        lambda: ours.send_many([b"forgotten"]),
    )
    for send in sends:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            send()
            gc.collect()
        same([warning.category for warning in caught], [RuntimeWarning], "warnings of a send that was not awaited")
        claim("never awaited" in str(caught[0].message), f"the warning says: {caught[0].message}")
    await ours.send(b"sent")
    same(await theirs.receive(), b"sent", "received")


@on_a_pair
async def a_task_keeps_its_own_context(ours: Messages, theirs: Messages) -> None:
    variable: ContextVar[str] = ContextVar("variable", default="outside")

    async def receive(connection: Messages, name: str) -> list[object]:
        variable.set(name)
        seen: list[object] = []
        for _ in range(3):
            await connection.receive()
            seen += [variable.get(), asyncio.current_task() is tasks[name]]
        return seen

    tasks = {
        name: asyncio.get_running_loop().create_task(receive(connection, name))
        for name, connection in (("ours", ours), ("theirs", theirs))
    }
    for _ in range(3):
        await turns(2)
        await ours.send(b"x")
        await theirs.send(b"x")
    for name, task in tasks.items():
        same(await task, [name, True] * 3, f"context variable and current task of {name}")
    same(variable.get(), "outside", "the context variable of the task that sent")


@on_a_pair
async def a_resumed_task_may_do_anything(ours: Messages, theirs: Messages) -> None:
    """Start tasks, wait for timers, cancel, close: it is as free as a task that the loop itself resumed."""

    async def handle() -> bytes:
        message = await theirs.receive()
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))
        with raises(TimeoutError, "a receive of what does not come"):
            async with asyncio.timeout(0.001):
                await theirs.receive()
        await asyncio.get_running_loop().run_in_executor(None, bytes)
        await theirs.send(message)
        await theirs.aclose()
        return message

    handling = await started(handle())
    await turns(2)
    await ours.send(b"go")
    same(await ours.receive(), b"go", "received")
    same(await handling, b"go", "the task's result")


@on_a_pair
async def an_exception_stays_in_its_task(ours: Messages, theirs: Messages) -> None:
    async def fail() -> None:
        await ours.receive()
        raise LookupError("the task's own")

    failing, other = await started(fail()), await started(receive_one(theirs))
    await turns(2)
    await theirs.send(b"x")
    await ours.send(b"y")
    same(await other, b"y", "what another task received in the same turn")
    with raises(LookupError, "the task that failed"):
        await failing


async def a_flood_starves_nobody(make_pair: MakePairOf[Messages]) -> None:
    """One connection that never has to wait, in both directions: others, timers and callbacks get their turns."""
    async with make_pair() as (loud, louder), make_pair() as (ours, theirs):
        stop = asyncio.Event()

        async def pour() -> None:
            while not stop.is_set():
                await loud.send_many([bytes(1000)] * 20)

        async def drain() -> None:
            while not stop.is_set():
                await louder.receive()

        flood = [asyncio.get_running_loop().create_task(work()) for work in (pour, drain)]
        ticks = 0

        def tick() -> None:
            nonlocal ticks
            ticks += 1
            if not stop.is_set():
                asyncio.get_running_loop().call_soon(tick)

        tick()
        for number in range(50):
            await ours.send(numbered(1, number))
            same(await asyncio.wait_for(theirs.receive(), 2), numbered(1, number), "beside a flood")
            await asyncio.wait_for(asyncio.sleep(0.0001), 2)
        stop.set()
        loud.abort()
        louder.abort()
        for result in await asyncio.gather(*flood, return_exceptions=True):
            claim(result is None or isinstance(result, OSError | EOFError | ClosedConnection), f"the flood: {result!r}")
        claim(ticks > 50, f"callbacks ran {ticks} times only")


@on_a_pair
async def a_flood_of_its_own_starves_no_timer(ours: Messages, theirs: Messages) -> None:
    """Tasks whose calls never have to wait are interrupted by their time limit all the same."""
    with raises(TimeoutError, "the time limit"):
        async with asyncio.timeout(0.02):
            for _ in range(300_000):
                await ours.send(b"x")
                await theirs.receive()


RULES = (
    a_second_receiver_is_refused,
    a_receive_is_a_coroutine_to_asyncio,
    the_result_is_given_once,
    what_is_not_awaited_warns_and_does_nothing,
    a_task_keeps_its_own_context,
    a_resumed_task_may_do_anything,
    an_exception_stays_in_its_task,
    a_flood_starves_nobody,
    a_flood_of_its_own_starves_no_timer,
)
