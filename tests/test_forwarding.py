"""Forwarding: each connection to a listener is relayed to a new one, within limits, until it is cancelled."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import socketkit.sync
from socketkit import (
    BrokenConnection,
    BusyConnection,
    ClosedConnection,
    ConnectError,
    EndOfStream,
    Endpoint,
    EndpointError,
    Limits,
    Listener,
    Stream,
    Unsupported,
    connect,
    listen,
    relay,
    serve,
)
from socketkit.drivers import LoopDriver
from socketkit.forwarding import Forward, addresses_of
from socketkit.testing.claims import all_of, numbered, started, until
from socketkit.types import unix
from tests.conformance.transports import url
from tests.conftest import Run

pytestmark = pytest.mark.usefixtures("no_leaks")

KINDS = [
    ("tcp", "tcp4"),
    ("tcp4", "unix"),
    ("unix", "tcp6"),
    ("abstract", "abstract"),
    ("mem", "tcp4"),
    ("tcp4", "mem"),
    ("tls", "tcp4"),
    ("tcp4", "tls"),
    ("tls", "tls-unix"),
]
QUICK = Limits(grace_seconds=0.05)


async def echo(stream: Stream) -> None:
    async for chunk in stream:
        await stream.send(chunk)


async def forwarded(forward: Forward) -> None:
    """As a user writes it: with a coroutine of his around."""
    await forward


async def accept(listener: Listener) -> Stream:
    return await listener.accept()


@asynccontextmanager
async def forwarding(
    folder: Path, kinds: tuple[str, str] = ("tcp4", "tcp4"), limits: Limits = QUICK
) -> AsyncIterator[tuple[Forward, Listener, asyncio.Task[None]]]:
    """A forward to an echo, and the task that awaits it."""
    (folder / "echo").mkdir(exist_ok=True)
    async with serve(url(kinds[1], folder / "echo", 2), echo, limits=QUICK) as server:
        async with listen(url(kinds[0], folder), limits=limits) as listener:
            forward = relay(listener, str(server.local))
            task = await started(forwarded(forward))
            try:
                yield forward, listener, task
            finally:
                task.cancel()
                await asyncio.wait([task])


async def echoes(listener: Listener, data: bytes) -> None:
    async with await connect(listener.local) as stream:
        await stream.send(data)
        await stream.send_eof()
        assert await all_of(stream) == data


@pytest.mark.parametrize("kinds", KINDS)
def test_100_connections_at_once(run: Run, kinds: tuple[str, str], tmp_path: Path) -> None:
    async def main() -> None:
        async with forwarding(tmp_path, kinds) as (forward, listener, _):
            await asyncio.gather(*(echoes(listener, numbered(1000, number)) for number in range(100)))
            await until(lambda: forward.connections == 0)
            assert (forward.accepted, forward.failed, forward.broken) == (100, 0, 0)
            assert (forward.a_to_b_bytes, forward.b_to_a_bytes) == (800_000, 800_000)
            assert forward.last_error is None

    run(main())


@pytest.mark.parametrize("kinds", KINDS)
def test_counters_are_live(run: Run, kinds: tuple[str, str], tmp_path: Path) -> None:
    async def main() -> None:
        async with forwarding(tmp_path, kinds) as (forward, listener, _):
            streams = [await connect(listener.local) for _ in range(3)]
            for stream in streams:
                await stream.send(b"ping")
                assert await stream.receive_exactly(4) == b"ping"
            await until(lambda: forward.b_to_a_bytes == 12)
            assert (forward.connections, forward.accepted, forward.a_to_b_bytes) == (3, 3, 12)
            assert repr(forward) == f"<Forward {listener.local} to {forward._target}, 3 connections>"
            for stream in streams:
                await stream.aclose()
            await until(lambda: forward.connections == 0)

    run(main())


@pytest.mark.parametrize("kinds", [("tcp4", "tcp4"), ("mem", "mem"), ("tls", "tcp4")])
def test_cancelled_it_lets_connections_end(run: Run, kinds: tuple[str, str], tmp_path: Path) -> None:
    async def main() -> None:
        async with forwarding(tmp_path, kinds, Limits(grace_seconds=10)) as (forward, listener, task):
            async with await connect(listener.local) as stream:
                await stream.send(b"before")
                assert await stream.receive() == b"before"
                task.cancel()
                await asyncio.sleep(0.01)
                assert not task.done()
                await stream.send(b"in the grace")
                assert await stream.receive() == b"in the grace"
                await stream.send_eof()
                assert await all_of(stream) == b""
            await asyncio.wait([task], timeout=5)
            assert task.cancelled()
            assert forward.connections == 0

    run(main())


@pytest.mark.parametrize("kinds", [("tcp4", "tcp4"), ("mem", "mem"), ("tls", "tcp4")])
def test_after_the_grace_and_at_a_second_cancellation_they_are_reset(
    run: Run, kinds: tuple[str, str], tmp_path: Path
) -> None:
    cut = (BrokenConnection, EndOfStream) if kinds[0] == "mem" else BrokenConnection

    async def main() -> None:
        for grace_seconds, again in ((0.03, False), (1000.0, True), (0.0, False)):
            async with forwarding(tmp_path, kinds, Limits(grace_seconds=grace_seconds)) as (forward, listener, task):
                stream = await connect(listener.local)
                await stream.send(b"ping")
                assert await stream.receive() == b"ping"
                task.cancel()
                if again:
                    await asyncio.sleep(0.01)
                    task.cancel()
                await asyncio.wait([task], timeout=5)
                assert task.cancelled()
                with pytest.raises(cut):
                    await stream.receive()
                await until(lambda: forward.connections == 0)
                stream.abort()

    run(main())


@pytest.mark.parametrize("kind", ["tcp4", "unix", "mem", "tls"])
def test_afterwards_the_listener_is_its_owners_again(run: Run, kind: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with forwarding(tmp_path, (kind, "tcp4")) as (_, listener, task):
            await echoes(listener, b"relayed")
            if kind not in ("mem", "tls"):
                with pytest.raises(BusyConnection):
                    await listener.accept()
                with pytest.raises(BusyConnection):
                    await relay(listener, "tcp://localhost:1")
            task.cancel()
            await asyncio.wait([task])
            accepting = await started(accept(listener))
            caller = await connect(listener.local)
            async with await accepting as stream:
                await caller.send(b"accepted")
                assert await stream.receive() == b"accepted"
            await caller.aclose()

    run(main())


@pytest.mark.parametrize("kind", ["tcp4", "mem", "tls"])
def test_a_closed_listener_ends_it(run: Run, kind: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with forwarding(tmp_path, (kind, "tcp4")) as (forward, listener, task):
            await echoes(listener, b"relayed")
            await listener.aclose()
            with pytest.raises(ClosedConnection, match="closed the listener"):
                await task
            assert forward.accepted == 1

    run(main())


@pytest.mark.parametrize("kind", ["tcp4", "mem", "tls"])
def test_a_target_that_refuses(run: Run, kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The caller is reset, and the log says why, once."""
    caplog.set_level(logging.WARNING, "socketkit")

    async def main() -> None:
        async with listen(url(kind, tmp_path), limits=QUICK) as listener:
            forward = relay(listener, f"unix://{tmp_path}/nobody")
            task = await started(forwarded(forward))
            for number in range(20):
                # The reset may come before the caller has looked.
                with pytest.raises((ConnectError, BrokenConnection, EndOfStream)):
                    async with await connect(listener.local) as stream:
                        await stream.receive()
                await until(lambda: forward.failed == number + 1 and not forward.connections)  # noqa: B023
            await until(lambda: caplog.messages)
            assert (forward.accepted, forward.connections, forward.broken) == (20, 0, 0)
            assert forward.last_error == "no such path"
            task.cancel()
            await asyncio.wait([task])
            (message,) = caplog.messages
            assert message.startswith(f"relay {listener.local} to unix://{tmp_path}/nobody: ")
            assert message.endswith("no such path")

    run(main())


def test_the_next_address_is_used(run: Run, tmp_path: Path) -> None:
    """localhost is 127.0.0.1 and ::1; here only the second one answers."""

    async def main() -> None:
        async with serve("tcp://[::1]:0", echo, limits=QUICK) as server:
            async with listen(url("tcp4", tmp_path), limits=QUICK) as listener:
                forward = relay(listener, f"tcp://localhost:{server.local.port}")
                task = await started(forwarded(forward))
                await echoes(listener, b"by the second address")
                assert (forward.failed, forward.accepted) == (0, 1)
                task.cancel()
                await asyncio.wait([task])

    run(main())


@pytest.mark.parametrize("kind", ["tcp4", "unix", "mem"])
def test_one_more_than_the_limit_waits_in_the_backlog(run: Run, kind: str, tmp_path: Path) -> None:
    async def main() -> None:
        limits = Limits(connections=2, grace_seconds=0.05)
        async with forwarding(tmp_path, (kind, "tcp4"), limits) as (forward, listener, _):
            streams = [await connect(listener.local) for _ in range(3)]
            for stream in streams:
                await stream.send(b"ping")
            assert [await stream.receive() for stream in streams[:2]] == [b"ping", b"ping"]
            await asyncio.sleep(0.02)
            assert (forward.connections, forward.accepted) == (2, 2)
            await streams[0].aclose()
            assert await streams[2].receive() == b"ping"
            assert (forward.connections, forward.accepted) == (2, 3)
            for stream in streams[1:]:
                await stream.aclose()

    run(main())


@pytest.mark.parametrize("kind", ["tcp4", "mem", "tls"])
def test_a_reset_of_either_side_is_passed_on(run: Run, kind: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with listen(url("tcp4", tmp_path)) as target, listen(url(kind, tmp_path), limits=QUICK) as listener:
            forward = relay(listener, target.local)
            task = await started(forwarded(forward))
            near = await connect(listener.local)
            far = await target.accept()
            await near.send(b"ping")
            assert await far.receive() == b"ping"
            far.abort()
            with pytest.raises((BrokenConnection, EndOfStream)):
                await near.receive()
            near.abort()
            await until(lambda: forward.connections == 0)
            assert forward.broken == 1
            if kind == "tcp4":
                near = await connect(listener.local)
                far = await target.accept()
                near.abort()
                with pytest.raises(BrokenConnection):
                    await far.receive()
                far.abort()
            task.cancel()
            await asyncio.wait([task])

    run(main())


def test_what_cannot_be_a_target_is_said_at_once(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with listen(url("tcp4", tmp_path)) as listener:
            with pytest.raises(EndpointError):
                relay(listener, "tcp://")
            with pytest.raises(TypeError, match="a stream has no borders"):
                relay(listener, "udp://localhost:1")
            with pytest.raises(Unsupported, match="QUIC"):
                await relay(listener, "quic://localhost:1")
            with pytest.raises(ConnectError, match=r"no-such-name\.invalid"):
                await relay(listener, "tcp://no-such-name.invalid:1")
            # None of it has taken the listener.
            caller = await connect(listener.local)
            (await listener.accept()).abort()
            caller.abort()

    run(main())


def test_of_a_name_only_the_addresses_of_this_machine_are_targets(run: Run) -> None:
    class Resolver(LoopDriver):
        async def resolve(self, host: str, port: int, family: int) -> list[tuple[int, tuple[str, int]]]:
            return [(socket.AF_INET, (address, port)) for address in ("192.0.2.1", "127.0.0.2", "127.0.0.1")]

    async def main() -> None:
        driver = Resolver(asyncio.get_running_loop())
        for written, hosts in (
            ("", ["127.0.0.2", "127.0.0.1"]),
            ("?plaintext=yes", ["192.0.2.1", "127.0.0.2", "127.0.0.1"]),
        ):
            found = await addresses_of(Endpoint.parse(f"tcp://example.test:80{written}"), driver)
            assert found == [(host, 80) for host in hosts]

    run(main())


@pytest.mark.parametrize("listening", ["tcp4", "mem"])
def test_a_target_of_a_stranger_gets_no_byte(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listening: str
) -> None:
    """A Unix socket where others can listen, too: each connection is asked who answers."""
    me = os.geteuid()

    async def main() -> None:
        folder = tmp_path / "shared"
        folder.mkdir()
        folder.chmod(0o1777)
        where = f"unix://{folder}/socket"
        async with listen(where) as target, listen(url(listening, tmp_path), limits=QUICK) as listener:
            monkeypatch.setattr(unix, "ROOT", -1)
            monkeypatch.setattr(os, "geteuid", lambda: me + 1)
            for written, served in (("", False), (f"?uid={me}", True)):
                forward = relay(listener, where + written)
                task = await started(forwarded(forward))
                caller = await connect(listener.local)
                await caller.send(b"secret")
                seen = await target.accept()
                if served:
                    assert await seen.receive() == b"secret"
                else:
                    with pytest.raises(EndOfStream):
                        await seen.receive()
                    await until(lambda: forward.failed == 1)  # noqa: B023
                    assert f"write {where}?uid={me} if that is your server" in str(forward.last_error)
                seen.abort()
                caller.abort()
                task.cancel()
                await asyncio.wait([task])

    run(main())


def test_a_forward_is_used_once(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with forwarding(tmp_path) as (forward, listener, _):
            with pytest.raises(RuntimeError, match="once"):
                await forward
            await echoes(listener, b"goes on")

    run(main())


def test_a_listener_that_somebody_accepts_from_is_busy(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with listen(url("tcp4", tmp_path)) as listener:
            accepting = await started(accept(listener))
            with pytest.raises(BusyConnection):
                await relay(listener, "tcp://localhost:1")
            caller = await connect(listener.local)
            (await accepting).abort()
            caller.abort()

    run(main())


@pytest.mark.slow
@pytest.mark.parametrize("program_name", ["socat", "nc"])
def test_programs_through_it(run: Run, program: Callable[[str], str], program_name: str, tmp_path: Path) -> None:
    """A caller that we did not write talks to a `sort` that we did not write: it needs the half-close."""
    path, caller = program("socat"), program(program_name)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]

    async def main() -> None:
        sort = await asyncio.create_subprocess_exec(
            path, "-t", "20", f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork", "EXEC:sort"
        )
        async with listen(url("unix", tmp_path), limits=QUICK) as listener:
            async with asyncio.timeout(5):
                while True:
                    try:
                        await (await connect(f"tcp://127.0.0.1:{port}")).aclose()
                        break
                    except ConnectError:
                        await asyncio.sleep(0.01)
            forward = relay(listener, f"tcp://127.0.0.1:{port}")
            task = await started(forwarded(forward))
            where = listener.local.path or ""
            command = (
                (caller, "-t", "20", "-", f"UNIX-CONNECT:{where}") if caller == path else (caller, "-N", "-U", where)
            )
            lines = [b"%06d\n" % (number * 7919 % 100_000) for number in range(100_000)]
            pipe = asyncio.subprocess.PIPE
            asking = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
            out, _ = await asking.communicate(b"".join(lines))
            assert out == b"".join(sorted(lines))
            assert (forward.a_to_b_bytes, forward.b_to_a_bytes) == (700_000, 700_000)
            task.cancel()
            await asyncio.wait([task])
        sort.terminate()
        await sort.wait()

    run(main(), 30)


@pytest.mark.slow
def test_curl_through_tls(run: Run, program: Callable[[str], str], tmp_path: Path) -> None:
    """TLS ends here, and a server that knows nothing of it answers."""
    curl = program("curl")
    body = bytes(3_000_000)

    async def answer(stream: Stream) -> None:
        await stream.receive_until(b"\r\n\r\n")
        await stream.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    async def main() -> None:
        async with (
            serve(url("tcp4", tmp_path), answer) as server,
            listen(url("tls", tmp_path), limits=QUICK) as listener,
        ):
            forward = relay(listener, server.local)
            task = await started(forwarded(forward))
            asking = await asyncio.create_subprocess_exec(
                curl, "-sk", f"https://127.0.0.1:{listener.local.port}/", stdout=asyncio.subprocess.PIPE
            )
            out, _ = await asking.communicate()
            assert out == body
            await until(lambda: forward.connections == 0)
            assert (forward.accepted, forward.failed, forward.broken) == (1, 0, 0)
            task.cancel()
            await asyncio.wait([task])

    run(main(), 30)


@pytest.mark.slow
def test_openssl_through_tls(run: Run, program: Callable[[str], str], tmp_path: Path) -> None:
    """Killed, it has not said that it ended: the target sees a reset."""
    openssl = program("openssl")

    async def main() -> None:
        async with listen(url("tcp4", tmp_path)) as target, listen(url("tls", tmp_path), limits=QUICK) as listener:
            forward = relay(listener, target.local)
            task = await started(forwarded(forward))
            pipe = asyncio.subprocess.PIPE
            command = (openssl, "s_client", "-quiet", "-connect", f"127.0.0.1:{listener.local.port}")
            asking = await asyncio.create_subprocess_exec(
                *command, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL
            )
            assert asking.stdin and asking.stdout
            asking.stdin.write(b"question\n")
            far = await target.accept()
            assert await far.receive_until(b"\n") == b"question\n"
            await far.send(b"answer\n")
            assert await asking.stdout.readline() == b"answer\n"
            asking.kill()
            await asking.wait()
            with pytest.raises(BrokenConnection):
                await far.receive()
            await until(lambda: forward.broken == 1)
            far.abort()
            task.cancel()
            await asyncio.wait([task])

    run(main(), 30)


@pytest.mark.slow
def test_out_of_descriptors_it_keeps_serving(tmp_path: Path) -> None:
    """64 descriptors and 200 callers: all are served, in turns."""
    script = """
        import asyncio, resource, sys
        from socketkit import listen, relay

        async def main(target):
            async with listen("tcp://127.0.0.1:0") as listener:
                print(listener.local, flush=True)
                await relay(listener, target)

        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        asyncio.run(main(sys.argv[1]))
    """

    async def main() -> None:
        async with serve("tcp://127.0.0.1:0", echo) as server:
            command = [sys.executable, "-c", textwrap.dedent(script), str(server.local)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
                assert child.stdout
                where = child.stdout.readline().strip()

                async def call(number: int) -> None:
                    async with await connect(where) as stream:
                        await stream.send(numbered(1, number))
                        await stream.send_eof()
                        assert await all_of(stream) == numbered(1, number)

                await asyncio.gather(*(call(number) for number in range(200)))
                child.send_signal(signal.SIGINT)

    asyncio.run(asyncio.wait_for(main(), 30))


# --- limits: the engine accepts in the listener's place, and counts where the listener does


@asynccontextmanager
async def limited(folder: Path, kinds: tuple[str, str] = ("tcp4", "tcp4"), **bounds: Any) -> AsyncIterator[Any]:
    """A forward whose callers on this machine are strangers, as others are."""
    limits = Limits(trusted=(), grace_seconds=0.05, **bounds)
    async with forwarding(folder, kinds, limits) as (forward, listener, _):
        yield forward, listener


async def served(stream: Stream) -> bool:
    """Whether it is let in: a caller who is turned away is reset."""
    try:
        await stream.send(b"ping")
        return await stream.receive_exactly(4) == b"ping"
    except BrokenConnection:
        return False


async def refused(listener: Listener) -> bool:
    try:
        stream = await connect(listener.local)
    except (ConnectError, BrokenConnection):
        return True
    let_in = await served(stream)
    stream.abort()
    return not let_in


async def ended(stream: Stream) -> bool:
    try:
        await stream.receive()
    except (BrokenConnection, EndOfStream):
        return True
    return False


LIMITED = [("tcp4", "tcp4"), ("tls", "tcp4")]


@pytest.mark.parametrize("kinds", [("tcp4", "tcp4"), ("tcp4", "mem")])
def test_one_above_the_rate_of_a_source_is_refused(run: Run, kinds: tuple[str, str], tmp_path: Path) -> None:
    async def main() -> None:
        async with limited(tmp_path, kinds, source_burst=3, source_rate_per_second=1) as (forward, listener):
            streams = [await connect(listener.local) for _ in range(3)]
            assert [await served(stream) for stream in streams] == [True, True, True]
            assert await refused(listener)
            stats = listener.stats
            assert (stats["accepted"], stats["connections"]) == (3, 3)
            await until(lambda: listener.stats["unproven"] == 0)
            assert (stats["refused_rate"], stats["sources"]) == (1, {"127.0.0.1": {"refused_rate": 1}})
            assert (forward.accepted, forward.connections) == (3, 3)
            for stream in streams:
                stream.abort()
            await until(lambda: listener.stats["connections"] == 0)

    run(main())


def test_one_above_the_connections_of_a_source_is_refused(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with limited(tmp_path, source_connections=2) as (forward, listener):
            streams = [await connect(listener.local) for _ in range(2)]
            assert [await served(stream) for stream in streams] == [True, True]
            await until(lambda: listener.stats["unproven"] == 0)
            assert await refused(listener)
            assert listener.stats["refused_source"] == 1
            await streams[0].aclose()
            await until(lambda: forward.connections == 1)
            third = await connect(listener.local)
            assert await served(third)
            third.abort()
            streams[1].abort()

    run(main())


def test_one_silent_caller_too_many_evicts_the_oldest(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with limited(tmp_path, source_unproven=2) as (forward, listener):
            talking = await connect(listener.local)
            assert await served(talking)
            silent = [await connect(listener.local) for _ in range(3)]
            assert await ended(silent[0])
            await until(lambda: listener.stats["evicted"] == 1)
            assert [await served(stream) for stream in (talking, *silent[1:])] == [True, True, True]
            assert (listener.stats["connections"], listener.stats["unproven"], forward.connections) == (3, 0, 3)
            for stream in (talking, *silent):
                stream.abort()

    run(main())


@pytest.mark.slow
@pytest.mark.parametrize("kinds", LIMITED)
def test_who_sends_nothing_in_time_is_reset_and_penalised(run: Run, kinds: tuple[str, str], tmp_path: Path) -> None:
    async def main() -> None:
        async with limited(tmp_path, kinds, first_message_seconds=0.6, penalty_active_seconds=5) as (forward, listener):
            silent = await connect(listener.local)
            assert await ended(silent)
            silent.abort()
            await until(lambda: (listener.stats["first_message"], forward.broken) == (1, 1))
            assert await refused(listener)
            assert listener.stats["refused_penalty"] == 1

    run(main())


@pytest.mark.slow
@pytest.mark.parametrize("url", ["tcp4://127.0.0.1:0", "tls://127.0.0.1:0"])
def test_who_only_listens_is_served(run: Run, url: str) -> None:
    """The target speaks, and expects no word."""

    async def tell(stream: Stream) -> None:
        await stream.send(b"now, ")
        await asyncio.sleep(1.7)
        await stream.send(b"and later")

    async def main() -> None:
        limits = Limits(first_message_seconds=0.3)
        async with serve("tcp4://127.0.0.1:0", tell) as target, listen(url, limits=limits) as listener:
            forwarding = asyncio.ensure_future(relay(listener, target.local))
            async with connect(listener.local) as caller:
                assert b"".join([chunk async for chunk in caller]) == b"now, and later"
            assert listener.stats["first_message"] == 0
            forwarding.cancel()
            await asyncio.wait([forwarding])

    run(main())


@pytest.mark.slow
@pytest.mark.parametrize("kinds", LIMITED)
def test_a_pair_in_which_nothing_moves_is_reset(run: Run, kinds: tuple[str, str], tmp_path: Path) -> None:
    async def main() -> None:
        async with limited(tmp_path, kinds, idle_seconds=1) as (forward, listener):
            busy, idle = await connect(listener.local), await connect(listener.local)
            assert await served(idle)
            for _ in range(12):
                assert await served(busy)
                await asyncio.sleep(0.2)
            assert await ended(idle)
            assert (listener.stats["idle"], forward.broken, forward.connections) == (1, 1, 1)
            assert await served(busy)
            busy.abort()
            idle.abort()

    run(main())


@pytest.mark.slow
@pytest.mark.parametrize("kinds", LIMITED)
@pytest.mark.parametrize("stalls", ["caller", "target"])
def test_a_side_that_takes_nothing_is_reset(run: Run, stalls: str, kinds: tuple[str, str], tmp_path: Path) -> None:
    """A byte moves from time to time, so that the pair is not idle."""
    limits = Limits(trusted=(), grace_seconds=0.05, write_stalled_seconds=0.8)

    async def main() -> None:
        async with listen(url("tcp4", tmp_path)) as target, listen(url(kinds[0], tmp_path), limits=limits) as listener:
            forward = relay(listener, target.local)
            task = await started(forwarded(forward))
            near = await connect(listener.local)
            await near.send(b"ping")
            far = await target.accept()
            await far.receive_exactly(4)
            stalled, pouring = (near, far) if stalls == "caller" else (far, near)
            flood = await started(pour(pouring))
            await until(lambda: forward.connections == 0)
            assert forward.broken == 1
            assert listener.stats["write_stalled"] == (1 if stalls == "caller" else 0)
            with pytest.raises(BrokenConnection):
                await flood
            stalled.abort()
            pouring.abort()
            task.cancel()
            await asyncio.wait([task])

    run(main(), 20)


async def pour(stream: Stream) -> None:
    while True:
        await stream.send(bytes(1_000_000))


# --- socketkit.sync


def test_blocking_until_the_listener_is_closed(tmp_path: Path) -> None:
    def echo(stream: socketkit.sync.Stream) -> None:
        for chunk in stream:
            stream.send(chunk)

    with socketkit.sync.serve(f"unix://{tmp_path}/echo", echo) as server, socketkit.sync.listen("tcp://:0") as listener:
        endings: list[BaseException] = []

        def forward() -> None:
            try:
                socketkit.sync.relay(listener, server.local)
            except ClosedConnection as ending:
                endings.append(ending)

        thread = threading.Thread(target=forward)
        thread.start()
        with socketkit.sync.connect(listener.local) as stream:
            stream.send(b"ping")
            assert stream.receive() == b"ping"
        listener.close()
        thread.join(10)
        assert len(endings) == 1


def test_blocking_out_of_time(tmp_path: Path) -> None:
    with socketkit.sync.listen(f"unix://{tmp_path}/socket") as listener:
        with pytest.raises(TimeoutError), socketkit.sync.timeout(0.02):
            socketkit.sync.relay(listener, "tcp://localhost:1")
        for target in ("mem://somewhere", "unix://@socketkit-test-anybody"):
            with pytest.raises(Unsupported, match=r"socketkit\.relay does"):
                socketkit.sync.relay(listener, target)
        with socketkit.sync.connect(f"unix://{tmp_path}/socket") as caller, listener.accept() as stream:
            caller.send(b"still a listener")
            assert stream.receive() == b"still a listener"


def test_an_interrupt_ends_a_blocking_one(tmp_path: Path) -> None:
    with socketkit.sync.listen(f"unix://{tmp_path}/socket") as listener:
        interrupting = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
        interrupting.start()
        with pytest.raises(KeyboardInterrupt):
            socketkit.sync.relay(listener, "tcp://localhost:1")
        interrupting.join()
