"""Rules of living among tasks: who may wait, in which context he runs, that nobody starves (DESIGN sections 3, 5)."""

from __future__ import annotations

import asyncio
import gc
import warnings
from contextlib import suppress
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING

from ..connection import Stream
from ..errors import BusyConnection, ClosedConnection
from .claims import all_of, claim, numbered, on_a_pair, raises, receive_one, same, started, turns

if TYPE_CHECKING:
    from .claims import MakePair


@on_a_pair
async def a_second_receiver_is_refused(ours: Stream, theirs: Stream) -> None:
    first = await started(receive_one(theirs))
    for _ in range(2):
        with raises(BusyConnection, "receive while another task receives"):
            await theirs.receive()
        with raises(BusyConnection, "receive_exactly while another task receives"):
            await theirs.receive_exactly(1)
        with raises(BusyConnection, "receive_until while another task receives"):
            await theirs.receive_until(b"x")
        with raises(BusyConnection, "iteration while another task receives"):
            async for _ in theirs:
                pass
    await theirs.send(b"sending is free")
    await ours.send(b"for the first")
    same(await first, b"for the first", "the first receiver's")
    same(await ours.receive(), b"sending is free", "received")
    await ours.send(b"next")
    same(await theirs.receive(), b"next", "a later receiver's")


@on_a_pair
async def a_receive_is_a_coroutine_to_asyncio(ours: Stream, theirs: Stream) -> None:
    """create_task, gather, wait_for, a TaskGroup and ensure_future take it as it is."""
    loop = asyncio.get_running_loop()
    task = loop.create_task(theirs.receive())
    await ours.send(b"1")
    same(await task, b"1", "create_task(receive())")
    got, _ = await asyncio.gather(theirs.receive_exactly(1), ours.send(b"2"))
    same(got, b"2", "gather(receive_exactly(), send())")
    waiting = asyncio.ensure_future(theirs.receive_until(b"\n"))
    async with asyncio.TaskGroup() as group:
        sending = group.create_task(ours.send(b"3\n"))
    same((await waiting, sending.result()), (b"3\n", None), "TaskGroup, ensure_future")
    await ours.send(b"4")
    same(await asyncio.wait_for(theirs.receive(), 5), b"4", "wait_for(receive())")
    done, _ = await asyncio.wait([loop.create_task(ours.send_eof()), loop.create_task(theirs.receive())])
    same(sorted(type(task.exception()).__name__ for task in done), ["EndOfStream", "NoneType"], "wait")


@on_a_pair
async def the_result_is_given_once(ours: Stream, theirs: Stream) -> None:
    await ours.send(b"12")
    operation = theirs.receive(1)
    same(await operation, b"1", "the first await")
    with raises(RuntimeError, "the second await of one operation"):
        await operation
    same(await theirs.receive(), b"2", "the next receive")


@on_a_pair
async def what_is_not_awaited_warns_and_does_nothing(ours: Stream, theirs: Stream) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ours.send(b"forgotten")
        gc.collect()
    same([warning.category for warning in caught], [RuntimeWarning], "warnings of a send that was not awaited")
    claim("never awaited" in str(caught[0].message), f"the warning says: {caught[0].message}")
    await ours.send(b"sent")
    same(await theirs.receive(), b"sent", "received")


@on_a_pair
async def a_task_keeps_its_own_context(ours: Stream, theirs: Stream) -> None:
    variable: ContextVar[str] = ContextVar("variable", default="outside")

    async def receive(stream: Stream, name: str) -> list[object]:
        variable.set(name)
        seen: list[object] = []
        for _ in range(3):
            await stream.receive_exactly(1)
            seen += [variable.get(), asyncio.current_task() is tasks[name]]
            variable.set(variable.get())
        return seen

    tasks = {
        name: asyncio.get_running_loop().create_task(receive(stream, name))
        for name, stream in (("ours", ours), ("theirs", theirs))
    }
    for _ in range(3):
        await turns(2)
        await ours.send(b"x")
        await theirs.send(b"x")
    for name, task in tasks.items():
        same(await task, [name, True] * 3, f"context variable and current task of {name}")
    same(variable.get(), "outside", "the context variable of the task that sent")
    context = copy_context()
    context.run(variable.set, "given")
    await ours.send(b"x")

    async def look() -> str:
        await theirs.receive()
        return variable.get()

    same(await asyncio.get_running_loop().create_task(look(), context=context), "given", "in a given context")


@on_a_pair
async def a_resumed_task_may_do_anything(ours: Stream, theirs: Stream) -> None:
    """Start tasks, wait for timers, cancel, close: it is as free as a task that the loop itself resumed."""

    async def handle() -> bytes:
        data = await theirs.receive()
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))
        with suppress(TimeoutError):
            async with asyncio.timeout(0.001):
                await theirs.receive()
        await asyncio.get_running_loop().run_in_executor(None, bytes)
        await theirs.send(data)
        await theirs.aclose()
        return data

    handling = await started(handle())
    await turns(2)
    await ours.send(b"go")
    same(await all_of(ours), b"go", "received")
    same(await handling, b"go", "the task's result")


@on_a_pair
async def an_exception_stays_in_its_task(ours: Stream, theirs: Stream) -> None:
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


async def a_flood_starves_nobody(make_pair: MakePair) -> None:
    """One connection that never has to wait, in both directions: others, timers and callbacks get their turns."""
    async with make_pair() as (loud, louder), make_pair() as (ours, theirs):
        stop = asyncio.Event()

        async def pour() -> None:
            while not stop.is_set():
                await loud.send(bytes(1000))

        async def drain() -> None:
            while not stop.is_set():
                await louder.receive(1000)

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
        for result in await asyncio.gather(*flood, return_exceptions=True):
            claim(result is None or isinstance(result, OSError | EOFError | ClosedConnection), f"the flood: {result!r}")
        claim(ticks > 50, f"callbacks ran {ticks} times only")


@on_a_pair
async def a_flood_of_its_own_starves_no_timer(ours: Stream, theirs: Stream) -> None:
    """A task whose receive never has to wait is interrupted by its time limit all the same."""
    sending = await started(ours.send(bytes(20_000_000)))
    received = 0
    with raises(TimeoutError, "the time limit"):
        async with asyncio.timeout(0.01):
            while True:
                received += len(await theirs.receive(10))
                claim(received < 20_000_000, "everything was received, and the time limit never came")
    await sending


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
