"""`Direct`: a handler that the reactor steps is a task like any other to whoever looks at it."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable

import pytest

from socketkit import BrokenConnection, EndOfStream, Stream, connect, serve
from tests.conftest import Run

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE")


async def served(handler: Callable[[Stream], Awaitable[object]], client: Callable[[Stream], Awaitable[object]]) -> None:
    async def handle(stream: Stream) -> None:
        await handler(stream)

    async with serve("mem://", handle) as server, connect(server.local) as stream:
        await client(stream)


def test_current_task_and_context_are_the_handlers_own(run: Run) -> None:
    seen: list[bool] = []

    async def handler(stream: Stream) -> None:
        task = asyncio.current_task()
        token = await stream.receive(1)
        VARIABLE.set(token.decode())
        for _ in range(3):
            await stream.send(await stream.receive(1))
            seen.append(asyncio.current_task() is task and VARIABLE.get() == token.decode())
            await asyncio.sleep(0)

    async def client(stream: Stream) -> None:
        await stream.send(b"a")
        for letter in (b"x", b"y", b"z"):
            await stream.send(letter)
            assert await stream.receive() == letter
            assert asyncio.current_task() is not None

    run(served(handler, client))
    assert seen == [True] * 3
    assert VARIABLE.get("unset") == "unset"


def test_foreign_futures_and_operations_alternate(run: Run) -> None:
    async def handler(stream: Stream) -> None:
        loop = asyncio.get_running_loop()
        async for chunk in stream:
            await asyncio.sleep(0)
            future = loop.create_future()
            loop.call_soon(future.set_result, chunk)
            await stream.send(await future)
            async with asyncio.TaskGroup() as group:
                group.create_task(stream.send(b"+"))
            await asyncio.wait_for(asyncio.sleep(0, "done"), 5)

    async def client(stream: Stream) -> None:
        for number in range(20):
            await stream.send(b"%02d" % number)
            assert await stream.receive_exactly(3) == b"%02d+" % number

    run(served(handler, client))


def test_a_time_limit_inside_cancels_the_wait_only(run: Run) -> None:
    async def handler(stream: Stream) -> None:
        await stream.receive()
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await stream.receive()
        await stream.send(b"still here")
        assert await stream.receive() == b"more"
        await stream.send(b"end")

    async def client(stream: Stream) -> None:
        await stream.send(b"go")
        assert await stream.receive() == b"still here"
        await stream.send(b"more")
        assert await stream.receive() == b"end"

    run(served(handler, client))


@pytest.mark.parametrize("inner", ["operation", "future", "subtask", "running"])
def test_cancelling_reaches_what_the_handler_waits_on(run: Run, inner: str) -> None:
    log: list[str] = []
    tasks: list[asyncio.Task[object]] = []

    async def sub() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            log.append("sub")
            raise

    async def handler(stream: Stream) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        await stream.receive(1)
        await stream.send(b"!")
        try:
            if inner == "operation":
                await stream.receive(1)
            elif inner == "future":
                await asyncio.get_running_loop().create_future()
            elif inner == "subtask":
                await asyncio.create_task(sub())
            else:
                await stream.receive(1)
                task.cancel("self")
                await asyncio.create_task(sub())
        except asyncio.CancelledError as cancelled:
            log.append(f"handler {cancelled.args}")
            assert task.cancelling() == 1
            raise

    async def client(stream: Stream) -> None:
        await stream.send(b"1")
        assert await stream.receive() == b"!"
        if inner == "running":
            await stream.send(b"2")
        else:
            await asyncio.sleep(0)
            tasks[0].cancel("why")
        await asyncio.wait(tasks)
        assert tasks[0].cancelled()

    run(served(handler, client))
    assert log[-1].startswith("handler")
    if inner == "subtask":
        assert log[0] == "sub"


def test_an_uncancelled_handler_goes_on(run: Run) -> None:
    async def handler(stream: Stream) -> None:
        task = asyncio.current_task()
        assert task is not None
        await stream.receive(1)
        task.cancel()
        try:
            await asyncio.sleep(0)
            raise AssertionError("not cancelled")
        except asyncio.CancelledError:
            task.uncancel()
        await stream.send(await stream.receive(1))

    async def whole() -> None:
        got = bytearray()

        async def collect(stream: Stream) -> None:
            await stream.send(b"ab")
            await stream.send_eof()
            async for chunk in stream:
                got.extend(chunk)

        await served(handler, collect)
        assert got == b"b"

    run(whole())


def test_an_exception_is_logged_once_and_a_cancellation_is_the_tasks(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    tasks: list[asyncio.Task[object]] = []

    async def handler(stream: Stream) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        if await stream.receive(1) == b"x":
            raise ValueError("handler's own")
        await stream.receive(1)

    async def failing(stream: Stream) -> None:
        await stream.send(b"x")
        with pytest.raises((BrokenConnection, EndOfStream)):
            await stream.receive()
        await asyncio.wait(tasks)
        assert tasks[0].exception() is None

    async def cancelled(stream: Stream) -> None:
        await stream.send(b".")
        while not tasks:
            await asyncio.sleep(0)
        tasks[0].cancel()
        with pytest.raises((BrokenConnection, EndOfStream)):
            await stream.receive()
        assert tasks[0].cancelled()

    run(served(handler, failing))
    (record,) = caplog.records
    assert record.exc_info is not None and str(record.exc_info[1]) == "handler's own"
    tasks.clear()
    caplog.clear()
    run(served(handler, cancelled))
    assert not caplog.records


def test_a_task_shows_where_its_handler_is(run: Run) -> None:
    async def handler(stream: Stream) -> None:
        await stream.receive(1)

    async def client(stream: Stream) -> None:
        await asyncio.sleep(0.01)
        names = [task.get_coro().__qualname__ for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert any("handle" in name for name in names)
        stacks = [task.get_stack() for task in asyncio.all_tasks()]
        assert any(frame.f_code.co_name == "handle" for stack in stacks for frame in stack)
        await stream.send(b".")

    run(served(handler, client))
