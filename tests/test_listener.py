"""Listeners: accepting under cancellation, within limits, from a backlog, and what is left when they close."""

from __future__ import annotations

import asyncio
import resource
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from socketkit import (
    ClosedConnection,
    ConnectError,
    EndOfStream,
    Limits,
    Listener,
    ListenError,
    Stream,
    connect,
    listen,
)
from socketkit.testing.claims import numbered, started, turns
from tests.conformance.transports import LISTENING, url
from tests.conftest import Run, open_descriptors

pytestmark = pytest.mark.usefixtures("no_leaks")


async def accept(listener: Listener) -> Stream:
    """As a user writes it: with a coroutine of his around."""
    return await listener.accept()  # type: ignore[no-any-return]


@pytest.mark.parametrize("transport", LISTENING)
def test_a_cancelled_accept_loses_no_caller(run: Run, transport: str, tmp_path: Path) -> None:
    """Cancelled before, in and after the turn in which the caller comes."""

    async def main() -> None:
        async with listen(url(transport, tmp_path)) as listener:
            for number in range(200):
                waiting = asyncio.get_running_loop().create_task(accept(listener))
                await turns(number % 3)
                if number % 2:
                    ours = await connect(listener.local)
                    await turns(number // 2 % 4)
                    waiting.cancel()
                else:
                    waiting.cancel()
                    ours = await connect(listener.local)
                await asyncio.wait([waiting])
                theirs = await listener.accept() if waiting.cancelled() else waiting.result()
                await ours.send(numbered(1, number))
                assert await theirs.receive() == numbered(1, number)
                ours.abort()
                theirs.abort()
            assert {name: count for name, count in listener.stats.items() if count} == {"accepted": 200}

    run(main(), 20)


@pytest.mark.parametrize("transport", LISTENING)
def test_a_cancelled_connect_leaves_nothing(run: Run, transport: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with listen(url(transport, tmp_path)) as listener:
            before = len(open_descriptors())
            for number in range(50):
                connecting = asyncio.ensure_future(_connect(listener))
                await turns(number % 6)
                connecting.cancel()
                await asyncio.wait([connecting])
                if not connecting.cancelled():
                    connecting.result().abort()
            await turns(2)
            # In memory, both ends are ours.
            while len(open_descriptors()) > before:
                (await asyncio.wait_for(listener.accept(), 1)).abort()

    run(main())


async def _connect(listener: Listener) -> Stream:
    return await connect(listener.local)


@pytest.mark.parametrize("transport", LISTENING)
def test_many_acceptors_share_the_callers(run: Run, transport: str, tmp_path: Path) -> None:
    """Some of them are cancelled while the callers come: the others get what those do not take."""

    async def main() -> None:
        async with listen(url(transport, tmp_path)) as listener:
            acceptors = [asyncio.get_running_loop().create_task(accept(listener)) for _ in range(20)]
            await turns(1)
            callers = []
            for index in range(10):
                callers.append(await connect(listener.local))
                acceptors[2 * index].cancel()
                await turns(index % 3)
            await asyncio.wait(acceptors[::2])
            stayed = {task for task in acceptors if not task.cancelled()}
            while sum(task.done() for task in stayed) < len(callers):
                await asyncio.wait([task for task in stayed if not task.done()], return_when=asyncio.FIRST_COMPLETED)
            for task in stayed:
                if not task.cancel():
                    task.result().abort()
            for caller in callers:
                caller.abort()
            await asyncio.wait(stayed)

    run(main())


@pytest.mark.parametrize("transport", [name for name in LISTENING if not name.startswith("tls")])
def test_the_connection_limit_holds_the_next_caller(run: Run, transport: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with listen(url(transport, tmp_path), limits=Limits(connections=2)) as listener:
            callers = [await connect(listener.local) for _ in range(3)]
            first, second = await listener.accept(), await listener.accept()
            assert listener.connections == 2
            third = await started(accept(listener))
            await callers[2].send(b"from the backlog")
            for _ in range(5):
                await asyncio.sleep(0.002)
            assert not third.done(), "one more than the limit was accepted"
            await first.aclose()
            stream = await asyncio.wait_for(third, 5)
            assert await stream.receive() == b"from the backlog"
            assert listener.connections == 2
            for each in (*callers, second, stream):
                each.abort()
            assert listener.connections == 0
            assert listener.stats["accepted"] == 3

    run(main())


@pytest.mark.parametrize("transport", ["tls", "tls-unix"])
def test_beyond_the_limit_nobody_shakes_hands(run: Run, transport: str, tmp_path: Path) -> None:
    """The third waits in its connect, and nobody need accept for the first two to be done with theirs."""

    async def main() -> None:
        async with listen(url(transport, tmp_path), limits=Limits(connections=2)) as listener:
            callers = [await connect(listener.local) for _ in range(2)]
            third = asyncio.ensure_future(connect(listener.local))
            first, second = await listener.accept(), await listener.accept()
            for _ in range(5):
                await asyncio.sleep(0.002)
            assert not third.done(), "one more than the limit was let in"
            await first.aclose()
            callers.append(await asyncio.wait_for(third, 5))
            stream = await listener.accept()
            await callers[2].send(b"from the backlog")
            assert await stream.receive() == b"from the backlog"
            for each in (*callers, second, stream):
                each.abort()
            assert (listener.connections, listener.stats["accepted"]) == (0, 3)

    run(main())


def test_a_dropped_connection_makes_room_too(run: Run) -> None:
    async def main() -> None:
        async with listen("mem://", limits=Limits(connections=1)) as listener:
            callers = [await connect(listener.local) for _ in range(2)]
            with pytest.warns(ResourceWarning, match="dropped"):
                await listener.accept()
                await turns(2)
            (await asyncio.wait_for(listener.accept(), 5)).abort()
            for caller in callers:
                caller.abort()

    run(main())


def test_the_default_limit_leaves_descriptors(run: Run) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (232, hard))
    try:
        assert Limits().most_connections() == 180
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("transport", LISTENING)
def test_closing_wakes_those_who_accept(run: Run, transport: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with listen(url(transport, tmp_path)) as listener:
            waiting = [await started(accept(listener)) for _ in range(3)]

            async def iterate() -> int:
                return len([stream async for stream in listener])

            iterating = await started(iterate())
            await listener.aclose()
            await listener.aclose()
            assert await iterating == 0
            for task in waiting:
                with pytest.raises(ClosedConnection):
                    await task
            with pytest.raises(ClosedConnection):
                await listener.accept()
            with pytest.raises(ConnectError):
                await connect(listener.local)
            assert listener.closed
            assert repr(listener) == f"<Listener {listener.local}, closed>"

    run(main())


@pytest.mark.parametrize("transport", LISTENING)
def test_accepted_connections_outlive_their_listener(run: Run, transport: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with listen(url(transport, tmp_path)) as listener:
            ours = await connect(listener.local)
            theirs = await listener.accept()
        await ours.send(b"still here")
        assert await theirs.receive() == b"still here"
        await ours.aclose()
        with pytest.raises(EndOfStream):
            await theirs.receive()
        await theirs.aclose()

    run(main())


def test_both_families_are_served_in_turn(run: Run) -> None:
    async def main() -> None:
        async with listen("tcp://:0") as listener:
            where = listener.local
            assert str(where) == f"tcp://localhost:{where.port}"
            callers = [await connect(f"tcp://{host}:{where.port}") for host in ("127.0.0.1", "[::1]") for _ in range(3)]
            hosts = []
            for _ in callers:
                stream = await listener.accept()
                hosts.append(stream.peer.endpoint.host)
                stream.abort()
            assert sorted(map(str, hosts)) == ["127.0.0.1"] * 3 + ["::1"] * 3
            for caller in callers:
                caller.abort()

    run(main())


def test_everywhere_is_reached_over_loopback(run: Run) -> None:
    async def main() -> None:
        async with listen("tcp://*:0?plaintext=yes") as listener, connect(str(listener.local)) as ours:
            theirs = await listener.accept()
            await ours.send(b"x")
            assert await theirs.receive() == b"x"
            theirs.abort()

    run(main())


@pytest.mark.parametrize("transport", LISTENING)
def test_two_cannot_listen_at_one_address(run: Run, transport: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with listen(url(transport, tmp_path)) as listener:
            before = len(open_descriptors())
            with pytest.raises(ListenError, match="in use") as raised:
                await listen(listener.local)
            assert raised.value.endpoint == listener.local
            assert len(open_descriptors()) == before
            async with connect(listener.local):
                (await listener.accept()).abort()
        async with listen(listener.local):
            pass

    run(main())


def test_a_port_that_one_family_has_taken_is_taken(run: Run) -> None:
    """The pair of loopback addresses is taken whole or not at all."""

    async def main() -> None:
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as other:
            port = other.getsockname()[1]
            with pytest.raises(ListenError, match="in use"):
                await listen(f"tcp://:{port}")
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port)).close()

    run(main())


def test_an_address_of_another_machine_is_refused(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(ListenError, match="no such address on this machine"):
            await listen("tcp://192.0.2.1:0?plaintext=yes")

    run(main())


def test_a_full_memory_backlog_refuses(run: Run) -> None:
    async def main() -> None:
        async with listen("mem://", limits=Limits(backlog=2)) as listener:
            callers = [await connect(listener.local) for _ in range(2)]
            with pytest.raises(ConnectError, match="refused"):
                await connect(listener.local)
            accepted = [await listener.accept()]
            callers.append(await connect(listener.local))
            accepted += [await listener.accept() for _ in range(2)]
            for stream in callers + accepted:
                stream.abort()

    run(main())


def test_callers_left_in_a_memory_backlog_are_told(run: Run) -> None:
    async def main() -> None:
        async with listen("mem://") as listener:
            caller = await connect(listener.local)
        with pytest.raises((EndOfStream, OSError)):
            await asyncio.wait_for(caller.receive(), 5)
        caller.abort()

    run(main())


def test_a_full_unix_backlog_is_waited_for(run: Run, tmp_path: Path) -> None:
    """connect(2) says EAGAIN at once there, where TCP would wait."""

    async def main() -> None:
        async with listen(f"unix://{tmp_path}/socket", limits=Limits(backlog=1)) as listener:
            connecting = [asyncio.ensure_future(_connect(listener)) for _ in range(6)]
            await asyncio.sleep(0.02)
            assert not all(task.done() for task in connecting)
            accepted = [await listener.accept() for _ in range(6)]
            for stream in accepted + list(await asyncio.gather(*connecting)):
                stream.abort()

    run(main())


def test_a_full_unix_backlog_is_not_waited_for_for_ever(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with listen(f"unix://{tmp_path}/socket", limits=Limits(backlog=1)) as listener:
            callers = []
            with pytest.raises(ConnectError, match=r"no answer within 0.05 s"):
                while len(callers) < 10:
                    callers.append(await connect(listener.local, limits=Limits(connect_seconds=0.05)))
            assert len(callers) >= 1
            for caller in callers:
                caller.abort()

    run(main())


# --- privileges and exhaustion, in processes of their own


@pytest.mark.privileged
def test_a_port_that_needs_root() -> None:
    said = _python(
        """
        import asyncio, encodings.idna, os, socketkit, socketkit.drivers, socketkit.types.stream
        async def main():
            try:
                await socketkit.listen("tcp://127.0.0.1:81")
            except socketkit.ListenError as error:
                print(error)
        os.setgid(65534); os.setuid(65534)
        asyncio.run(main())
        """
    )
    start = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if start > 81:
        assert said.startswith("listen tcp://127.0.0.1:81: not permitted: ports below 1024 need root")


@pytest.mark.privileged
def test_a_folder_that_needs_root(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    said = _python(
        f"""
        import asyncio, os, socketkit, socketkit.drivers, socketkit.types.unix
        async def main():
            try:
                await socketkit.listen("unix://{tmp_path}/socket")
            except socketkit.ListenError as error:
                print(error)
        os.setgid(65534); os.setuid(65534)
        asyncio.run(main())
        """
    )
    assert "not permitted" in said


@pytest.mark.slow
@pytest.mark.parametrize("address", ["tcp://127.0.0.1:0", "unix", "mem://"])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_out_of_descriptors_it_keeps_serving(address: str, loop: str, tmp_path: Path) -> None:
    """256 descriptors, 400 clients that stay until they are answered; at the end nothing is left open."""
    address = f"unix://{tmp_path}/socket" if address == "unix" else address
    said = _python(EXHAUSTED, address, loop, CLIENT)
    assert said.splitlines()[-1] == "served 400, left open 0", said


EXHAUSTED = """
    import asyncio, logging, os, resource, socket, subprocess, sys, threading
    import socketkit
    from socketkit import Limits

    address, loop, client_program = sys.argv[1:]
    CLIENTS = 400

    async def echo(stream):
        async for chunk in stream:
            await stream.send(chunk)

    def descriptors():
        return len(os.listdir("/proc/self/fd"))

    async def client(where, served):
        # In memory the clients need descriptors of the same process: they come as some become free.
        while True:
            try:
                async with socketkit.connect(where, limits=Limits(connect_seconds=20)) as stream:
                    await stream.send(b"hello")
                    assert await stream.receive_exactly(5) == b"hello"
                    served.append(1)
                    return
            except (OSError, EOFError):
                await asyncio.sleep(0.01)

    async def main():
        async with socketkit.serve(address, echo, limits=Limits(connections=10_000)) as server:
            where = server.local
            served = []
            if where.scheme == "mem":
                await asyncio.gather(*[client(where, served) for _ in range(CLIENTS)])
                number = len(served)
            else:
                target = ("AF_UNIX", where.path) if where.scheme == "unix" else ("AF_INET", (where.host, where.port))
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-c", client_program, target[0], repr(target[1]),
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                )
                while not server.stats["exhausted"]:
                    await asyncio.sleep(0.01)
                out, _ = await process.communicate(b"go")
                number = int(out)
        return number

    logging.basicConfig(level=logging.WARNING)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    if loop == "uvloop":
        import uvloop
        factory = uvloop.new_event_loop
    else:
        factory = asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(asyncio.sleep(0))  # libuv keeps a pair for signals, once per process
    before = descriptors()
    with asyncio.Runner(loop_factory=factory) as runner:
        number = runner.run(asyncio.wait_for(main(), 40))
    del runner
    import gc
    gc.collect()
    print(f"served {number}, left open {descriptors() - before}")
"""


CLIENT = """
import resource, socket, sys
family, address = sys.argv[1], eval(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
sockets = []
for _ in range(400):
    sock = socket.socket(getattr(socket, family))
    sock.settimeout(25)
    sock.connect(address)
    sock.send(b"hello")
    sockets.append(sock)
served = 0
sys.stdin.read()
while sockets:
    # Those at the end of the backlog are served when those at the front have gone.
    sock = sockets.pop(0)
    served += sock.recv(5) == b"hello"
    sock.close()
print(served)
"""


def _python(program: str, *arguments: str) -> str:
    """What a program prints, run by this Python; its errors are the test's."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *arguments],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_dropped_listener_warns_and_frees_its_path(run: Run, tmp_path: Path) -> None:
    async def body() -> None:
        listener = await listen(f"unix://{tmp_path}/s")
        with pytest.warns(ResourceWarning, match="dropped without being closed"):
            del listener
        assert not (tmp_path / "s").exists()

    run(body())
