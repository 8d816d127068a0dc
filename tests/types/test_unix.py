"""Unix sockets: private paths that are nobody else's, abstract names, and starters that race."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import stat
import subprocess
import sys
import textwrap
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from socketkit import ConnectError, ListenError, connect, listen
from tests.conftest import Run

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "socket"


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_a_path_is_its_owners_only(run: Run, path: Path, mask: int) -> None:
    async def main() -> None:
        async with listen(f"unix://{path}"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600

    before = os.umask(mask)
    try:
        run(main())
    finally:
        os.umask(before)


def test_a_mode_may_be_asked_for(run: Run, path: Path) -> None:
    async def main() -> None:
        for mode in ("0640", "0666", "0600"):
            async with listen(f"unix://{path}?mode={mode}"):
                assert stat.S_IMODE(path.stat().st_mode) == int(mode, 8)

    before = os.umask(0o077)
    try:
        run(main())
    finally:
        os.umask(before)


def test_a_live_socket_is_never_replaced(run: Run, path: Path) -> None:
    async def main() -> None:
        async with listen(f"unix://{path}") as first:
            born = path.stat().st_ino
            with pytest.raises(ListenError, match="already in use"):
                await listen(f"unix://{path}")
            assert path.stat().st_ino == born
            async with connect(f"unix://{path}") as ours:
                # The other one's look whether anyone is there was no call.
                theirs = await first.accept()
                await ours.send(b"x")
                assert await theirs.receive() == b"x"
                theirs.abort()

    run(main())


def test_a_live_socket_with_a_full_backlog_is_not_replaced(run: Run, path: Path) -> None:
    """It answers "not now" (EAGAIN), and that is an answer."""

    async def main() -> None:
        with socket.socket(socket.AF_UNIX) as busy:
            busy.bind(str(path))
            busy.listen(0)
            callers = []
            while True:
                caller = socket.socket(socket.AF_UNIX)
                caller.setblocking(False)
                callers.append(caller)
                if caller.connect_ex(str(path)):
                    break
            with pytest.raises(ListenError, match="already in use"):
                await listen(f"unix://{path}")
            for caller in callers:
                caller.close()
        assert path.exists()

    run(main())


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_SEQPACKET, socket.SOCK_STREAM])
def test_any_live_socket_stays(run: Run, path: Path, kind: socket.SocketKind) -> None:
    """Of another type, or not listening yet."""

    async def main() -> None:
        with socket.socket(socket.AF_UNIX, kind) as other:
            other.bind(str(path))
            with pytest.raises(ListenError, match="already in use"):
                await listen(f"unix://{path}")
        assert path.exists()

    run(main())


def test_a_dead_socket_is_replaced(run: Run, path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))

    async def main() -> None:
        async with listen(f"unix://{path}") as listener, connect(f"unix://{path}"):
            (await listener.accept()).abort()
        assert not path.exists()
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))

    run(main())


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_socket_stays(run: Run, path: Path, tmp_path: Path, kind: str) -> None:
    match kind:
        case "file":
            path.write_text("precious")
        case "folder":
            path.mkdir()
        case _:
            path.symlink_to(tmp_path / "elsewhere")
    before = os.lstat(path)

    async def main() -> None:
        with pytest.raises(ListenError, match="no socket: remove it"):
            await listen(f"unix://{path}")

    run(main())
    assert os.lstat(path) == before


def test_its_path_goes_with_it(run: Run, path: Path) -> None:
    async def main() -> None:
        async with listen(f"unix://{path}"):
            assert path.exists()
        assert not path.exists()

    run(main())


def test_a_path_that_became_someone_elses_stays(run: Run, path: Path) -> None:
    async def main() -> None:
        async with listen(f"unix://{path}"):
            path.unlink()
            path.write_text("someone else's")
        assert path.read_text() == "someone else's"
        path.unlink()
        async with listen(f"unix://{path}"):
            path.unlink()

    run(main())


def test_a_path_of_107_bytes_fits_and_one_more_does_not(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        fits = f"{tmp_path}/" + "x" * (107 - len(str(tmp_path)) - 1)
        async with listen(f"unix://{fits}") as listener, connect(listener.local):
            (await listener.accept()).abort()
        with pytest.raises(ValueError, match=r"107|long") as refused:
            await listen(f"unix://{fits}x")
        assert refused.value
        with pytest.raises(ValueError, match=r"107|long"):
            await connect(f"unix://{fits}x")

    run(main())


def test_no_such_folder(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(ListenError, match="no such path"):
            await listen(f"unix://{tmp_path}/missing/socket")

    run(main())


def test_nobody_there(run: Run, path: Path) -> None:
    async def main() -> None:
        with pytest.raises(ConnectError, match="no such path"):
            await connect(f"unix://{path}")
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        with pytest.raises(ConnectError, match="refused"):
            await connect(f"unix://{path}")
        with pytest.raises(ConnectError, match="refused"):
            await connect("unix://@socketkit-test-nobody")

    run(main())


def test_abstract_names_leave_no_file(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    url = f"unix://@socketkit-test-{os.getpid()}"

    async def main() -> None:
        async with listen(url) as listener:
            assert str(listener.local) == url
            with pytest.raises(ListenError, match="already in use"):
                await listen(url)
            async with connect(url) as ours:
                theirs = await listener.accept()
                assert str(ours.peer.endpoint) == url
                theirs.abort()

    run(main())
    assert list(tmp_path.iterdir()) == []


def test_names_with_odd_characters(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        for name in ("a%20b", "per%25cent", "%C3%BC", "h%23ash"):
            async with listen(f"unix://{tmp_path}/{name}") as listener, connect(str(listener.local)):
                (await listener.accept()).abort()

    run(main())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_of_many_starters_one_wins(tmp_path: Path) -> None:
    """Processes that find the same dead socket at the same moment; whoever loses leaves the winner alone."""
    program = textwrap.dedent(
        """
        import asyncio, os, sys, socketkit, socketkit.drivers, socketkit.types.unix
        path = sys.argv[1]
        async def main():
            print("ready", flush=True)
            sys.stdin.readline()
            try:
                listener = await socketkit.listen("unix://" + path)
            except socketkit.ListenError as error:
                print("lost", error, flush=True)
                return
            print("won", flush=True)
            async with listener:
                stream = await listener.accept()
                await stream.send(b"%d" % os.getpid())
                await stream.aclose()
        asyncio.run(main())
        """
    )
    for attempt in range(3):
        path = tmp_path / f"{attempt}"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        starters = [
            subprocess.Popen(
                [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for _ in range(6)
        ]
        try:
            for starter in starters:
                assert starter.stdout is not None
                assert starter.stdout.readline() == "ready\n"
            for starter in starters:
                assert starter.stdin is not None
                starter.stdin.write("go\n")
                starter.stdin.flush()
            said = [starter.stdout.readline() for starter in starters if starter.stdout]
            winners = [starter.pid for starter, line in zip(starters, said, strict=True) if line == "won\n"]
            assert len(winners) == 1, said
            assert sum("already in use" in line for line in said) == 5
            with socket.socket(socket.AF_UNIX) as caller:
                caller.settimeout(5)
                caller.connect(str(path))
                assert int(caller.recv(100)) == winners[0]
        finally:
            for starter in starters:
                starter.wait(10)
                for pipe in (starter.stdin, starter.stdout):
                    assert pipe is not None
                    pipe.close()
        assert not path.exists()


def test_a_folder_that_someone_keeps_locked_does_not_hold_us_for_ever(run: Run, path: Path) -> None:
    """Anyone who may read a folder may lock it (man 2 flock), and /tmp may be read by all."""
    folder = os.open(path.parent, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)

    async def main() -> None:
        with pytest.raises(ListenError, match="lock"):
            await listen(f"unix://{path}")

    try:
        run(main())
    finally:
        os.close(folder)


@pytest.mark.privileged
def test_the_kernel_proves_who_called(run: Run) -> None:
    """A caller of another user, by his own process: pid, uid and gid."""
    program = textwrap.dedent(
        """
        import os, socket, sys
        os.setgid(65534); os.setuid(65534)
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(sys.argv[1])
            sock.recv(1)
        """
    )

    async def main() -> None:
        # Not pytest's own folder: others may not enter that.
        with TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            await check(f"{folder}/socket")

    async def check(path: str) -> None:
        async with listen(f"unix://{path}?mode=0666") as listener:
            process = await asyncio.create_subprocess_exec(sys.executable, "-S", "-c", program, path)
            stream = await listener.accept()
            credentials = stream.peer.credentials
            await stream.aclose()
            assert await process.wait() == 0
            assert credentials is not None
            assert (credentials.pid, credentials.uid, credentials.gid) == (process.pid, 65534, 65534)

    run(main())
