"""Watching real sockets: what comes, moves and goes is told, however short it was."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

import socketkit
from socketkit.errors import SelectionError
from socketkit.inspect import watch as module
from socketkit.inspect.watch import Change, Watching, watch
from tests.conftest import Run


def of_port(port: int, **options: object) -> Watching:
    """Looks seldom, so that a test says what is known from ends alone, unless it asks for more."""
    return watch(f"port={port}", namespaces="own", **{"interval_seconds": 0.05, **options})  # type: ignore[arg-type]


@asynccontextmanager
async def pair(listener: socket.socket) -> AsyncIterator[tuple[socket.socket, socket.socket]]:
    with socket.create_connection(listener.getsockname()) as caller:
        callee, _ = listener.accept()
        with callee:
            yield caller, callee


async def next_of(changes: AsyncIterator[Change], kind: str, matches: Callable[[Change], bool]) -> Change:
    async for change in changes:
        if change.kind == kind and matches(change):
            return change
    raise AssertionError(f"no row was {kind}")


@pytest.mark.slow
def test_a_connection_from_its_beginning_to_its_end(run: Run, no_leaks: None) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]

            def ours(change: Change) -> bool:
                local = change.row.entry.local
                return local is not None and local.port == port and change.row.entry.peer is not None

            async with of_port(port) as watching:
                (row,) = watching.rows
                assert (row.state, row.there_before) == ("listening", True)
                changes = aiter(watching)
                async with pair(listener) as (caller, callee):
                    opened = await next_of(changes, "opened", ours)
                    assert opened.row.processes is not None
                    assert [process.pid for process in opened.row.processes] == [os.getpid()]
                    caller.send(b"hello")
                    moved = await next_of(
                        changes, "moved", lambda change: ours(change) and change.row.received_bytes == 5
                    )
                    assert moved.row is opened.row
                    assert sum(moved.row.spark) == pytest.approx(5)
                    callee.send(b"hi")
                    caller.recv(2)  # unread, it would make the end a reset
                closed = await next_of(changes, "closed", ours)
                row = closed.row
                assert (row.received_bytes, row.sent_bytes, row.state) == (5, 2, "closed")
                assert row in watching.rows
                assert watching.totals.closed >= 1
                assert watching.lost == 0

    run(main())


@pytest.mark.slow
@pytest.mark.privileged
def test_none_of_3000_short_connections_is_missed(run: Run) -> None:
    """Made and gone between two looks; the final bytes of each are right."""
    count, request, answer = 3_000, b"r" * 10, b"answer" * 5

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(10)
            port = listener.getsockname()[1]
            # The one look that is certain is the first; what comes now is known from its end.
            async with of_port(port, interval_seconds=1.0, keep_seconds=60.0) as watching:

                def visit() -> None:
                    with socket.create_connection(listener.getsockname()) as caller:
                        callee, _ = listener.accept()
                        with callee:
                            caller.sendall(request)
                            callee.recv(64)
                            callee.sendall(answer)
                            caller.shutdown(socket.SHUT_WR)
                            callee.recv(1)
                        caller.recv(64)
                        caller.recv(1)

                for done in range(count):
                    visit()
                    if done % 10 == 9:
                        await asyncio.sleep(0)
                kinds: Counter[tuple[str, bool]] = Counter()
                finals: Counter[tuple[int | None, int | None, bool]] = Counter()
                with suppress(TimeoutError):
                    async with asyncio.timeout(20):
                        async for change in watching:
                            local = change.row.entry.local
                            callee_side = local is not None and local.port == port
                            if change.row.entry.peer is None:
                                continue
                            kinds[change.kind, callee_side] += 1
                            if change.kind == "closed":
                                finals[change.row.received_bytes, change.row.sent_bytes, callee_side] += 1
                            if min(kinds["closed", True], kinds["closed", False]) >= count:
                                break
                assert watching.lost == watching.missed == 0
        for side in (True, False):
            assert (kinds["opened", side], kinds["closed", side]) == (count, count)
        assert finals == {
            (len(request), len(answer), True): count,
            (len(answer), len(request), False): count,
        }

    run(main(), 35)


@pytest.mark.slow
@pytest.mark.privileged
def test_a_connection_that_a_look_met_before_it_was_connected(run: Run) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as caller:
            caller.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
            # It is there at the first look, and has no peer that the selection could ask for.
            async with of_port(port, interval_seconds=60.0) as watching:
                caller.connect(listener.getsockname())
                callee, _ = listener.accept()
                caller.close()
                callee.close()
                closed = await next_of(
                    aiter(watching),
                    "closed",
                    lambda change: change.row.entry.local.port != port,  # type: ignore[union-attr]
                )
                assert closed.row.entry.peer is not None
                assert closed.row.entry.peer.port == port
                assert [process.pid for process in closed.row.processes or ()] == [os.getpid()]

    run(main())


@pytest.mark.slow
@pytest.mark.privileged
def test_first_bytes_say_what_a_short_connection_was_for(run: Run) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            async with of_port(port) as watching:
                assert (watching.first_bytes, watching.why_no_first_bytes) == (True, "")
                async with pair(listener) as (caller, callee):
                    caller.sendall(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
                    callee.recv(100)
                    callee.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    caller.recv(100)
                closed = await next_of(aiter(watching), "closed", lambda change: True)
                assert (closed.row.use.name, closed.row.use.encrypted) == ("web", "no")
                assert "HTTP" in closed.row.use.protocol

    run(main())


@pytest.mark.slow
def test_without_first_bytes_it_says_so(run: Run) -> None:
    async def main() -> None:
        async with of_port(1, first_bytes=False) as watching:
            assert (watching.first_bytes, watching.why_no_first_bytes) == (False, "not asked for")

    run(main())


@pytest.mark.slow
@pytest.mark.privileged
def test_an_unprivileged_user_watches_what_he_may(program: Callable[[str], str]) -> None:
    code = """
import asyncio, socket, socketkit
async def main():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        async with socketkit.watch(f"port={port}", interval_seconds=60) as watching:
            socket.create_connection(("127.0.0.1", port)).close()
            listener.accept()[0].close()
            async for change in watching:
                if change.kind == "closed":
                    break
            print(watching.complete, watching.first_bytes, watching.why_no_first_bytes)
asyncio.run(main())
"""
    nobody = [program("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [*nobody, sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    complete, collected, why = done.stdout.strip().split(" ", 2)
    assert (complete, collected) == ("False", "False")
    assert "CAP_NET_RAW" in why


@pytest.mark.slow
def test_the_end_of_the_block_ends_the_changes(run: Run, no_leaks: None) -> None:
    async def main() -> None:
        async with of_port(1) as watching:
            reading = asyncio.create_task(_all(watching))
            await asyncio.sleep(0)
        assert await reading == []
        assert watching.take() == []
        with pytest.raises(RuntimeError, match="entered once"):
            await watching.__aenter__()

    run(main())


@pytest.mark.slow
def test_cancelled_while_it_looks_it_gives_everything_back(run: Run, no_leaks: None) -> None:
    async def main() -> None:
        for turns in range(4):
            task = asyncio.create_task(_watch_for_ever())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(main())


async def _watch_for_ever() -> None:
    async with of_port(1) as watching:
        await _all(watching)


async def _all(watching: Watching) -> list[Change]:
    return [change async for change in watching]


@pytest.mark.slow
def test_changes_that_nobody_reads_are_bounded(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 5)

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            async with of_port(listener.getsockname()[1]) as watching:
                for _ in range(10):
                    async with pair(listener):
                        pass
                while not watching.missed:
                    await asyncio.sleep(0.01)
                assert len(watching.take()) == 5
                assert watching.take() == []

    run(main())


@pytest.mark.slow
def test_what_goes_wrong_while_watching_is_raised(run: Run, no_leaks: None) -> None:
    class Broken:
        complete = True

        def refresh(self) -> None:
            raise OSError(5, "the table is gone")

    async def main() -> None:
        async with of_port(1) as watching:
            watching._table = Broken()  # type: ignore[assignment]
            with pytest.raises(OSError, match="the table is gone"):
                await _all(watching)
            with pytest.raises(OSError, match="the table is gone"):
                watching.take()

    run(main())


def test_what_is_wrong_is_said_at_once() -> None:
    assert socketkit.watch is watch
    with pytest.raises(SelectionError, match="there is no prot"):
        watch("prot=80")
    with pytest.raises(ValueError, match="interval_seconds"):
        watch(interval_seconds=0)
