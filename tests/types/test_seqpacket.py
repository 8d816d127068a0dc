"""Records that the kernel carries: Unix, SCTP (played where the kernel lacks it) and vsock."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from socketkit import ConnectError, Endpoint, Limits, ListenError, Unsupported
from socketkit.drivers import LoopDriver
from socketkit.types import seqpacket, unix, vsock
from socketkit.types.options import Opened
from tests.conftest import Run

pytestmark = pytest.mark.usefixtures("no_leaks")


async def listening(url: str) -> Opened:
    return await seqpacket.open_listener(Endpoint.parse(url), LoopDriver.current(), Limits())


async def calling(url: str | Endpoint) -> Opened:
    return await seqpacket.connect_socket(Endpoint.parse(url), LoopDriver.current(), Limits())


def accepted(opened: Opened) -> socket.socket:
    opened.sock.settimeout(5)
    sock, _ = opened.sock.accept()
    sock.settimeout(5)
    return sock


def closed(*opened: Opened) -> None:
    for each in opened:
        for sock in (each.sock, *each.held):
            sock.close()
        each.remove()


# --- Unix


def test_a_path_is_its_owners_only_and_goes_with_it(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "socket"

    async def main() -> None:
        there = await listening(f"seqpacket+unix://{path}?mode=0640")
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        assert (there.kind, there.held) == ("unix-record", ())
        with pytest.raises(ListenError, match="already in use"):
            await listening(f"seqpacket+unix://{path}")
        closed(there)
        assert not path.exists()

    run(main())


@pytest.mark.parametrize("place", ["path", "abstract"])
def test_records_are_whole_and_an_empty_one_is_no_end(run: Run, tmp_path: Path, place: str) -> None:
    """On both sides: the end is what comes without a word of who sent it."""
    name = f"{tmp_path}/socket" if place == "path" else f"@socketkit-seqpacket-{os.getpid()}"

    async def main() -> None:
        there = await listening(f"seqpacket+unix://{name}")
        ours = await calling(f"seqpacket+unix://{name}")
        assert (ours.kind, str(ours.where)) == ("unix-record", f"seqpacket+unix://{name}")
        assert not ours.sock.getblocking()
        with accepted(there) as theirs:
            for sender, receiver in ((ours.sock, theirs), (theirs, ours.sock)):
                receiver.settimeout(5)
                for record in (b"", b"x" * 70_000, b""):
                    sender.send(record)
                    data, told, *_ = receiver.recvmsg(100_000, 64)
                    assert data == record
                    assert [(level, kind) for level, kind, _ in told] == [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS)]
                sender.shutdown(socket.SHUT_WR)
                assert receiver.recvmsg(10, 64)[:2] == (b"", [])
        closed(ours, there)

    run(main())


def test_who_listens_is_asked(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"seqpacket+unix://{tmp_path}/socket"
    me = os.geteuid()

    async def main() -> None:
        there = await listening(url)
        monkeypatch.setattr(unix, "ROOT", -1)
        monkeypatch.setattr(os, "geteuid", lambda: me + 1)
        with pytest.raises(ConnectError, match=f"uid={me}") as raised:
            await calling(url)
        assert raised.value.errno == errno.EPERM
        closed(await calling(f"{url}?uid={me}"), there)

    run(main())


def test_another_kind_of_socket(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        with socket.socket(socket.AF_UNIX) as stream:
            stream.bind(f"{tmp_path}/socket")
            stream.listen()
            with pytest.raises(ConnectError, match="compare the schemes"):
                await calling(f"seqpacket+unix://{tmp_path}/socket")
        with pytest.raises(ConnectError, match="no such path"):
            await calling(f"seqpacket+unix://{tmp_path}/missing")

    run(main())


# --- SCTP


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> None:
    """TCP in its place: what is asked of both is the same, but for the borders."""
    monkeypatch.setattr(seqpacket, "IPPROTO_SCTP", socket.IPPROTO_TCP)
    monkeypatch.setattr(seqpacket, "SCTP_NODELAY", socket.TCP_NODELAY)


def kernel_has_sctp() -> bool:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, seqpacket.IPPROTO_SCTP).close()
    except OSError:
        return False
    return True


def test_the_kernel_at_hand(run: Run) -> None:
    async def main() -> None:
        if not kernel_has_sctp():
            for opening, operation in ((listening, "listen"), (calling, "connect")):
                with pytest.raises(Unsupported) as raised:
                    await opening("sctp://:7")
                assert str(raised.value) == f"{operation} sctp://:7: this kernel lacks SCTP: `modprobe sctp`"
            return
        there = await listening("sctp://:0")
        ours = await calling(there.where)
        with accepted(there) as theirs:
            ours.sock.send(b"one")
            ours.sock.send(b"two")
            for message in (b"one", b"two"):
                data, _, flags, _ = theirs.recvmsg(10)
                assert (data, flags & socket.MSG_EOR) == (message, socket.MSG_EOR)
        closed(ours, there)

    run(main())


def test_no_host_is_both_loopback_addresses(run: Run, played: None) -> None:
    async def main() -> None:
        there = await listening("sctp://:0")
        assert (there.kind, str(there.where)) == ("sctp", f"sctp://localhost:{there.where.port}")
        hosts = [sock.getsockname()[0] for sock in (there.sock, *there.held)]
        assert hosts == ["127.0.0.1", "::1"]
        for host, sock in zip(("127.0.0.1", "[::1]"), (there.sock, *there.held), strict=True):
            ours = await calling(f"sctp://{host}:{there.where.port}")
            assert (ours.kind, str(ours.where)) == ("sctp", f"sctp://{host}:{there.where.port}")
            assert not ours.sock.getblocking()
            assert ours.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            accepted(there._replace(sock=sock)).close()
            closed(ours)
        with pytest.raises(ListenError, match="already in use"):
            await listening(str(there.where))
        closed(await calling(there.where), there)

    run(main())


def test_one_address(run: Run, played: None) -> None:
    async def main() -> None:
        there = await listening("sctp://127.0.0.1:0")
        assert there.held == ()
        port = there.where.port
        closed(there)
        for host in ("127.0.0.1", ""):
            with pytest.raises(ConnectError, match="refused: nothing listens there"):
                await calling(f"sctp://{host}:{port}")
        with pytest.raises(ListenError, match="no such address"):
            await listening("sctp://192.0.2.77:0?plaintext=yes")

    run(main())


def test_plain_text_beyond_this_machine_must_be_written_out(run: Run, played: None) -> None:
    async def main() -> None:
        for url, opening, kind in (
            ("sctp://*:7", listening, ListenError),
            ("sctp://192.0.2.1:7", listening, ListenError),
            ("sctp://192.0.2.1:7", calling, ConnectError),
        ):
            with pytest.raises(kind, match="plaintext=yes") as raised:
                await opening(url)
            assert raised.value.errno == errno.EPERM
            assert url.replace("sctp", "seqpacket+tls") in str(raised.value)

    run(main())


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch, played: None) -> Iterator[Callable[[int], None]]:
    """From its call on, sockets cannot be made."""
    real = seqpacket._sctp_socket

    def fail(number: int) -> None:
        def made(family: int) -> socket.socket:
            raise OSError(number, "")

        monkeypatch.setattr(seqpacket, "_sctp_socket", made)

    yield fail
    monkeypatch.setattr(seqpacket, "_sctp_socket", real)


def test_no_socket_is_left(run: Run, failing: Callable[[int], None]) -> None:
    async def main() -> None:
        failing(errno.EMFILE)
        for opening in (listening, calling):
            with pytest.raises(OSError, match="ulimit -n"):
                await opening("sctp://127.0.0.1:7")

    run(main())


def test_an_address_without_a_route(run: Run, played: None, monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(*_: object) -> Sequence[tuple[int, tuple[Any, ...]]]:
        return [(socket.AF_INET, ("255.255.255.255", 7))]

    monkeypatch.setattr(seqpacket, "resolve", resolve)

    async def main() -> None:
        with pytest.raises(ConnectError, match="no route"):
            await calling("sctp://name.test:7?plaintext=yes")

    run(main())


# --- vsock


def test_vsock_is_opened_for_both_shapes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    given = []

    def open_listener(endpoint: Endpoint, limits: Limits, kind: int) -> tuple[int, Endpoint]:
        given.append(kind)
        return socket.socket(socket.AF_UNIX, kind).detach(), endpoint

    async def connect_socket(endpoint: Endpoint, driver: object, limits: Limits) -> socket.socket:
        return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    monkeypatch.setattr(vsock, "open_listener", open_listener)
    monkeypatch.setattr(vsock, "connect_socket", connect_socket)

    async def main() -> None:
        for url, kind in (("vsock://:7", "stream"), ("seqpacket+vsock://:7", "vsock")):
            there = await listening(url)
            assert there.kind == kind
            closed(there)
        ours = await calling("seqpacket+vsock://:7")
        assert ours.kind == "vsock"
        closed(ours)

    run(main())
    assert given == [socket.SOCK_STREAM, socket.SOCK_SEQPACKET]
    assert seqpacket.connect is vsock.connect
