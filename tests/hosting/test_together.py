"""Several listeners as one service."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from socketkit import BrokenConnection, ConnectError, EndOfStream, Endpoint, Limits, ListenError, Stream, connect, serve
from socketkit.hosting import Door, Together, Wanted, host, place
from socketkit.hosting.together import total
from tests.conftest import Run

FREE = Endpoint.parse("tcp4://localhost:0")


async def echo(stream: Stream) -> None:
    async for chunk in stream:
        await stream.send(chunk)


async def patient(stream: Stream) -> None:
    await asyncio.sleep(60)


def door(where: Endpoint = FREE, handler: Any = echo, *, usual: bool = False, grace: float = 5.0) -> Door:
    return Door(where, lambda at: serve(at, handler, limits=Limits(grace_seconds=grace)), usual)


def test_each_by_its_name(run: Run, no_leaks: None) -> None:
    async def main() -> None:
        async with Together({"one": door(), "two": door()}, main="two") as service:
            assert list(service.addresses) == ["one", "two"]
            assert service.local == service.addresses["two"]
            for where in service.addresses.values():
                async with connect(where) as stream:
                    await stream.send(b"x")
                    assert await stream.receive() == b"x"
            assert {name: stats["accepted"] for name, stats in service.stats.items()} == {"one": 1, "two": 1}
        for where in service.addresses.values():  # which are still known, for the words at the end
            with pytest.raises(ConnectError):
                await connect(where)
        await service.aclose()

    run(main())


def test_all_or_none(run: Run, no_leaks: None) -> None:
    async def main() -> None:
        async with serve(FREE, echo) as taken:
            service = Together({"one": door(), "two": door(taken.local)})
            with pytest.raises(ListenError):
                await service.__aenter__()
            with pytest.raises(ConnectError):
                await connect(service.addresses["one"])

    run(main())


def test_a_usual_port_gives_way_to_a_free_one(run: Run) -> None:
    async def main() -> None:
        async with serve(FREE, echo) as taken, Together({"one": door(taken.local, usual=True)}) as service:
            assert service.local.port not in (None, taken.local.port)
            async with connect(service.local) as stream:
                await stream.send(b"x")

    run(main())


def test_they_have_their_grace_at_the_same_time(run: Run) -> None:
    async def main() -> None:
        other_ended = asyncio.Event()

        async def until_the_other_ended(stream: Stream) -> None:
            await other_ended.wait()

        async def cut(stream: Stream) -> None:
            try:
                await asyncio.sleep(60)
            finally:
                other_ended.set()

        doors = {"one": door(handler=until_the_other_ended, grace=60.0), "two": door(handler=cut, grace=0.01)}
        async with asyncio.timeout(30), Together(doors) as service:
            streams = [await connect(where) for where in service.addresses.values()]
            while sum(stats["accepted"] for stats in service.stats.values()) < len(doors):
                await asyncio.sleep(0)
        with pytest.raises(EndOfStream):  # it ended by itself
            await streams[0].receive()
        with pytest.raises(BrokenConnection):
            await streams[1].receive()
        for stream in streams:
            await stream.aclose()

    run(main())


def test_a_second_cancellation_skips_the_grace(run: Run) -> None:
    async def main() -> None:
        async with Together({"one": door(handler=patient, grace=60.0)}) as service, connect(service.local):
            while not service.stats["one"]["accepted"]:
                await asyncio.sleep(0)
            ending = asyncio.create_task(service.aclose())
            await asyncio.sleep(0)
            ending.cancel()
            async with asyncio.timeout(20):
                with pytest.raises(asyncio.CancelledError):
                    await ending

    run(main())


def test_none_at_all(run: Run) -> None:
    async def main() -> None:
        async with Together({}) as service:
            assert service.addresses == {}

    run(main())


def test_hosted(run: Run) -> None:
    async def main() -> None:
        where = place(Wanted())
        opened = Together({"mail": door(), "pages": door(where.endpoint)}, main="pages")
        async with host(lambda hosted: opened, where) as hosted:
            assert hosted.local == opened.addresses["pages"]
            assert hosted.addresses == {"mail": str(opened.addresses["mail"]), "pages": hosted.link.url}
            async with connect(opened.addresses["mail"]) as stream:
                await stream.send(b"x")
                await stream.receive()
            assert hosted.stats["accepted"] == 1

    run(main())


def test_total() -> None:
    one = {"idle": 1, "sources": {"192.0.2.1": {"idle": 1}}}
    other = {"idle": 2, "slow": 1, "sources": {"192.0.2.1": {"idle": 2}, "192.0.2.2": {"slow": 1}}}
    sources = {"192.0.2.1": {"idle": 3}, "192.0.2.2": {"slow": 1}}
    assert total([one, other]) == {"idle": 3, "slow": 1, "sources": sources}
    assert total([]) == {}
