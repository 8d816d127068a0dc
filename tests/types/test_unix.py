"""Unix sockets: private paths that are nobody else's, abstract names, and starters that race."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import pwd
import socket
import stat
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from socketkit import ConnectError, EndOfStream, Endpoint, ListenError, connect, listen
from socketkit.types import unix
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


# --- who listens: asked before a byte is sent


@pytest.fixture
def stranger(monkeypatch: pytest.MonkeyPatch) -> int:
    """This process's servers are those of another user, who is not root either. His number."""
    me = os.geteuid()
    monkeypatch.setattr(unix, "ROOT", -1)
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    return me


async def refused(url: str) -> ConnectError:
    with pytest.raises(ConnectError) as raised:
        await connect(url)
    assert raised.value.errno == errno.EPERM
    return raised.value


@pytest.mark.parametrize("place", ["path", "abstract"])
def test_a_server_of_a_stranger(run: Run, tmp_path: Path, stranger: int, place: str) -> None:
    """pytest's folder is below /tmp, where anybody may make one: owning it proves nothing."""
    where = tmp_path / "socket" if place == "path" else f"@socketkit-test-{os.getpid()}"
    me = f"user {pwd.getpwuid(stranger).pw_name} (uid {stranger})"

    async def main() -> None:
        async with listen(f"unix://{where}") as listener:
            assert str(await refused(f"unix://{where}")) == (
                f"connect unix://{where}: {me} listens there, and anybody could: write unix://{where}?uid={stranger} "
                "if that is your server, or have it listen in a folder of its own, as in /run/NAME"
            )
            async with await listener.accept() as seen:
                with pytest.raises(EndOfStream):
                    await seen.receive()
            await refused(f"unix://{where}?uid={stranger + 7}")
            (await listener.accept()).abort()
            for user in (stranger, pwd.getpwuid(stranger).pw_name):
                async with connect(f"unix://{where}?uid={user}") as stream:
                    theirs = await listener.accept()
                    await stream.send(b"x")
                    assert await theirs.receive() == b"x"
                    theirs.abort()

    if place == "path" and not unix._is_open_to_all("/tmp"):
        pytest.skip("/tmp is not open to all here")
    run(main())


def test_ours_and_roots(run: Run, path: Path, stranger: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with listen(f"unix://{path}") as listener:
            await refused(f"unix://{path}")
            (await listener.accept()).abort()
            with monkeypatch.context() as known:
                known.setattr(unix, "ROOT", stranger)
                async with connect(f"unix://{path}"):
                    (await listener.accept()).abort()
            with monkeypatch.context() as known:
                known.setattr(os, "geteuid", lambda: stranger)
                async with connect(f"unix://{path}"):
                    (await listener.accept()).abort()

    run(main())


def test_a_user_without_a_name(stranger: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(uid: int) -> pwd.struct_passwd:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert unix._described(4711) == "uid 4711"


def test_a_user_that_this_machine_does_not_know(run: Run, path: Path) -> None:
    async def main() -> None:
        with pytest.raises(ConnectError, match="no user of this machine is called nobody-has-this-name") as raised:
            await connect(f"unix://{path}?uid=nobody-has-this-name")
        assert raised.value.errno == errno.EINVAL

    run(main())


@pytest.mark.parametrize("open_to_all", ["/tmp", "/tmp/theirs", "/srv/all"])
def test_owning_a_folder_proves_nothing_where_anybody_may_make_one(
    monkeypatch: pytest.MonkeyPatch, open_to_all: str
) -> None:
    modes = {open_to_all: 0o1777}
    links = {"/tmp/theirs": "/srv/all/alice", "/tmp/theirs/deep": "/srv/all/alice/deep"}

    def status(folder: str) -> os.stat_result:
        return os.stat_result((stat.S_IFDIR | modes.get(folder, 0o755), 0, 0, 0, 1000, 0, 0, 0, 0, 0))

    monkeypatch.setattr(os, "stat", status)
    monkeypatch.setattr(os.path, "realpath", lambda folder: links.get(folder, folder))
    assert unix._keeper("/tmp/theirs/deep") is None
    assert unix._keeper("/srv/alice") == 1000


def test_a_folder_that_cannot_be_seen_has_no_keeper(tmp_path: Path) -> None:
    assert unix._keeper(f"{tmp_path}/missing") is None
    assert unix._keeper("/missing") is None


SERVER = """
import os, socket, sys
os.setgid(65534); os.setuid(65534)
listener = socket.socket(socket.AF_UNIX)
name = sys.argv[1]
listener.bind("\\0" + name[1:] if name[0] == "@" else name)
listener.listen()
if name[0] != "@":
    os.chmod(name, 0o666)
print("ready", flush=True)
while True:
    caller, _ = listener.accept()
    print(len(caller.recv(100)), flush=True)
"""


@asynccontextmanager
async def squatter(where: str) -> AsyncIterator[asyncio.StreamReader]:
    """Another user's server; says how many bytes it got of each caller."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-S", "-c", SERVER, where, stdout=pipe)
    assert process.stdout
    try:
        assert await process.stdout.readline() == b"ready\n"
        yield process.stdout
    finally:
        process.kill()
        await process.communicate()


@pytest.mark.privileged
@pytest.mark.parametrize("place", ["/tmp", "his own folder in /tmp", "an abstract name"])
def test_a_squatter_gets_no_byte(run: Run, place: str) -> None:
    async def main() -> None:
        with TemporaryDirectory(dir="/tmp") as folder:
            if place == "/tmp":
                os.chmod(folder, 0o1777)
            else:
                os.chown(folder, 65534, 65534)
            where = f"@socketkit-test-{os.getpid()}" if place == "an abstract name" else f"{folder}/socket"
            async with squatter(where) as got:
                for _ in range(40):
                    assert "(uid 65534) listens there, and anybody could" in str(await refused(f"unix://{where}"))
                    assert await got.readline() == b"0\n"
                async with connect(f"unix://{where}?uid=65534") as stream:
                    await stream.send(b"known")
                    assert await got.readline() == b"5\n"

    run(main())


@pytest.mark.privileged
def test_a_service_in_its_own_folder_is_known(run: Run) -> None:
    """As postgres in /run/postgresql, also by a link such as /var/run."""

    async def main() -> None:
        with TemporaryDirectory(dir="/run") as folder:
            os.chmod(folder, 0o755)
            os.mkdir(f"{folder}/service")
            os.chown(f"{folder}/service", 65534, 65534)
            os.symlink("service", f"{folder}/link")
            async with squatter(f"{folder}/service/socket") as got:
                for name in ("service", "link"):
                    async with connect(f"unix://{folder}/{name}/socket") as stream:
                        await stream.send(b"known")
                        assert await got.readline() == b"5\n"
                os.symlink("service/socket", f"{folder}/socket")
                error = await refused(f"unix://{folder}/socket")
                assert "(uid 65534) listens there, who is neither you, nor root, nor the folder's owner" in str(error)

    run(main())


# --- where a server may make its socket


@pytest.mark.parametrize("above", [False, True])
def test_a_folder_in_which_anybody_could_replace_it(run: Run, tmp_path: Path, above: bool) -> None:
    shared = tmp_path / "shared"
    folder = shared / "private" if above else shared
    folder.mkdir(parents=True)
    (tmp_path / "link").symlink_to(folder)

    async def main() -> None:
        shared.chmod(0o777)
        for place in (folder, tmp_path / "link"):
            with pytest.raises(ListenError, match="anybody could replace the socket") as raised:
                await listen(f"unix://{place}/socket")
            assert raised.value.errno == errno.EPERM
            assert f"chmod +t {shared}" in str(raised.value)
        assert list(folder.iterdir()) == []
        shared.chmod(0o1777)
        async with listen(f"unix://{folder}/socket"):
            pass
        shared.chmod(0o775)
        async with listen(f"unix://{folder}/socket"):
            pass

    run(main())


# --- where the engine may connect by itself


def test_a_path_that_only_known_users_can_take_is_unattended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(folder)
    url = Endpoint.parse(f"unix://{folder}/socket")

    assert unix.unattended(url) == f"{folder}/socket"
    assert unix.unattended(Endpoint.parse(f"unix://{tmp_path}/link/socket")) == f"{folder}/socket", "it may be turned"
    assert unix.unattended(Endpoint.parse("unix://@abstract")) is None
    assert unix.unattended(Endpoint.parse(f"unix://{tmp_path}/missing/socket")) is None
    (folder / "elsewhere").symlink_to("/tmp/socket")
    assert unix.unattended(Endpoint.parse(f"unix://{folder}/elsewhere")) is None
    for mode in (0o770, 0o702, 0o1777):
        folder.chmod(mode)
        assert unix.unattended(url) is None
        folder.chmod(0o755)
        assert unix.unattended(url) is not None
    for mode in (0o777, 0o775):
        tmp_path.chmod(mode)
        assert unix.unattended(url) is None
        tmp_path.chmod(0o700)
    long = folder / ("x" * 60) / ("y" * 60)
    long.mkdir(parents=True)
    (tmp_path / "short").symlink_to(long)
    assert unix.unattended(Endpoint.parse(f"unix://{tmp_path}/short/socket")) is None, "the engine could not write it"
    me = os.geteuid()
    monkeypatch.setattr(unix, "ROOT", -1)
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    assert unix.unattended(url) is None
