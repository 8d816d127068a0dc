"""Callers of a listener, and peers of a datagram socket, relayed to a target, each for himself."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from socketkit import (
    ClosedConnection,
    ConnectError,
    Datagrams,
    EndOfStream,
    Limits,
    bind,
    connect,
    listen,
    relay,
    serve,
)
from socketkit import message_relaying as relaying_module
from socketkit.datagrams import Datagram
from socketkit.errors import Unsupported
from socketkit.message_forwarding import MessageForward
from socketkit.messages import Messages
from socketkit.testing.claims import started, until
from tests.conftest import Run

pytestmark = pytest.mark.usefixtures("no_leaks")

RECORDS = "seqpacket+tcp://localhost:0"
QUICK = Limits(grace_seconds=0.05)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relaying_module, "AFTER_END_SECONDS", 0.05)


async def echo(messages: Messages) -> None:
    async for message in messages:
        await messages.send(message)


def is_answered(forward: MessageForward) -> bool:
    return forward.b_to_a_messages == 1


async def awaited(forward: MessageForward) -> None:
    await forward


@asynccontextmanager
async def forwarding(
    listener: Any, target: Any, **cut: Any
) -> AsyncIterator[tuple[MessageForward, asyncio.Task[None]]]:
    forward = relay(listener, target, **cut)
    assert isinstance(forward, MessageForward)
    task = await started(awaited(forward))
    try:
        yield forward, task
    finally:
        task.cancel()
        await asyncio.wait([task])


@asynccontextmanager
async def callers(datagrams: Datagrams, count: int) -> AsyncIterator[list[socket.socket]]:
    """So many sockets that are none of ours."""
    made = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
    for each in made:
        each.setblocking(False)
        each.connect(("127.0.0.1", datagrams.local.port))
    try:
        yield made
    finally:
        for each in made:
            each.close()


async def answer(caller: socket.socket) -> bytes:
    async with asyncio.timeout(5):
        return await asyncio.get_running_loop().sock_recv(caller, 65_535)


@pytest.mark.parametrize(
    "front", ["mem://front", RECORDS, "seqpacket+unix://{folder}/front", "seqpacket+tls://localhost:0"]
)
def test_each_connection_has_its_own(run: Run, front: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            serve(f"seqpacket+unix://{tmp_path}/echo", echo, Messages) as server,
            listen(front.format(folder=tmp_path), Messages, limits=QUICK) as listener,
            forwarding(listener, server.local) as (forward, _),
        ):
            connections = [await connect(listener.local, Messages) for _ in range(20)]
            for number, each in enumerate(connections):
                await each.send_many([b"%d" % number, b""])
            for number, each in enumerate(connections):
                assert [await each.receive(), await each.receive()] == [b"%d" % number, b""]
            assert (forward.connections, forward.accepted) == (20, 20)
            for each in connections:
                await each.send_eof()
                with pytest.raises(EndOfStream):
                    await each.receive()
                await each.aclose()
            await until(lambda: forward.connections == 0)
            assert (forward.a_to_b_messages, forward.b_to_a_messages, forward.broken) == (40, 40, 0)
            assert forward.a_to_b_bytes == sum(len(b"%d" % number) for number in range(20))

    run(main())


@pytest.mark.parametrize("target", [RECORDS, "seqpacket+unix://{folder}/echo", "mem://echo"])
def test_peers_of_a_datagram_socket(run: Run, target: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            serve(target.format(folder=tmp_path), echo, Messages, limits=QUICK) as server,
            bind("udp4://127.0.0.1:0", limits=QUICK) as datagrams,
            forwarding(datagrams, server.local) as (forward, _),
            callers(datagrams, 30) as made,
        ):
            for round_ in range(3):
                for number, caller in enumerate(made):
                    caller.send(b"%d %d" % (round_, number))
                for number, caller in enumerate(made):
                    assert await answer(caller) == b"%d %d" % (round_, number)
            assert (forward.connections, forward.accepted, forward.a_to_b_messages) == (30, 30, 90)
            assert (forward.refused, forward.dropped, forward.evicted) == (0, 0, 0)

    run(main())


def test_answers_leave_from_the_address_that_was_asked(run: Run) -> None:
    async def main() -> None:
        async with (
            serve(RECORDS, echo, Messages, limits=QUICK) as server,
            bind("udp4://*:0?plaintext=yes", limits=QUICK) as datagrams,
            forwarding(datagrams, server.local),
        ):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
                caller.settimeout(5)
                caller.sendto(b"question", ("127.0.0.9", datagrams.local.port))
                data, peer = await asyncio.to_thread(caller.recvfrom, 100)
            assert (data, peer) == (b"question", ("127.0.0.9", datagrams.local.port))

    run(main())


def test_strangers_get_no_more_than_they_have_sent(run: Run) -> None:
    async def amplify(messages: Messages) -> None:
        async for message in messages:
            await messages.send(message * 10)

    async def main() -> None:
        for ratio, back in ((1.0, 0), (10.0, 1)):
            async with (
                serve(RECORDS, amplify, Messages, limits=QUICK) as server,
                bind("udp4://127.0.0.1:0", limits=QUICK.replace(answer_ratio=ratio)) as datagrams,
                forwarding(datagrams, server.local) as (forward, _),
                callers(datagrams, 1) as (caller,),
            ):
                caller.send(b"name?")
                await until(partial(is_answered, forward))
                assert datagrams.withheld == 1 - back
                if back:
                    assert await answer(caller) == b"name?" * 10

    run(main())


def test_silent_peer_is_forgotten_and_comes_back(run: Run) -> None:
    async def main() -> None:
        async with (
            serve(RECORDS, echo, Messages) as server,
            bind("udp4://127.0.0.1:0", limits=QUICK.replace(idle_seconds=0.1)) as datagrams,
            forwarding(datagrams, server.local) as (forward, _),
            callers(datagrams, 1) as (caller,),
        ):
            for number in (1, 2):
                caller.send(b"hello")
                assert await answer(caller) == b"hello"
                assert forward.accepted == number
                await until(lambda: forward.connections == 0 and server.connections == 0)

    run(main())


def test_strangers_make_room_for_strangers_and_not_for_who_goes_on(run: Run) -> None:
    async def main() -> None:
        limits = QUICK.replace(unproven_connections=5, connections=100)
        async with (
            serve(RECORDS, echo, Messages) as server,
            bind("udp4://127.0.0.1:0", limits=limits) as datagrams,
            forwarding(datagrams, server.local) as (forward, _),
            callers(datagrams, 1) as (honest,),
            callers(datagrams, 30) as others,
        ):
            for _ in range(2):  # a second time after an answer
                honest.send(b"honest")
                assert await answer(honest) == b"honest"
            for other in others:
                other.send(b"once")
                assert await answer(other) == b"once"
            await until(lambda: forward.connections == 6)
            assert forward.evicted == 25
            honest.send(b"still")
            assert await answer(honest) == b"still"
            assert forward.accepted == 31

    run(main())


def test_there_are_never_more_than_the_limit(run: Run) -> None:
    async def main() -> None:
        async with (
            serve(RECORDS, echo, Messages) as server,
            bind("udp4://127.0.0.1:0", limits=QUICK.replace(connections=3)) as datagrams,
            forwarding(datagrams, server.local) as (forward, _),
            callers(datagrams, 10) as made,
        ):
            for caller in made * 2:
                caller.send(b"here")
                assert await answer(caller) == b"here"
            await until(lambda: forward.connections == 3)
            assert forward.evicted == 17

    run(main())


def test_what_waits_for_a_target_is_bounded(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def silent(_: Messages) -> None:
        await asyncio.get_running_loop().create_future()

    async def main() -> None:
        limits = QUICK.replace(write_high_bytes=10_000, write_low_bytes=1_000)
        async with (
            serve(RECORDS, silent, Messages, limits=QUICK) as server,
            bind("udp4://127.0.0.1:0", limits=limits) as datagrams,
            forwarding(datagrams, server.local) as (forward, _),
            callers(datagrams, 1) as (caller,),
        ):
            async with asyncio.timeout(20):
                while not forward.dropped:
                    for _ in range(20):
                        caller.send(bytes(9_000))
                    await asyncio.sleep(0)

    with caplog.at_level(logging.WARNING, "socketkit"):
        run(main(), 30)
    assert any("sends faster than the target takes" in told for told in caplog.messages)


def test_streams_whose_lines_are_datagrams(run: Run) -> None:
    async def main() -> None:
        async with (
            bind("udp4://127.0.0.1:0") as inbox,
            listen("tcp://localhost:0", limits=QUICK) as listener,
            forwarding(listener, inbox.local, messages="lines"),
            connect(listener.local) as stream,
        ):
            await stream.send(b"one\ntwo\n")
            first, second = await inbox.receive(), await inbox.receive()
            assert (first.data, second.data) == (b"one", b"two")
            await inbox.answer(first, b"got")
            assert await stream.receive_until(b"\n") == b"got\n"

    run(main())


def test_target_that_cannot_be_is_told_at_once(run: Run) -> None:
    async def main() -> None:
        async with bind("udp4://127.0.0.1:0") as datagrams:
            with pytest.raises(ConnectError, match="plaintext=yes"):
                await relay(datagrams, "udp://192.0.2.1:1")
            with pytest.raises(ConnectError, match="plaintext=yes"):
                await relay(datagrams, "seqpacket+tcp://192.0.2.1:1")
            with pytest.raises(Unsupported, match="QUIC"):
                await relay(datagrams, "quic://localhost:1", messages="lines")
            with pytest.raises(Unsupported):
                await relay(datagrams, "bt-l2cap://aa-bb-cc-dd-ee-ff:1")

    run(main())


def test_target_that_nobody_has(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            bind("udp4://127.0.0.1:0", limits=QUICK) as datagrams,
            forwarding(datagrams, f"seqpacket+unix://{tmp_path}/nobody") as (forward, _),
            callers(datagrams, 1) as (caller,),
        ):
            caller.send(b"hello?")
            await until(lambda: forward.failed == 1 and forward.connections == 0)
            assert forward.last_error == "no such path"

    run(main())


def test_cancelled_it_leaves_the_socket_to_its_owner(run: Run) -> None:
    async def main() -> None:
        async with (
            serve(RECORDS, echo, Messages) as server,
            bind("udp4://127.0.0.1:0", limits=QUICK) as datagrams,
            callers(datagrams, 1) as (caller,),
        ):
            async with forwarding(datagrams, server.local) as (forward, task):
                caller.send(b"first")
                assert await answer(caller) == b"first"
                task.cancel()
                await asyncio.wait([task])
                assert (task.cancelled(), forward.connections) == (True, 0)
            caller.send(b"second")
            assert (await datagrams.receive()).data == b"second"

    run(main())


def test_closed_socket_ends_it(run: Run) -> None:
    async def main() -> None:
        async with bind("udp4://127.0.0.1:0", limits=QUICK) as datagrams:
            task = await started(awaited(relay(datagrams, "udp4://127.0.0.1:1")))
            await datagrams.aclose()
            with pytest.raises(ClosedConnection):
                await task

    run(main())


def test_peer_without_a_name_is_heard_and_not_answered(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            serve(RECORDS, echo, Messages, limits=QUICK) as server,
            bind(f"dgram+unix://{tmp_path}/inbox", limits=QUICK) as datagrams,
            forwarding(datagrams, server.local) as (forward, _),
        ):
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as nameless:
                nameless.sendto(b"hello", f"{tmp_path}/inbox")
            await until(lambda: forward.refused == 1)
            assert forward.a_to_b_messages == 1

    run(main())


def test_truncated_datagram_is_refused(run: Run) -> None:
    async def main() -> None:
        async with bind("udp4://127.0.0.1:0", limits=QUICK) as datagrams:
            async with forwarding(datagrams, "udp4://127.0.0.1:1") as (forward, _):
                visitors = forward._work._visitors  # type: ignore[attr-defined]
                visitors._sort(Datagram(b"cut", None, truncated=True))
                assert (forward.refused, forward.accepted) == (1, 0)

    run(main())
