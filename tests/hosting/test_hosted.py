"""The block that holds a service."""

from __future__ import annotations

import pytest

from socketkit import EndOfStream, Endpoint, ListenError, Stream, connect, serve
from socketkit.hosting import Happening, Hosted, Present, at, host
from tests.conftest import Run

PLACE = at(Endpoint.parse("tcp://localhost:0"))


async def echo(stream: Stream, _: Present) -> None:
    async for chunk in stream:
        await stream.send(chunk)


def opened(hosted: Hosted) -> object:
    return serve(hosted.place.endpoint, hosted.peers.handled(echo, "echo"))


def test_a_service(run: Run) -> None:
    told: list[Happening] = []

    async def main() -> None:
        async with host(opened, PLACE, tell=told.append) as hosted:  # type: ignore[arg-type]
            assert hosted.opened and hosted.link.url == str(hosted.local)
            async with connect(hosted.local) as stream:
                await stream.send(b"x")
                assert await stream.receive() == b"x"
            hosted.stop("enough")
            hosted.stop("another reason")
            assert await hosted.wait() == "enough"
            assert hosted.stats["accepted"] == 1

    run(main())
    assert [happening.what for happening in told] == ["joined", "left"]


def test_its_time_is_over(run: Run) -> None:
    async def main() -> str:
        async with host(opened, PLACE, seconds=0.01) as hosted:  # type: ignore[arg-type]
            return await hosted.wait()

    assert run(main()) == "its time is over"


def test_once(run: Run) -> None:
    async def main() -> str:
        async with host(opened, PLACE, once=True) as hosted:  # type: ignore[arg-type]
            async with connect(hosted.local) as stream:
                await stream.send_eof()
                with pytest.raises(EndOfStream):
                    await stream.receive()
            return await hosted.wait()

    assert run(main()) == "the one whom it was for is gone"


def test_one_that_does_not_open(run: Run) -> None:
    async def main() -> None:
        async with serve("tcp4://localhost:0", lambda stream: stream.receive()) as taken:
            with pytest.raises(ListenError):
                async with host(lambda hosted: serve(hosted.place.endpoint, echo), at(taken.local)):  # type: ignore[arg-type,misc]
                    pass

    run(main())


def test_before_it_is_open(run: Run) -> None:
    async def main() -> None:
        hosted = Hosted(PLACE)
        assert not hosted.opened
        with pytest.raises(RuntimeError, match="has not started"):
            _ = hosted.local

    run(main())
