"""Who is there."""

from __future__ import annotations

import asyncio

import pytest

from socketkit import BrokenConnection, Messages, Stream, connect, serve
from socketkit.hosting import About, Happening, Peers, Present
from tests.conftest import Run


def test_come_and_gone(run: Run) -> None:
    told: list[Happening] = []
    peers = Peers(told.append)

    async def handler(stream: Stream, present: Present) -> None:
        async for chunk in stream:
            present.doing = f"sends {len(chunk)}"
            await stream.send(chunk * 2)

    async def main() -> None:
        async with serve("tcp://localhost:0", peers.handled(handler, "waits")) as server:
            async with connect(server.local) as stream:
                await stream.send(b"abc")
                assert await stream.receive_exactly(6) == b"abcabc"
                (row,) = peers.rows()
                assert (row.number, row.received_bytes, row.sent_bytes, row.doing) == (1, 3, 6, "sends 3")
                assert row.address.startswith("tcp://") and row.seconds >= 0
                assert len(peers) == 1
        assert (len(peers), peers.served, peers.received_bytes, peers.sent_bytes) == (0, 1, 3, 6)

    run(main())
    assert [(happening.what, happening.row.doing) for happening in told] == [("joined", "waits"), ("left", "sends 3")]


def test_kick(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    told: list[Happening] = []
    peers = Peers(told.append)

    async def handler(stream: Stream, _: Present) -> None:
        await stream.send(b"hello")
        await stream.receive()

    async def main() -> None:
        async with serve("tcp://localhost:0", peers.handled(handler)) as server:
            async with connect(server.local) as stream:
                await stream.receive()
                assert peers.kick(1)
                with pytest.raises(BrokenConnection):
                    await stream.receive()
            while len(peers):
                await asyncio.sleep(0)
            assert not peers.kick(1)

    run(main())
    assert [happening.what for happening in told] == ["joined", "kicked"]
    assert not caplog.records


def test_failures_are_the_server_s(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    peers = Peers()

    async def handler(stream: Stream, _: Present) -> None:
        raise ValueError("a bug")

    async def main() -> None:
        async with serve("tcp://localhost:0", peers.handled(handler)) as server, connect(server.local) as stream:
            with pytest.raises(BrokenConnection):
                await stream.receive()

    run(main())
    assert len(peers) == 0
    assert "a bug" in caplog.text


def test_a_service_that_counts_itself(run: Run) -> None:
    peers = Peers()

    async def handler(messages: Messages, present: Present) -> None:
        present.count(len(await messages.receive()), 0)
        present.count(0, 7)

    async def main() -> None:
        async with serve("seqpacket+tcp://localhost:0", peers.handled(handler), Messages) as server:
            async with connect(server.local, Messages) as messages:
                await messages.send(b"abc")
            while len(peers) or not peers.served:
                await asyncio.sleep(0)

    run(main())
    assert (peers.received_bytes, peers.sent_bytes) == (3, 7)


def test_leaving_twice(run: Run) -> None:
    async def main() -> None:
        peers = Peers()
        async with serve("tcp://localhost:0", lambda stream: stream.receive()) as server:
            async with connect(server.local) as stream:
                present = peers.join(stream)
                peers.leave(present)
                peers.leave(present)
        assert (peers.served, len(peers)) == (1, 0)

    run(main())


def test_what_is_asked_when_somebody_looks(run: Run) -> None:
    told: list[Happening] = []
    peers = Peers(told.append)

    async def handler(stream: Stream, present: Present) -> None:
        count = 0

        def about() -> About:
            return About(f"{count} chunks", "too many" if count > 1 else "", {"chunks": count})

        present.about = about
        async for chunk in stream:
            count += 1
            await stream.send(chunk)

    async def main() -> None:
        async with serve("tcp://localhost:0", peers.handled(handler, "waits")) as server:
            async with connect(server.local) as stream:
                for doing, warning in (("1 chunks", ""), ("2 chunks", "too many")):
                    await stream.send(b"x")
                    await stream.receive()
                    assert [(row.doing, row.warning) for row in peers.rows()] == [(doing, warning)]

    run(main())
    assert [happening.row.doing for happening in told] == ["waits", "2 chunks"]
    assert told[-1].row.facts == {"chunks": 2}
