"""Who drives the engine: one driver per loop, which goes with it; and deadlines of blocking code."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import weakref

import pytest

from socketkit.drivers import LoopDriver, ThreadDriver, deadline, remaining
from tests.conftest import LoopFactory, Run


def test_one_driver_per_loop(run: Run, no_leaks: None) -> None:
    async def main() -> LoopDriver:
        assert LoopDriver.current() is LoopDriver.current()
        return LoopDriver.current()

    assert run(main()) is not run(main())


def test_a_driver_goes_with_its_loop(loop_factory: LoopFactory, no_leaks: None) -> None:
    async def main() -> weakref.ref[object]:
        return weakref.ref(LoopDriver.current())

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        driver = runner.run(main())
    del runner
    gc.collect()
    assert driver() is None


def test_no_running_loop() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        LoopDriver.current()


def test_names_are_resolved_for_streams(run: Run) -> None:
    async def main() -> None:
        found = await LoopDriver.current().resolve("localhost", 80, socket.AF_INET)
        assert (socket.AF_INET, ("127.0.0.1", 80)) in found
        assert len(found) == len(set(found)), "one entry per address, not one per socket type"

    run(main())


def test_within(run: Run) -> None:
    async def main() -> None:
        driver = LoopDriver.current()

        async def work(seconds: float) -> str:
            await driver.sleep(seconds)
            return "done"

        assert await driver.within(5, work(0)) == "done"
        with pytest.raises(TimeoutError):
            await driver.within(0.01, work(5))

    run(main())


def test_deadlines_nest_and_the_earliest_counts() -> None:
    assert remaining() is None
    with deadline(50):
        first = remaining()
        assert first is not None
        assert 49 < first <= 50
        with deadline(5):
            inner = remaining()
            assert inner is not None
            assert 4 < inner <= 5
            with deadline(1000):
                innermost = remaining()
                assert innermost is not None
                assert innermost <= 5
        outer = remaining()
        assert outer is not None
        assert outer > 40
        with deadline(0):
            assert remaining() == 0.0
        with deadline(-1):
            assert remaining() == 0.0
    assert remaining() is None


def test_a_deadline_is_its_threads() -> None:
    seen: list[float | None] = []
    with deadline(5):
        thread = threading.Thread(target=lambda: seen.append(remaining()))
        thread.start()
        thread.join()
    assert seen == [None]


def test_a_deadline_ends_with_an_exception_too() -> None:
    with pytest.raises(LookupError), deadline(5):
        raise LookupError
    assert remaining() is None


def test_blocking_sleep_heeds_the_deadline() -> None:
    async def sleep(seconds: float) -> None:
        await ThreadDriver().sleep(seconds)

    with pytest.raises(TimeoutError), deadline(0.02):
        sleep(600).send(None)
    with pytest.raises(StopIteration):
        sleep(0).send(None)
