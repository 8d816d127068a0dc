"""`Datagrams` and `Datagram`: what they know and count. The rules of both faces are in tests/conformance."""

from __future__ import annotations

import pytest

from socketkit import ClosedConnection, Datagram, Endpoint, EndpointError, Limits, bind, sync
from tests.conftest import Run

pytestmark = pytest.mark.usefixtures("no_leaks")

PEER = Endpoint.parse("udp://192.0.2.1:7")


def test_a_datagram_is_a_value() -> None:
    datagram = Datagram(b"data", PEER)
    assert (datagram.data, datagram.peer, datagram.local) == (b"data", PEER, None)
    assert (datagram.truncated, datagram.ecn, datagram.timestamp_ns) == (False, 0, None)
    assert datagram == Datagram(bytearray(b"data"), PEER)
    assert hash(datagram) == hash(Datagram(b"data", PEER))
    assert datagram != Datagram(b"data", PEER, ecn=1)
    assert datagram != Datagram(b"data", PEER, PEER)
    assert datagram != b"data"
    assert len(datagram) == 4
    assert repr(datagram) == "<Datagram of 4 bytes from udp://192.0.2.1:7>"
    assert repr(Datagram(b"", PEER, truncated=True)) == "<Datagram of 0 bytes from udp://192.0.2.1:7, truncated>"
    match datagram:
        case Datagram(data, peer):
            assert (data, peer) == (b"data", PEER)
    with pytest.raises(AttributeError):
        datagram.data = b""  # type: ignore[misc]


def test_it_counts_what_it_does(run: Run) -> None:
    async def main() -> None:
        async with bind("udp://127.0.0.1:0") as ours, bind("udp://127.0.0.1:0") as theirs:
            await ours.send_many([b"12345"] * 3, theirs.local)
            got: list[Datagram] = []
            while len(got) < 3:
                got += await theirs.receive_many()
            assert {id(datagram.peer) for datagram in got} == {id(got[0].peer)}
            await theirs.answer(got[0], b"x" * 15)
            await theirs.answer(got[0], b"y")
            assert (await ours.receive()).data == b"x" * 15
            assert ours.stats == {
                "received_messages": 1,
                "received_bytes": 15,
                "sent_messages": 3,
                "sent_bytes": 15,
                "dropped": 0,
                "withheld": 0,
                "unsent": 0,
                "unreachable": 0,
            }
            assert theirs.stats["withheld"] == 1
            theirs.validate(got[0].peer)
            await theirs.answer(got[0], b"z")
            assert (await ours.receive()).data == b"z"
        assert ours.stats["sent_messages"] == 3, "a closed socket still knows"

    run(main())


def test_the_ratio_can_be_chosen(run: Run) -> None:
    async def main() -> None:
        limits = Limits(answer_ratio=3.0)
        async with bind("udp://127.0.0.1:0", limits=limits) as server, bind("udp://127.0.0.1:0") as caller:
            await caller.send(b"1234", server.local)
            question = await server.receive()
            await server.answer(question, b"a" * 12)
            await server.answer(question, b"b")
            assert server.withheld == 1
            assert (await caller.receive()).data == b"a" * 12

    run(main())


def test_groups_are_joined_by_address(run: Run) -> None:
    async def main() -> None:
        async with bind("udp4://127.0.0.1:0") as datagrams:
            with pytest.raises(EndpointError, match="not a multicast address"):
                datagrams.join("192.0.2.1")
            with pytest.raises(EndpointError, match="bound to 127"):
                datagrams.join("239.1.2.3")
        with pytest.raises(ClosedConnection):
            datagrams.join("239.1.2.3")

    run(main())


def test_only_datagrams_go_to_several(run: Run) -> None:
    async def main() -> None:
        async with bind("udp://127.0.0.1:0") as datagrams:
            with pytest.raises(TypeError, match="takes Datagrams, or messages and `to`"):
                await datagrams.send_many([b"to whom?"])  # type: ignore[list-item]

    run(main())


def test_a_socket_in_words(run: Run) -> None:
    async def main() -> None:
        async with bind("udp4://127.0.0.1:0") as datagrams:
            assert repr(datagrams) == f"<Datagrams {datagrams.local}, open>"
            assert not datagrams.encrypted
        assert repr(datagrams).endswith(", closed>")

    run(main())


def test_blocking() -> None:
    with sync.bind("udp://127.0.0.1:0") as ours, sync.bind("udp://127.0.0.1:0") as theirs:
        ours.send(b"question", theirs.local)
        question = theirs.receive(max_bytes=5)
        assert (question.data, question.truncated) == (b"quest", True)
        theirs.answer(question, b"answer")
        theirs.send_many([b"1"], ours.local)
        assert [datagram.data for datagram in (next(ours), next(ours))] == [b"answer", b"1"]
