"""`fd://`: sockets that were there before, by number or by the name systemd gives them."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from socketkit import ConnectError, ListenError, Unsupported, connect, listen
from tests.conftest import Run

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.fixture
def tcp_listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def test_a_listener_by_number(run: Run, tcp_listener: socket.socket) -> None:
    port = tcp_listener.getsockname()[1]
    fd = os.dup(tcp_listener.fileno())

    async def main() -> None:
        async with listen(f"fd://{fd}") as listener:
            assert str(listener.local) == f"tcp://127.0.0.1:{port}"
            async with connect(listener.local) as ours:
                theirs = await listener.accept()
                await ours.send(b"x")
                assert await theirs.receive() == b"x"
                theirs.abort()

    run(main())


def test_a_unix_listener_by_number_keeps_its_path(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(f"{tmp_path}/socket")
            sock.listen()
            fd = os.dup(sock.fileno())
            async with listen(f"fd://{fd}") as listener, connect(str(listener.local)):
                assert str(listener.local) == f"unix://{tmp_path}/socket"
                (await listener.accept()).abort()
        assert (tmp_path / "socket").exists(), "whoever made the path removes it"
        (tmp_path / "socket").unlink()

    run(main())


def test_a_connection_by_number(run: Run) -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        os.set_inheritable(theirs.fileno(), True)
        stream = await connect(f"fd://{theirs.fileno()}")
        assert not os.get_inheritable(theirs.fileno())
        theirs.detach()
        ours.send(b"x")
        assert await stream.receive() == b"x"
        await stream.aclose()
        assert ours.recv(1) == b""
        ours.close()

    run(main())


def test_wrong_kinds_are_refused_and_stay_the_programs(run: Run, tcp_listener: socket.socket) -> None:
    async def main() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams, open(os.devnull) as file:
            for fd, error, text in (
                (datagrams.fileno(), Unsupported, "no TCP or Unix stream socket"),
                (file.fileno(), ConnectError, "."),
                (tcp_listener.fileno(), ConnectError, "listens: use listen"),
            ):
                with pytest.raises(error, match=text):
                    await connect(f"fd://{fd}")
                os.fstat(fd)
            ours, theirs = socket.socketpair()
            with pytest.raises(ListenError, match="does not listen: use connect"):
                await listen(f"fd://{ours.fileno()}")
            ours.send(b"still usable")
            assert theirs.recv(100) == b"still usable"
            ours.close()
            theirs.close()

    run(main())


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")])
def test_a_listener_that_other_machines_can_reach(run: Run, family: int, host: str) -> None:
    async def main() -> None:
        with socket.create_server((host, 0), family=family) as sock:
            fd, port = os.dup(sock.fileno()), sock.getsockname()[1]
            with pytest.raises(ListenError, match="plaintext=yes to allow it") as raised:
                await listen(f"fd://{fd}")
            assert raised.value.errno == errno.EPERM
            os.fstat(fd)  # it stays the program's
            async with listen(f"fd://{fd}?plaintext=yes") as listener:
                where = str(listener.local)
                assert where == f"tcp://{f'[{host}]' if ':' in host else host}:{port}?plaintext=yes"
                async with connect(where):
                    (await listener.accept()).abort()

    run(main())


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_connection_is_judged_by_its_own_address(run: Run, family: int, host: str) -> None:
    async def main() -> None:
        with socket.create_server((host, 0), family=family) as server:
            ours = socket.create_connection(server.getsockname()[:2])
            theirs, _ = server.accept()
        async with await connect(f"fd://{ours.detach()}") as stream:
            theirs.send(b"x")
            assert await stream.receive() == b"x"
        theirs.close()
        # Not connected, and bound to every address: what it will be connected to, nobody knows.
        with socket.socket(family) as sock:
            with pytest.raises(ConnectError, match="plaintext=yes to allow it"):
                await connect(f"fd://{sock.fileno()}")
            os.fstat(sock.fileno())

    run(main())


def test_a_number_that_is_not_open(run: Run) -> None:
    async def main() -> None:
        for number in ("987", "99999999999999999999"):
            with pytest.raises((ConnectError, ValueError)):
                await connect(f"fd://{number}")

    run(main())


def test_names_need_an_activation_of_this_process(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        with pytest.raises(ListenError, match="LISTEN_PID is not its own"):
            await listen("fd://web")

    monkeypatch.delenv("LISTEN_PID", raising=False)
    run(main())
    monkeypatch.setenv("LISTEN_PID", str(os.getppid()))
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_FDNAMES", "web")
    run(main())


def test_an_unknown_name_tells_the_known_ones(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        with pytest.raises(ListenError, match=r"LISTEN_FDNAMES, which has: web, mail"):
            await listen("fd://other")

    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "2")
    monkeypatch.setenv("LISTEN_FDNAMES", "web:mail:beyond the count")
    run(main())


@pytest.mark.parametrize("count", ["", "many", "-1"])
def test_a_wrong_count_is_an_error_and_no_crash(run: Run, monkeypatch: pytest.MonkeyPatch, count: str) -> None:
    async def main() -> None:
        with pytest.raises(ListenError):
            await listen("fd://web")

    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", count)
    monkeypatch.setenv("LISTEN_FDNAMES", "web")
    run(main())


def test_an_activated_service() -> None:
    """As systemd does it: descriptors 3 and 4, their names, and the process's own number in the environment."""
    program = textwrap.dedent(
        """
        import asyncio, os, socketkit
        async def main():
            async with socketkit.listen("fd://mail") as listener:
                stream = await listener.accept()
                await stream.send(str(listener.local).encode())
                await stream.aclose()
        asyncio.run(main())
        """
    )
    starter = textwrap.dedent(
        """
        import os, sys
        for target, fd in ((3, int(sys.argv[1])), (4, int(sys.argv[2]))):
            os.dup2(fd, target, inheritable=True)
        os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="2", LISTEN_FDNAMES="web:mail")
        os.execv(sys.executable, [sys.executable, "-c", sys.argv[3]])
        """
    )
    with socket.create_server(("127.0.0.1", 0)) as web, socket.create_server(("127.0.0.1", 0)) as mail:
        # Out of the way of 3 and 4.
        high = [fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD, 100) for sock in (web, mail)]
        process = subprocess.Popen([sys.executable, "-c", starter, str(high[0]), str(high[1]), program], pass_fds=high)
        try:
            with socket.create_connection(mail.getsockname(), 10) as caller:
                caller.settimeout(10)
                said = b""
                while chunk := caller.recv(100):
                    said += chunk
            assert said.decode() == f"tcp://127.0.0.1:{mail.getsockname()[1]}"
            assert process.wait(10) == 0
        finally:
            process.kill()
            process.wait()
            for fd in high:
                os.close(fd)
