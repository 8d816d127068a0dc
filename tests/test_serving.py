"""`serve`: a task per connection, and an end that always comes."""

from __future__ import annotations

import asyncio
import logging

import pytest

from socketkit import BrokenConnection, ConnectError, EndOfStream, Limits, ListenError, Stream, connect, serve
from socketkit.testing.claims import all_of, started, turns
from tests.conformance.transports import LISTENING, url
from tests.conftest import Run

pytestmark = pytest.mark.usefixtures("no_leaks")


async def echo(stream: Stream) -> None:
    async for chunk in stream:
        await stream.send(chunk)


async def wait_for_ever(stream: Stream) -> None:
    await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("transport", LISTENING)
def test_serves_for_the_block(run: Run, transport: str, tmp_path: object) -> None:
    async def main() -> None:
        async with serve(url(transport, tmp_path), echo) as server:  # type: ignore[arg-type]
            async with asyncio.TaskGroup() as group:
                for number in range(30):
                    group.create_task(ask(server.local, b"%d" % number * 10_000))
            assert server.stats["accepted"] == 30
        with pytest.raises(ConnectError):
            await connect(server.local)

    run(main())


async def ask(where: object, data: bytes) -> None:
    async with connect(where) as stream:  # type: ignore[arg-type]
        await stream.send(data)
        await stream.send_eof()
        assert await all_of(stream) == data


def test_a_handler_that_returns_closes_its_connection(run: Run) -> None:
    async def greet(stream: Stream) -> None:
        await stream.send(b"hello" * 100_000)

    async def main() -> None:
        async with serve("tcp://127.0.0.1:0", greet) as server, connect(server.local) as stream:
            assert await all_of(stream) == b"hello" * 100_000
            await turns(3)
            assert server.connections == 0

    run(main())


def test_a_handler_that_fails_is_logged_and_costs_its_own_connection_only(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def handle(stream: Stream) -> None:
        if await stream.receive_exactly(4) == b"fail":
            raise LookupError("a bug in the handler")
        await stream.send(b"fine")

    async def main() -> str:
        async with serve("tcp://127.0.0.1:0", handle) as server:
            bad, good = await connect(server.local), await connect(server.local)
            await bad.send(b"fail")
            with pytest.raises(BrokenConnection, match="reset"):
                await bad.receive()
            await good.send(b"good")
            assert await all_of(good) == b"fine"
            where = str(bad.local)
            await bad.aclose()
            await good.aclose()
        return where

    with caplog.at_level(logging.INFO, "socketkit"):
        where = run(main())
    (record,) = [record for record in caplog.records if record.name == "socketkit"]
    assert record.levelname == "ERROR"
    assert where in record.getMessage()
    assert "a bug in the handler" in caplog.text
    caplog.clear()  # its traceback holds the loop


def test_a_peer_that_resets_is_no_error_of_the_handler(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with serve("tcp://127.0.0.1:0", echo) as server:
            stream = await connect(server.local)
            await stream.send(b"x")
            assert await stream.receive() == b"x"
            stream.abort()
            while server.connections:
                await asyncio.sleep(0.001)

    with caplog.at_level(logging.INFO, "socketkit"):
        run(main())
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert caplog.records[0].exc_info is None
    caplog.clear()


@pytest.mark.parametrize("sent", [b"", b"a line without end" * 10])
def test_a_peer_that_breaks_the_rules_cannot_fill_the_log(
    run: Run, caplog: pytest.LogCaptureFixture, sent: bytes
) -> None:
    """It leaves in the middle of a message, or sends one that is too long."""

    async def handle(stream: Stream) -> None:
        await stream.receive_until(b"\n", max_bytes=100)

    async def main() -> None:
        async with serve("tcp://127.0.0.1:0", handle) as server:
            stream = await connect(server.local)
            await stream.send(sent)
            await stream.aclose()
            while server.connections or not server.stats["accepted"]:
                await asyncio.sleep(0.001)

    with caplog.at_level(logging.INFO, "socketkit"):
        run(main())
    assert {record.levelname for record in caplog.records} == ({"INFO", "WARNING"} if sent else {"INFO"})
    assert not any(record.exc_info for record in caplog.records)


def test_peers_that_break_the_rules_are_told_of_once(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def handle(stream: Stream) -> None:
        await stream.receive_until(b"\n", max_bytes=1)

    async def main() -> None:
        async with serve("tcp://127.0.0.1:0", handle) as server:
            for _ in range(20):
                stream = await connect(server.local)
                await stream.send(b"too long")
                with pytest.raises((BrokenConnection, EndOfStream)):
                    await stream.receive()
                stream.abort()

    with caplog.at_level(logging.WARNING, "socketkit"):
        run(main())
    assert len(caplog.records) == 1
    assert "1 peer broke the rules" in caplog.records[0].getMessage()


def test_handlers_get_their_grace(run: Run) -> None:
    """Those that end by themselves are not cut."""

    async def main() -> None:
        begun = asyncio.Event()

        async def slow(stream: Stream) -> None:
            begun.set()
            await stream.send(await stream.receive())

        async with serve("mem://", slow) as server:
            stream = await connect(server.local)
            await begun.wait()
            ending = await started(server.aclose())
            await turns(3)
            assert not ending.done()
            with pytest.raises(ConnectError):
                await connect(server.local)
            await stream.send(b"in time")
            assert await all_of(stream) == b"in time"
            await ending
            await stream.aclose()

    run(main())


def test_after_the_grace_handlers_are_cancelled_and_cut(run: Run) -> None:
    async def main() -> None:
        cancelled = []

        async def stuck(stream: Stream) -> None:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                cancelled.append(stream)
                raise

        async with serve("tcp://127.0.0.1:0", stuck, limits=Limits(grace_seconds=0.05)) as server:
            stream = await connect(server.local)
            while not server.connections:
                await asyncio.sleep(0)
        assert len(cancelled) == 1
        assert cancelled[0].closed
        with pytest.raises(BrokenConnection):
            await stream.receive()
        stream.abort()

    run(main())


@pytest.mark.slow
def test_a_handler_that_refuses_to_end_is_left_behind(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        release = asyncio.Event()

        async def stubborn(stream: Stream) -> None:
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    continue

        async with asyncio.timeout(5):
            async with serve("mem://", stubborn, limits=Limits(grace_seconds=0)) as server:
                stream = await connect(server.local)
                while not server.connections:
                    await asyncio.sleep(0)
        with pytest.raises((EndOfStream, BrokenConnection)):
            await stream.receive()
        release.set()
        stream.abort()
        await turns(3)

    run(main())
    assert "ignores its cancellation" in caplog.text


def test_an_exception_in_the_block_skips_the_grace(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(LookupError):
            async with serve("mem://", wait_for_ever) as server:
                stream = await connect(server.local)
                while not server.connections:
                    await asyncio.sleep(0)
                raise LookupError
        stream.abort()

    run(main(), 2)


def test_awaited_it_serves_until_cancelled(run: Run) -> None:
    async def main() -> None:
        server = serve("mem://test", echo, limits=Limits(grace_seconds=0))

        async def wait() -> None:
            await server

        serving = await started(wait())
        await ask(server.local, b"data")
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        with pytest.raises(ConnectError):
            await connect("mem://test")

    run(main())


def test_a_second_cancellation_skips_the_grace(run: Run) -> None:
    async def main() -> None:
        server = serve("mem://", wait_for_ever)

        async def wait() -> None:
            await server

        serving = await started(wait())
        stream = await connect(server.local)
        while not server.connections:
            await asyncio.sleep(0)
        serving.cancel()
        await asyncio.sleep(0.01)
        assert not serving.done()
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        stream.abort()

    run(main(), 3)


def test_awaited_it_ends_when_it_is_closed(run: Run) -> None:
    """Nobody cancelled the task that waits, so it must not look cancelled."""

    async def main() -> None:
        server = serve("mem://", echo)

        async def wait() -> str:
            await server
            return "ended"

        serving = await started(wait())
        await server.aclose()
        await server.aclose()
        assert await serving == "ended"

    run(main())


def test_it_is_used_once(run: Run) -> None:
    async def main() -> None:
        server = serve("mem://", echo)
        with pytest.raises(RuntimeError, match="has not started"):
            _ = server.local
        async with server:
            pass
        with pytest.raises(RuntimeError, match="used once"):
            await server

    run(main())


def test_what_cannot_be_listened_at_is_raised(run: Run) -> None:
    async def main() -> None:
        async with serve("mem://taken", echo):
            with pytest.raises(ListenError):
                async with serve("mem://taken", echo):
                    pass
            with pytest.raises(ListenError):
                await serve("mem://taken", echo)

    run(main())


@pytest.mark.slow
def test_a_server_under_churn_ends_clean(run: Run) -> None:
    """Callers that come, go, reset and vanish at every moment, while it ends."""

    async def main() -> None:
        async def client(where: object, number: int) -> None:
            try:
                async with connect(where) as stream:  # type: ignore[arg-type]
                    await stream.send(b"x" * (number * 100))
                    if number % 3 == 0:
                        stream.abort()
                    elif number % 3 == 1:
                        await stream.receive()
            except (OSError, EndOfStream):
                pass

        async with serve("tcp://127.0.0.1:0", echo, limits=Limits(grace_seconds=0.1, connections=20)) as server:
            tasks = [asyncio.get_running_loop().create_task(client(server.local, number)) for number in range(300)]
            while server.stats["accepted"] < 150:
                await asyncio.sleep(0)
        await asyncio.wait(tasks)
        assert server.connections == 0

    run(main(), 20)
