"""Datagrams that one peer sends as a run, and the kernel hands over as one: nobody sees that they were joined."""

from __future__ import annotations

import gc
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from struct import Struct

import pytest

from socketkit import Datagram, Datagrams, Limits, bind, sync
from tests.conftest import Run

pytestmark = pytest.mark.usefixtures("no_leaks")

SOL_UDP, UDP_SEGMENT = 17, 103
COUNT, BYTES = 40, 1000


@contextmanager
def sender() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(5)
        yield sock


def parts(first: int = 0, count: int = COUNT) -> list[bytes]:
    """The last is shorter than the others."""
    return [bytes([number]) * (BYTES - (number == first + count - 1)) for number in range(first, first + count)]


def send_train(sock: socket.socket, to: Datagrams, train: list[bytes]) -> None:
    size = Struct("=H").pack(len(train[0]))
    sock.sendmsg([b"".join(train)], [(SOL_UDP, UDP_SEGMENT, size)], 0, ("127.0.0.1", to.local.port))


async def received(datagrams: Datagrams, count: int) -> list[Datagram]:
    got: list[Datagram] = []
    while len(got) < count:
        got += await datagrams.receive_many()
    return got


def answers(sock: socket.socket, count: int) -> list[bytes]:
    return [sock.recv(2 * BYTES) for _ in range(count)]


def test_each_of_a_train_is_a_datagram(run: Run) -> None:
    async def main() -> None:
        async with bind("udp://127.0.0.1:0") as datagrams:
            with sender() as sock:
                send_train(sock, datagrams, parts())
                got = await received(datagrams, COUNT)
                assert [len(datagram) for datagram in got] == [len(part) for part in parts()]
                assert repr(got[-1]) == f"<Datagram of {BYTES - 1} bytes from {got[0].peer}>"
                assert [datagram.data for datagram in got] == parts()
                assert got[3].data is got[3].data
                assert got[3] == Datagram(got[3].data, got[3].peer, got[3].local, timestamp_ns=got[3].timestamp_ns)
                assert hash(got[3]) == hash(Datagram(got[3].data, got[3].peer, timestamp_ns=got[3].timestamp_ns))
                assert got[3] != got[4]
                assert {id(datagram.peer) for datagram in got} == {id(got[0].peer)}
                assert datagrams.stats["received_messages"] == COUNT
                assert datagrams.stats["received_bytes"] == COUNT * BYTES - 1

    run(main())


def test_no_more_than_was_asked_for_and_none_is_lost(run: Run) -> None:
    async def main() -> None:
        async with bind("udp://127.0.0.1:0") as datagrams:
            with sender() as sock:
                for first in (0, 50, 100):
                    send_train(sock, datagrams, parts(first))
                got = [await datagrams.receive()]
                got += await datagrams.receive_many(7)
                assert len(got) == 8
                got += await datagrams.receive_many(10)
                got.append(await anext(datagrams))
                while len(got) < 3 * COUNT:
                    batch = await datagrams.receive_many(64)
                    assert 1 <= len(batch) <= 64
                    got += batch
                cut = await cut_one(datagrams, sock)
        assert [datagram.data for datagram in got] == [*parts(0), *parts(50), *parts(100)]
        assert (cut.data, cut.truncated) == (b"\0" * 5, True)

    async def cut_one(datagrams: Datagrams, sock: socket.socket) -> Datagram:
        send_train(sock, datagrams, parts())
        return await datagrams.receive(max_bytes=5)

    run(main())


def test_two_trains_that_fit_come_together(run: Run) -> None:
    async def main() -> None:
        async with bind("udp://127.0.0.1:0") as datagrams:
            with sender() as sock:
                for first in (0, 50, 100):
                    send_train(sock, datagrams, parts(first, 30))
                assert [len(await datagrams.receive_many()), len(await datagrams.receive_many())] == [60, 30]

    run(main())


@pytest.mark.parametrize("looked_at", [False, True])
@pytest.mark.parametrize(
    "chosen",
    [slice(None), slice(1, None), slice(5, 9), slice(None, None, 2), slice(None, None, -1), slice(0, 1)],
    ids=["all", "behind the first", "a few", "every other", "backwards", "the first"],
)
def test_what_is_sent_back_is_what_came(run: Run, chosen: slice, looked_at: bool) -> None:
    async def main() -> None:
        async with bind("udp://127.0.0.1:0") as datagrams:
            with sender() as sock:
                send_train(sock, datagrams, parts())
                send_train(sock, datagrams, parts(100))
                got = (await received(datagrams, 2 * COUNT))[chosen]
                expected = [*parts(), *parts(100)][chosen]
                if looked_at:
                    assert [datagram.data for datagram in got] == expected
                await datagrams.send_many(got)
                assert answers(sock, len(expected)) == expected
                assert datagrams.stats["sent_messages"] == len(expected)
                assert datagrams.stats["sent_bytes"] == sum(map(len, expected))

    run(main())


def test_other_datagrams_go_between_those_of_a_train(run: Run) -> None:
    async def main() -> None:
        async with bind("udp://127.0.0.1:0") as datagrams, bind("udp://127.0.0.1:0") as other:
            with sender() as sock:
                send_train(sock, datagrams, parts())
                got = await received(datagrams, COUNT)
                own = Datagram(b"own", got[0].peer)
                await datagrams.send_many([*got[:3], got[2], own, *got[3:5], *got[:2]])
                expected = [*parts()[:3], parts()[2], b"own", *parts()[3:5], *parts()[:2]]
                assert answers(sock, len(expected)) == expected
                other.validate(got[0].peer)
                await other.send_many(got)
                assert answers(sock, COUNT) == parts()

    run(main())


@pytest.mark.parametrize("budget", [0, BYTES - 1, BYTES, 2 * BYTES, 17 * BYTES + 5, COUNT * BYTES - 2, COUNT * BYTES])
def test_a_budget_of_answers_ends_within_a_train_where_it_would_one_by_one(run: Run, budget: int) -> None:
    """What a peer may be sent is decided for a whole run at once: the outcome is that of asking for each."""

    async def echoed(one_by_one: bool) -> tuple[list[bytes], int]:
        async with bind("udp://127.0.0.1:0", limits=Limits(answer_ratio=1.0)) as datagrams:
            with sender() as sock:
                send_train(sock, datagrams, parts())
                got = await received(datagrams, COUNT)
                # Some of the budget is gone already.
                used = sum(map(len, parts())) - budget
                for part in range(0, max(0, used), 1000):
                    await datagrams.answer(got[0], bytes(min(1000, used - part)))
                before = datagrams.stats["sent_messages"]
                answers(sock, before)
                for batch in [[one] for one in got] if one_by_one else [got]:
                    await datagrams.send_many(batch)
                sent = datagrams.stats["sent_messages"] - before
                return answers(sock, sent), datagrams.withheld

    async def main() -> None:
        assert await echoed(one_by_one=True) == await echoed(one_by_one=False)

    run(main())


def test_what_is_kept_of_many_trains_stays_as_it_came(run: Run) -> None:
    """Only the last of them stay in the memory in which they came; what is kept of others gets bytes of its own."""

    async def main() -> None:
        async with bind("udp://127.0.0.1:0") as datagrams:
            with sender() as sock:
                kept, looked_at, sent = [], [], []
                for number in range(150):
                    train = [bytes([number, part]) * 100 for part in range(20)]
                    send_train(sock, datagrams, train)
                    got = await received(datagrams, 20)
                    kept.append(got[number % 20])
                    looked_at.append(got[(number + 1) % 20].data)
                    sent.append(got[10:])
                del got
                assert [one.data for one in kept] == [bytes([number, number % 20]) * 100 for number in range(150)]
                assert looked_at == [bytes([number, (number + 1) % 20]) * 100 for number in range(150)]
                for number in (0, 100, 149):
                    await datagrams.send_many(sent[number])
                    assert answers(sock, 10) == [bytes([number, part]) * 100 for part in range(10, 20)]

    run(main())


def test_what_nobody_asks_for_is_dropped_with_the_socket(run: Run) -> None:
    async def main() -> None:
        async with bind("udp://127.0.0.1:0") as datagrams:
            with sender() as sock:
                for first in (0, 100):
                    send_train(sock, datagrams, parts(first))
                got = await datagrams.receive_many(3)
        assert [datagram.data for datagram in got] == parts()[:3]

    run(main())


def test_they_cost_the_garbage_collector_nothing(run: Run) -> None:
    async def main() -> None:
        async with bind("udp://127.0.0.1:0") as datagrams:
            with sender() as sock:
                send_train(sock, datagrams, parts())
                assert not any(map(gc.is_tracked, await received(datagrams, COUNT)))

    run(main())


def test_blocking() -> None:
    with sync.bind("udp://127.0.0.1:0") as datagrams, sender() as sock:
        size = Struct("=H").pack(BYTES)
        sock.sendmsg([b"".join(parts())], [(SOL_UDP, UDP_SEGMENT, size)], 0, ("127.0.0.1", datagrams.local.port))
        first = datagrams.receive()
        rest = datagrams.receive_many()
        assert [datagram.data for datagram in (first, *rest)] == parts()
        datagrams.send_many([first, *rest])
        assert answers(sock, COUNT) == parts()
