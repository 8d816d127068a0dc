"""`Stream` beyond the rules of conformance: names, credentials, descriptors, dropped streams, interruptions."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import threading
import weakref
from contextlib import suppress
from typing import Any

import pytest

from socketkit import (
    BrokenConnection,
    BusyConnection,
    ClosedConnection,
    Credentials,
    EndOfStream,
    Identity,
    Limits,
    Peer,
    PeerViolation,
    Stream,
    Trust,
    UntrustedPeer,
    connect,
    listen,
)
from socketkit.testing import stream_pair
from socketkit.testing.claims import fill, started, turns
from tests.conformance.transports import adopted_pair
from tests.conftest import LoopFactory, Run

pytestmark = pytest.mark.usefixtures("no_leaks")


# --- names


def test_tcp_ends_know_each_other(run: Run) -> None:
    async def main() -> None:
        async with stream_pair("tcp://127.0.0.1:0") as (ours, theirs):
            assert ours.local == theirs.peer.endpoint
            assert theirs.local == ours.peer.endpoint
            assert ours.local.host == "127.0.0.1"
            assert ours.peer == Peer(theirs.local)
            assert not ours.encrypted
            assert repr(ours) == f"<Stream {ours.local} to {theirs.local}, open>"

    run(main())


def test_a_closed_stream_still_knows_its_peer(run: Run) -> None:
    async def main() -> None:
        async with listen("tcp://[::1]:0") as listener:
            ours = await connect(listener.local)
            theirs = await listener.accept()
            where, port = theirs.peer, listener.local.port
            await theirs.aclose()
            await ours.aclose()
            assert theirs.peer is where
            assert str(ours.peer.endpoint) == f"tcp://[::1]:{port}"

    run(main())


def test_unix_ends_are_proved_by_the_kernel(run: Run) -> None:
    async def main() -> None:
        me = Credentials(os.getpid(), os.getuid(), os.getgid())
        for url in ("mem://", f"unix://@socketkit-test-{os.getpid()}"):
            async with stream_pair(url) as (ours, theirs):
                assert ours.peer.credentials == me
                assert theirs.peer.credentials == me
                assert ours.encrypted

    run(main())


def test_names_of_unix_ends(run: Run, tmp_path: object) -> None:
    async def main() -> None:
        async with stream_pair(f"unix://{tmp_path}/socket") as (ours, theirs):
            assert str(ours.peer.endpoint) == str(theirs.local) == f"unix://{tmp_path}/socket"
            assert ours.local.scheme == "unix"
            assert not ours.local.path

    run(main())


def test_names_of_memory_ends(run: Run) -> None:
    async def main() -> None:
        async with stream_pair("mem://tests") as (ours, theirs):
            assert str(ours.local) == str(theirs.peer.endpoint) == "mem://tests"

    run(main())


# --- what becomes of streams that nobody closes


@pytest.mark.parametrize("url", ["mem://", "tcp://127.0.0.1:0"])
def test_a_dropped_stream_warns_and_is_closed(run: Run, url: str) -> None:
    async def main() -> None:
        async with listen(url) as listener:
            ours = await connect(listener.local)
            theirs = await listener.accept()
            await theirs.send(b"unread")
            number = ours.fileno()
            await turns(1)  # the engine has just resumed us from the connect, and still holds it
            with pytest.warns(ResourceWarning, match="dropped without aclose"):
                del ours
                gc.collect()
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(number)
            with pytest.raises(BrokenConnection):
                await theirs.receive()
            theirs.abort()

    run(main())


def test_closed_streams_and_their_operations_are_freed(run: Run) -> None:
    """Neither a failed, nor a cancelled, nor a cut off operation keeps its stream."""

    async def main() -> None:
        streams = []
        for close in (Stream.aclose, Stream.abort):
            async with stream_pair("tcp://127.0.0.1:0", limits=Limits(close_seconds=0.1)) as (ours, theirs):
                cancelled = await started(ours.receive())
                cancelled.cancel()
                cut = await started(ours.receive())
                _, waiting = await fill(ours)
                again = await started(ours.send(b"x"))
                if (closing := close(ours)) is not None:
                    await closing
                theirs.abort()
                outcomes = await asyncio.gather(cancelled, cut, waiting, again, return_exceptions=True)
                assert all(isinstance(outcome, ClosedConnection) for outcome in outcomes[1:])
                streams += [weakref.ref(ours), weakref.ref(theirs)]
                del cancelled, cut, waiting, again, closing, outcomes
            del ours, theirs
        await turns(2)
        gc.collect()
        assert [stream() for stream in streams] == [None] * 4

    run(main())


def test_a_failed_receive_frees_its_stream(run: Run) -> None:
    async def main() -> None:
        async with stream_pair("tcp://127.0.0.1:0") as (ours, theirs):
            waiting = await started(theirs.receive())
            await turns(2)
            ours.abort()
            with pytest.raises(BrokenConnection):
                await waiting
            with pytest.raises(BrokenConnection):
                await theirs.receive()
            del waiting
            stream = weakref.ref(theirs)
            theirs.abort()
        del ours, theirs
        await turns(2)
        gc.collect()
        assert stream() is None

    run(main())


# --- descriptors


@pytest.mark.parametrize("url", ["mem://", "unix"])
def test_descriptors_travel(run: Run, url: str, tmp_path: object) -> None:
    async def main() -> None:
        async with stream_pair(url if url == "mem://" else f"unix://{tmp_path}/socket") as (ours, theirs):
            reading, writing = os.pipe()
            await ours.send_fds(b"a pipe", [writing])
            os.close(writing)
            data, fds = await theirs.receive_fds()
            assert (data, len(fds)) == (b"a pipe", 1)
            assert not os.get_inheritable(fds[0])
            os.write(fds[0], b"through it")
            os.close(fds[0])
            assert os.read(reading, 100) == b"through it"
            assert os.read(reading, 100) == b""
            os.close(reading)
            await theirs.send(b"none with these")
            assert await ours.receive_fds() == (b"none with these", [])

    run(main())


def test_more_descriptors_than_wanted_are_closed(run: Run) -> None:
    async def main() -> None:
        async with stream_pair() as (ours, theirs):
            reading, writing = os.pipe()
            await ours.send_fds(b"three", [writing] * 3)
            os.close(writing)
            with pytest.raises(PeerViolation, match="3 descriptors where 2"):
                await theirs.receive_fds(max_fds=2)
            assert os.read(reading, 1) == b""
            os.close(reading)

    run(main())


def test_descriptors_that_nobody_asked_for_are_closed(run: Run) -> None:
    async def main() -> None:
        async with stream_pair() as (ours, theirs):
            for receive in (theirs.receive, lambda: theirs.receive_exactly(2), lambda: theirs.receive_until(b"f")):
                reading, writing = os.pipe()
                await ours.send_fds(b"of", [writing])
                os.close(writing)
                await ours.send(b"more")
                got = await receive()
                got += await theirs.receive_exactly(6 - len(got))
                assert got == b"ofmore"
                await ours.send(b"!")
                assert await theirs.receive() == b"!"
                os.set_blocking(reading, False)
                assert os.read(reading, 1) == b""
                os.close(reading)

    run(main())


def test_a_cancelled_receive_of_descriptors_loses_none(run: Run) -> None:
    async def main() -> None:
        async with stream_pair() as (ours, theirs):
            for number in range(200):
                waiting = asyncio.get_running_loop().create_task(theirs.receive_fds())
                await turns(number % 3)
                if number % 2:
                    await ours.send_fds(b"x", [0])
                    await turns(number % 5)
                waiting.cancel()
                if not number % 2:
                    await ours.send_fds(b"x", [0])
                await asyncio.wait([waiting])
                data, fds = await theirs.receive_fds() if waiting.cancelled() else waiting.result()
                assert (data, len(fds)) == (b"x", 1)
                os.close(fds[0])

    run(main())


def test_waiting_descriptors_are_the_callers_to_close(run: Run) -> None:
    """send_fds has its own copies while it waits, and drops them when it is cancelled."""

    async def main() -> None:
        async with stream_pair() as (ours, theirs):
            taken, pouring = await fill(ours)
            pouring.cancel()
            await asyncio.wait([pouring])
            reading, writing = os.pipe()
            cancelled = await started(ours.send_fds(b"cancelled", [writing]))
            sending = await started(ours.send_fds(b"sent", [writing]))
            os.close(writing)
            cancelled.cancel()
            await theirs.receive_exactly(taken * 65_536)
            data, fds = await theirs.receive_fds()
            assert (data, len(fds)) == (b"sent", 1)
            await sending
            await asyncio.wait([cancelled])
            os.close(fds[0])
            assert os.read(reading, 1) == b""
            os.close(reading)

    run(main())


def test_the_kernels_bound_of_descriptors(run: Run) -> None:
    async def main() -> None:
        async with stream_pair() as (ours, theirs):
            with pytest.raises(OSError, match=r"."):
                await ours.send_fds(b"x", [0] * 254)
            await ours.send_fds(b"x", [0] * 253)
            _, fds = await theirs.receive_fds(max_fds=253)
            assert len(fds) == 253
            for fd in fds:
                os.close(fd)
            with pytest.raises(OSError, match=r"."):
                await ours.send_fds(b"x", [987_654])
            with pytest.raises(ValueError, match="at least 1"):
                await ours.send_fds(b"", [0])
            await ours.send(b"as good as before")
            assert await theirs.receive() == b"as good as before"

    run(main())


def test_descriptors_need_a_unix_socket(run: Run) -> None:
    async def main() -> None:
        async with stream_pair("tcp://127.0.0.1:0") as (ours, _):
            with pytest.raises(ValueError, match="Unix sockets only"):
                await ours.send_fds(b"x", [0])
            with pytest.raises(ValueError, match="Unix sockets only"):
                await ours.receive_fds()

    run(main())


# --- peers that vanish, urgent data, odd ends


def test_a_reset_told_to_the_sender_is_told_to_the_receiver_too(run: Run) -> None:
    """The kernel tells only one of them, and the other would take the cut stream for a whole one."""

    async def main() -> None:
        async with stream_pair("tcp://127.0.0.1:0") as (ours, theirs):
            ours.abort()
            with pytest.raises(BrokenConnection):
                while True:
                    await theirs.send(b"x")
            for _ in range(2):
                with pytest.raises(BrokenConnection):
                    await theirs.receive()

    run(main())


def test_an_ended_peer_that_reads_no_more_is_still_an_end(run: Run) -> None:
    async def main() -> None:
        async with adopted_pair() as (ours, theirs):
            await ours.send(b"goodbye")
            await ours.aclose()
            with pytest.raises(BrokenConnection, match="closed by the peer"):
                while True:
                    await theirs.send(b"x")
            assert await theirs.receive() == b"goodbye"
            with pytest.raises(EndOfStream):
                await theirs.receive()

    run(main())


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_urgent_data_stops_nothing(run: Run, family: socket.AddressFamily) -> None:
    """A read ends at the urgent mark although more is there (man 7 tcp): no peer may make us wait for news of it."""

    async def main() -> None:
        peer, fd = _kernel_pair(family)
        async with connect(f"fd://{fd}") as stream:
            for _ in range(20):
                waiting = await started(stream.receive_exactly(6))
                await turns(2)
                peer.send(b"abc")
                with suppress(OSError):  # Unix sockets have it since Linux 5.15
                    peer.send(b"!", socket.MSG_OOB)
                peer.send(b"def")
                assert await asyncio.wait_for(waiting, 5) == b"abcdef"
            peer.close()
            stream.abort()

    run(main())


def _kernel_pair(family: socket.AddressFamily) -> tuple[socket.socket, int]:
    if family == socket.AF_UNIX:
        ours, theirs = socket.socketpair()
        return ours, theirs.detach()
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
        return ours, theirs.detach()


def test_close_seconds_bounds_a_close_whose_peer_never_reads(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for url in ("tcp://127.0.0.1:0", "mem://"):
            async with stream_pair(url, limits=Limits(close_seconds=0.1)) as (ours, theirs):
                _, pouring = await fill(ours)
                begun = loop.time()
                await ours.aclose()
                assert loop.time() - begun > 0.05
                with pytest.raises(ClosedConnection):
                    await pouring
                with pytest.raises((BrokenConnection, EndOfStream)):
                    while True:
                        await theirs.receive()

    run(main())


def test_close_seconds_is_kept_although_nobody_waits(run: Run) -> None:
    """aclose() was cancelled and the stream dropped: the engine closes it alone, in time."""

    async def main() -> None:
        async with listen("mem://") as listener:
            ours = await connect(listener.local, limits=Limits(close_seconds=0.1))
            theirs = await listener.accept()
            _, pouring = await fill(ours)
            pouring.cancel()
            await asyncio.wait([pouring])
            number = ours.fileno()
            closing = await started(ours.aclose())
            closing.cancel()
            await asyncio.wait([closing])
            del ours, closing, pouring
            gc.collect()
            os.fstat(number)
            async with asyncio.timeout(8):
                while True:
                    try:
                        os.fstat(number)
                    except OSError:
                        break
                    await asyncio.sleep(0.01)
            theirs.abort()

    run(main())


# --- interruptions


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_task_does_not_cost_the_others_their_news(
    loop_factory: LoopFactory, stop: type[BaseException]
) -> None:
    loop = loop_factory()
    try:

        async def interrupted(stream: Stream) -> None:
            await stream.receive()
            raise stop

        async def open_all() -> tuple[list[asyncio.Task[object]], list[Stream]]:
            async with listen("mem://") as listener:
                ours = [await connect(listener.local) for _ in range(4)]
                theirs = [await listener.accept() for _ in range(4)]
            tasks: list[asyncio.Task[object]] = [loop.create_task(stream.receive()) for stream in theirs[1:]]
            tasks.insert(0, loop.create_task(interrupted(theirs[0])))
            await turns(2)
            return tasks, ours + theirs

        async def send(streams: list[Stream]) -> None:
            for stream in streams[:4]:
                await stream.send(b"news")
            await asyncio.sleep(0.1)

        async def the_rest(tasks: list[asyncio.Task[object]], streams: list[Stream]) -> list[object]:
            async with asyncio.timeout(5):
                got = await asyncio.gather(*tasks[1:])
            for stream in streams:
                stream.abort()
            return got

        tasks, streams = loop.run_until_complete(open_all())
        with pytest.raises(stop):
            loop.run_until_complete(send(streams))
        assert loop.run_until_complete(the_rest(tasks, streams)) == [b"news"] * 3
        with pytest.raises(stop):
            tasks[0].result()
    finally:
        loop.close()


def test_another_loop_is_refused(loop_factory: LoopFactory) -> None:
    first, second = loop_factory(), loop_factory()

    async def open_pair() -> tuple[Stream, Stream]:
        async with listen("mem://") as listener:
            return await connect(listener.local), await listener.accept()

    async def receive(stream: Stream) -> bytes:
        return await stream.receive()

    try:
        ours, theirs = first.run_until_complete(open_pair())
        with pytest.raises(RuntimeError):
            second.run_until_complete(receive(ours))
        with pytest.raises(RuntimeError):
            second.run_until_complete(second.create_task(theirs.receive()))

        async def end() -> None:
            await ours.send(b"as good as before")
            assert await theirs.receive() == b"as good as before"
            ours.abort()
            theirs.abort()

        first.run_until_complete(end())
    finally:
        first.close()
        second.close()


def test_loops_come_and_go(loop_factory: LoopFactory) -> None:
    """Each has its own reactor, which goes with it."""

    async def main() -> bytes:
        async with stream_pair() as (ours, theirs):
            await ours.send(b"x")
            return await theirs.receive()

    for _ in range(20):
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            assert runner.run(main()) == b"x"


def test_loops_of_threads_do_not_meet(loop_factory: LoopFactory) -> None:
    failures: list[BaseException] = []

    async def main() -> None:
        async with stream_pair("tcp://127.0.0.1:0") as (ours, theirs):
            for number in range(200):
                waiting = await started(theirs.receive())
                await ours.send(b"%d" % number)
                assert await waiting == b"%d" % number

    def work() -> None:
        try:
            with asyncio.Runner(loop_factory=loop_factory) as runner:
                runner.run(main())
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert failures == []


def test_a_stream_left_in_a_closed_loop_does_no_harm(loop_factory: LoopFactory) -> None:
    async def main() -> tuple[Stream, Stream]:
        async with listen("mem://") as listener:
            return await connect(listener.local), await listener.accept()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        ours, theirs = runner.run(main())
    ours.abort()
    theirs.abort()
    assert ours.closed
    assert theirs.closed


def test_wrong_arguments(run: Run) -> None:
    async def main() -> None:
        async with stream_pair() as (ours, _):
            with pytest.raises(ValueError, match="max_bytes must be at least 1"):
                await ours.receive(0)
            with pytest.raises(ValueError, match="delimiter's length must be at least 1"):
                await ours.receive_until(b"")
            with pytest.raises(OverflowError):
                await ours.receive_exactly(-1)
            for wrong in ("text", None, 5, [1]):
                with pytest.raises((TypeError, BufferError)):
                    await ours.send(wrong)  # type: ignore[arg-type]

    run(main())


def test_busy_says_what_to_do(run: Run) -> None:
    async def main() -> None:
        async with stream_pair() as (ours, theirs):
            first = await started(ours.receive())
            with pytest.raises(BusyConnection, match="another task is receiving"):
                await ours.receive()
            await theirs.send(b"x")
            assert await first == b"x"

    run(main())


# --- TLS begun in place


async def both_secured(ours: Stream, theirs: Stream, **how: Any) -> None:
    """The handshake, one side after the other as far as either gets."""
    mine = Identity.of_user().fingerprint
    await asyncio.gather(ours.start_tls(trust=Trust.pin(mine), **how), theirs.start_tls())


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:0", "unix://{}/socket", "mem://"])
def test_tls_begins_in_place(run: Run, url: str, tmp_path: object) -> None:
    async def main() -> None:
        async with stream_pair(url.format(tmp_path)) as (ours, theirs):
            await ours.send(b"STARTTLS\n")
            assert await theirs.receive_until(b"\n") == b"STARTTLS\n"
            await both_secured(ours, theirs)
            mine = Identity.of_user().fingerprint
            assert ours.peer.fingerprint == theirs.peer.fingerprint == mine
            assert ours.encrypted
            assert theirs.encrypted
            assert ours.ciphers == theirs.ciphers != None  # noqa: E711
            for sender, receiver in ((ours, theirs), (theirs, ours)):
                await sender.send(b"sealed")
                assert await receiver.receive() == b"sealed"
            assert (ours.sent_bytes, theirs.received_bytes) == (15, 15)
            await ours.send_eof()
            with pytest.raises(EndOfStream):
                await theirs.receive()

    run(main())


def test_the_address_says_that_it_is_encrypted(run: Run) -> None:
    async def main() -> None:
        async with stream_pair("tcp://127.0.0.1:0") as (ours, theirs):
            assert not ours.encrypted
            await both_secured(ours, theirs)
            assert ours.peer.endpoint.scheme == "tls"
            assert theirs.peer.endpoint.scheme == "tls"
            with pytest.raises(BrokenConnection, match="TLS can begin once"):
                await ours.start_tls(trust=Trust.danger_anyone())

    run(main())


@pytest.mark.parametrize("extra", [b"INJECTED\n", bytes(200_000)])
def test_what_was_injected_before_tls_never_reaches_the_application(run: Run, extra: bytes) -> None:
    """CVE-2011-0411: the attacker's plain text, sent with the command, was taken for what came under TLS."""

    async def main() -> None:
        async with stream_pair("tcp://127.0.0.1:0") as (ours, theirs):
            await ours.send(b"STARTTLS\n" + extra)
            assert await theirs.receive_until(b"\n") == b"STARTTLS\n"
            securing = await started(_secured(ours))
            with pytest.raises(PeerViolation):
                await theirs.start_tls()
            with pytest.raises((BrokenConnection, PeerViolation)):
                await securing
            with pytest.raises(ClosedConnection):
                await theirs.receive()

    run(main())


def test_crumbs_of_a_hello_before_tls_are_no_panic(run: Run) -> None:
    async def main() -> None:
        async with stream_pair("tcp://127.0.0.1:0") as (ours, theirs):
            hello = b"\x01\x00\xff\xf0" + bytes(33_000)
            await ours.send(b"STARTTLS\n" + b"".join(b"\x16\x03\x01\x00\x01" + bytes([byte]) for byte in hello))
            assert await theirs.receive_until(b"\n") == b"STARTTLS\n"
            with suppress(EndOfStream, TimeoutError):
                async with asyncio.timeout(0.2):
                    await theirs.receive_exactly(1_000_000)  # all of it has come
            with pytest.raises(PeerViolation, match="too many parts"):
                await theirs.start_tls()

    run(main())


def test_which_side_is_the_server_may_be_said(run: Run) -> None:
    async def main() -> None:
        async with stream_pair("tcp://127.0.0.1:0") as (ours, theirs):
            mine = Identity.of_user().fingerprint
            await asyncio.gather(
                ours.start_tls(server_side=True), theirs.start_tls(server_side=False, trust=Trust.pin(mine))
            )
            assert theirs.peer.fingerprint == mine
        async with stream_pair("tcp://127.0.0.1:0") as (ours, theirs):
            with pytest.raises(ValueError, match="this side is the server"):
                await theirs.start_tls(trust=Trust.pin(mine))
            await ours.send(b"nothing has happened")
            assert await theirs.receive() == b"nothing has happened"

    run(main())


def test_a_name_and_protocols_in_place(run: Run) -> None:
    async def main() -> None:
        async with stream_pair("tcp://127.0.0.1:0") as (ours, theirs):
            identity = Identity.new()
            await asyncio.gather(
                ours.start_tls(name="mail.example", alpn=["x", "y"], trust=Trust.pin(identity.fingerprint)),
                theirs.start_tls(alpn=["y"], identity=identity),
            )
            assert ours.alpn == theirs.alpn == "y"

    run(main())


def test_an_unexpected_key_in_place(run: Run) -> None:
    async def main() -> None:
        async with stream_pair("tcp://127.0.0.1:0") as (ours, theirs):
            other = Identity.new()
            serving = await started(_serve(theirs, other))
            with pytest.raises(UntrustedPeer) as refused:
                await ours.start_tls(trust=Trust.pin(Identity.of_user().fingerprint))
            assert refused.value.presented == other.fingerprint
            assert ours.closed
            with pytest.raises(BrokenConnection):
                await serving

    run(main())


def test_a_cancelled_handshake_is_a_reset(run: Run) -> None:
    async def main() -> None:
        async with stream_pair("tcp://127.0.0.1:0") as (ours, theirs):
            securing = await started(_secured(ours))
            await turns(3)
            securing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await securing
            assert ours.closed
            with pytest.raises(BrokenConnection):
                while True:
                    await theirs.receive()

    run(main())


def test_a_second_task_does_not_disturb_the_handshake(run: Run) -> None:
    async def main() -> None:
        async with stream_pair("tcp://127.0.0.1:0") as (ours, theirs):
            securing = await started(_secured(ours))
            await turns(1)
            with pytest.raises(BusyConnection):
                await ours.receive()
            with pytest.raises(BusyConnection):
                await ours.send(b"in the middle")
            await theirs.start_tls()
            await securing
            await ours.send(b"after it")
            assert await theirs.receive() == b"after it"

    run(main())


async def _secured(stream: Stream) -> None:
    await stream.start_tls(trust=Trust.pin(Identity.of_user().fingerprint))


async def _serve(stream: Stream, identity: Identity) -> None:
    await stream.start_tls(identity=identity)
