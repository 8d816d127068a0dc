"""What ping and trace have in common, with probes that are a pipe: waiting, stopping, cancelling, names."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from socketkit import EndOfStream
from socketkit.inspect import probing, targets
from socketkit.inspect.probing import Probing
from socketkit.inspect.targets import Target
from tests.conftest import Run


class Pipe(Probing[str]):
    """Each byte that arrives in the pipe is an event; after `last` it is over."""

    def __init__(self, *names: str, last: str = "z") -> None:
        super().__init__([], list(names), None)
        self.begun: list[str] = []
        self.read, self.write = os.pipe()
        os.set_blocking(self.read, False)
        self.last, self.over = last, False
        self.due_ns: int | None = None

    def _begin(self, target: Target) -> None:
        self.begun.append(target.host)

    def _without_address(self, host: str, reason: str) -> str:
        return f"{host}: {reason}"

    def _step(self) -> int | None:
        with suppress(BlockingIOError):
            self._events += os.read(self.read, 100).decode()
        if self._events and self._events[-1] == self.last:
            self.over = True
        if self.due_ns is not None and time.monotonic_ns() >= self.due_ns:
            self.due_ns = None
            self._events.append("due")
        return self.due_ns

    def _stop(self) -> None:
        self.over = True

    def _finished(self) -> bool:
        return self.over

    def _descriptors(self) -> Iterator[tuple[int, bool]]:
        yield self.read, False

    def _close(self) -> None:
        os.close(self.read)
        os.close(self.write)


def test_events_until_the_end(run: Run, no_leaks: None) -> None:
    async def main() -> None:
        async with Pipe() as pipe:
            asyncio.get_running_loop().call_soon(os.write, pipe.write, b"abz")
            assert [event async for event in pipe] == ["a", "b", "z"]
            with pytest.raises(EndOfStream):
                await pipe.receive()

    run(main())


def test_what_is_due(run: Run, no_leaks: None) -> None:
    async def main() -> None:
        async with Pipe() as pipe:
            pipe.due_ns = time.monotonic_ns() + 10_000_000
            assert await pipe.receive() == "due"

    run(main())


def test_cancelled_wait_loses_nothing(run: Run, no_leaks: None) -> None:
    async def main() -> None:
        async with Pipe() as pipe:
            waiting = asyncio.ensure_future(pipe.receive())
            await asyncio.sleep(0)
            os.write(pipe.write, b"a")
            waiting.cancel()
            await asyncio.wait([waiting])
            assert await pipe.receive() == "a"

    run(main())


def test_stop_ends_a_wait(run: Run, no_leaks: None) -> None:
    async def main() -> None:
        async with Pipe() as pipe:
            asyncio.get_running_loop().call_soon(pipe.stop)
            assert [event async for event in pipe] == []
        assert 0 < pipe.seconds < 10
        assert pipe.seconds == pipe.seconds

    run(main())


def test_names(run: Run, monkeypatch: pytest.MonkeyPatch, no_leaks: None) -> None:
    async def resolve(host: str, family: int | None = None) -> Target:
        if host == "silent":
            await asyncio.sleep(60)
        if host == "nowhere":
            raise OSError(-2, "Name or service not known")
        return Target(host, 2, ("192.0.2.1", 0))

    monkeypatch.setattr(targets, "resolve", resolve)
    monkeypatch.setattr(probing, "RESOLVE_SECONDS", 0.05)

    async def main() -> None:
        async with Pipe("silent", "nowhere", "nas") as pipe:
            pipe.over = True  # but not while names are resolved
            events = [event async for event in pipe]
        assert events == ["nowhere: name or service not known", "silent: no name server answered in 0 s"]
        assert pipe.begun == ["nas"]

    run(main())


def test_names_are_resolved_a_few_at_a_time(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def resolve(host: str, family: int | None = None) -> Target:
        asked.append(host)
        await asyncio.sleep(60)
        raise AssertionError

    monkeypatch.setattr(targets, "resolve", resolve)

    async def main() -> None:
        async with Pipe(*(f"name{number}" for number in range(100))) as pipe:
            os.write(pipe.write, b"a")
            await pipe.receive()
            await asyncio.sleep(0)
            assert len(asked) <= probing.RESOLVED_AT_ONCE

    run(main())


def test_sockets_are_closed_if_one_cannot_be_opened(run: Run, no_leaks: None) -> None:
    class Failing(Pipe):
        def _begin(self, target: Target) -> None:
            raise PermissionError

    async def main() -> None:
        pipe = Failing()
        pipe._known = [Target("nas", 2, ("192.0.2.1", 0))]
        with pytest.raises(PermissionError):
            await pipe.__aenter__()

    run(main())
