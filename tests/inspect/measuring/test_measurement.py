"""Both sides in one process: every shape, both directions, and what happens when one side goes."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from socketkit import BrokenConnection, ConnectError, Endpoint, PeerViolation, SocketError, Stream, serve
from socketkit.inspect.measuring import measurement as module
from socketkit.inspect.measuring.measurement import Measurement
from socketkit.inspect.measuring.plan import Plan
from socketkit.inspect.measuring.serving import serve_bench
from tests.conftest import Run
from tests.measured import measured_again

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from socketkit.inspect.measuring.reporting import Interval, Report

pytestmark = pytest.mark.slow

ADDRESSES = [
    "tcp://localhost:0", "tls://localhost:0", "unix://{folder}/s", "mem://bench", "udp://localhost:0",
    "udp6://localhost:0", "dgram+unix://{folder}/d", "seqpacket+unix://{folder}/q", "seqpacket+tcp://localhost:0",
    "seqpacket+tls://localhost:0",
]  # fmt: skip


@pytest.fixture(autouse=True)
def short_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVAL_SECONDS", 0.1)


@asynccontextmanager
async def served(address: str) -> AsyncIterator[tuple[Endpoint, list[Any]]]:
    told: list[Any] = []
    async with serve_bench(Endpoint.parse(address), lambda session, peer: told.append(session)) as running:
        local = running.local
        yield local, told


async def measured(address: str, fit: bool = True, **plan: Any) -> tuple[Report, list[Interval], list[Any]]:
    intervals: list[Interval] = []
    async with served(address) as (local, told):
        report = await Measurement(local, Plan(**{"seconds": 0.3} | plan), fit=fit).run(intervals.append)
        async with asyncio.timeout(5):
            while not told:
                await asyncio.sleep(0.01)
    return report, intervals, told


@pytest.mark.parametrize("address", ADDRESSES)
@measured_again
def test_every_type_both_ways(run: Run, tmp_path: Path, address: str) -> None:
    report, intervals, told = run(
        measured(address.format(folder=tmp_path), down=True, flows=2, bits_per_second=4_000_000)
    )
    assert report.complete
    assert report.up is not None
    assert report.down is not None
    for direction in (report.up, report.down):
        assert direction.received_bytes > 0
        if report.shape != "stream":
            assert direction.lost == 0
            assert (
                direction.sent_bytes
                == direction.received_bytes
                == (direction.messages or 0) * report.plan.message_bytes
            )
    assert 0.29 <= report.seconds < 10
    assert report.idle.count >= 10
    assert report.loaded.count > 0
    assert sum(interval.up.received_bytes for interval in intervals if interval.up) == report.up.received_bytes
    (session,) = told
    assert session.stopped


@measured_again
def test_the_rate_is_kept(run: Run) -> None:
    report, _, _ = run(
        measured("udp://localhost:0", bits_per_second=8_000_000, seconds=1.0, message_bytes=1_000, fit=False)
    )
    assert report.up is not None
    assert report.up.messages == pytest.approx(1_000, rel=0.1)


@measured_again
def test_warm_up_is_not_counted(run: Run) -> None:
    report, _, _ = run(
        measured("udp://localhost:0", bits_per_second=8_000_000, warm_up_seconds=0.5, down=True, seconds=0.5)
    )
    for direction in (report.up, report.down):
        assert direction is not None
        assert direction.received_bytes == pytest.approx(500_000, rel=0.25)
        assert direction.lost == 0


def test_nobody_is_there(run: Run) -> None:
    async def main() -> None:
        async with served("tcp4://localhost:0") as (local, _):
            pass
        with pytest.raises(ConnectError):
            await Measurement(local, Plan()).run()
        async with served("udp4://localhost:0") as (local, _):
            pass
        with pytest.raises(SocketError, match=r"nobody|no answer"):
            await Measurement(local, Plan()).run()

    run(main())


def test_something_else_is_there(run: Run) -> None:
    async def echo(stream: Stream) -> None:
        async for chunk in stream:
            await stream.send(chunk)

    async def main() -> None:
        async with serve("tcp://localhost:0", echo) as server:
            with pytest.raises(PeerViolation, match="run `socketkit serve bench` there"):
                await Measurement(server.local, Plan()).run()

    run(main())


def test_other_side_goes_in_the_middle(run: Run) -> None:
    async def main() -> None:
        async with served("tcp://localhost:0") as (local, _):
            running = asyncio.create_task(Measurement(local, Plan(seconds=60, bits_per_second=1_000_000)).run())
            await asyncio.sleep(0.6)
        with pytest.raises((BrokenConnection, ConnectionError)):
            async with asyncio.timeout(8):
                await running

    run(main(), seconds=20)


@pytest.mark.parametrize("address", ["tcp://localhost:0", "udp://localhost:0"])
def test_cancelled_it_knows_what_was_measured(run: Run, address: str) -> None:
    async def main() -> None:
        async with served(address) as (local, told):
            measurement = Measurement(local, Plan(seconds=60, bits_per_second=4_000_000), fit=True)
            seen = asyncio.Event()
            running = asyncio.create_task(measurement.run(lambda _: seen.set()))
            await seen.wait()
            running.cancel()
            await asyncio.wait([running])
            assert running.cancelled()
            assert measurement.report.begun
            assert not measurement.report.complete
            assert measurement.report.to_json()["up"]["received_bytes"] > 0
            async with asyncio.timeout(8):
                while not told:  # the server notices
                    await asyncio.sleep(0.05)

    run(main(), seconds=20)
