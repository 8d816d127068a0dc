"""vsock: what would leave the machine is refused; with a loopback transport, real or played, it works as TCP does."""

from __future__ import annotations

import errno
import io
import os
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from socketkit import ConnectError, Endpoint, Limits, ListenError, SocketError, Stream, Unsupported
from socketkit.drivers import LoopDriver, ThreadDriver
from socketkit.sockaddr import AF_VSOCK, CID_ANY, CID_LOCAL, PORT_ANY
from socketkit.types import vsock
from tests.conftest import Run
from tests.types.test_datagram import at_once

pytestmark = pytest.mark.usefixtures("no_leaks")


def kernel_has_vsock() -> bool:
    try:
        socket.socket(AF_VSOCK, socket.SOCK_STREAM).close()
    except OSError:
        return False
    return True


class Played(socket.socket):
    """vsock on Unix sockets with abstract names: (cid, port) is part of the name."""

    own = (CID_LOCAL, 3)  # the context ids of this machine

    def __init__(self, family: int = -1, kind: int = -1, proto: int = -1, fileno: int | None = None) -> None:
        self._played = family == AF_VSOCK
        super().__init__(socket.AF_UNIX if self._played else family, kind, proto, fileno)

    def setsockopt(self, level: int, *rest: Any) -> None:
        if level == AF_VSOCK:
            option, value = rest
            assert option == vsock.SO_VM_SOCKETS_CONNECT_TIMEOUT
            assert struct.unpack("@ll", value) > (0, 0)
            return
        super().setsockopt(level, *rest)

    def bind(self, address: Any) -> None:
        if not self._played:
            super().bind(address)
            return
        cid, port = address
        if cid not in (*self.own, CID_ANY):
            raise OSError(errno.EADDRNOTAVAIL, "not ours")
        if port == PORT_ANY:
            port = 40_000 + self.fileno()
        self._name = (cid, port)
        super().bind(f"\0socketkit-vsock-{os.getpid()}-{port}")

    def getsockname(self) -> Any:
        return getattr(self, "_name", None) or super().getsockname()

    def connect_ex(self, address: Any) -> int:
        if not self._played:
            return super().connect_ex(address)
        cid, port = address
        assert cid in self.own, "it would leave the machine"
        return super().connect_ex(f"\0socketkit-vsock-{os.getpid()}-{port}")


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", Played)
    monkeypatch.setattr(vsock, "local_cid", lambda: 3)


@pytest.fixture
def no_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A virtual machine whose kernel sends to the host what it does not know; connecting fails the test."""
    monkeypatch.setattr(socket, "socket", Played)
    monkeypatch.setattr(Played, "own", (3,))
    monkeypatch.setattr(vsock, "local_cid", lambda: 3)

    def connect_ex(self: Played, address: Any) -> int:
        raise AssertionError("it would leave the machine")

    monkeypatch.setattr(Played, "connect_ex", connect_ex)


async def called(url: str) -> Any:
    endpoint = Endpoint.parse(url)
    driver = LoopDriver.current()
    if "seqpacket" in url:
        return await vsock.connect_socket(endpoint, driver, Limits())
    return await vsock.connect(Stream, endpoint, driver, Limits())


# --- what would leave


@pytest.mark.parametrize("url", ["vsock://:7", "vsock://1:7", "vsock://3:7", "vsock://*:7", "seqpacket+vsock://1:7"])
def test_what_is_meant_for_this_machine_does_not_leave_it(run: Run, no_loopback: None, url: str) -> None:
    async def main() -> None:
        with pytest.raises(
            Unsupported, match=r"would send this to the machine's host.*modprobe vsock_loopback"
        ) as raised:
            await called(url)
        assert (raised.value.operation, str(raised.value.endpoint)) == ("connect", url)

    run(main())


def test_without_loopback_nobody_listens_on_it(no_loopback: None) -> None:
    for url in ("vsock://:7", "vsock://1:7"):
        with pytest.raises(Unsupported, match="modprobe vsock_loopback"):
            vsock.open_listener(Endpoint.parse(url), Limits())


def test_the_kernel_at_hand() -> None:
    """Whichever it is: nothing is sent unless it has the loopback transport."""
    if not kernel_has_vsock():
        with pytest.raises(Unsupported, match="modprobe vsock"):
            vsock.open_listener(Endpoint.parse("vsock://:0"), Limits())
        return
    cid = vsock.local_cid()
    assert cid is None or 0 <= cid < CID_ANY
    if vsock.has_loopback():
        fd, taken = vsock.open_listener(Endpoint.parse("vsock://:0"), Limits())
        os.close(fd)
        assert taken.host == "1" and taken.port
    else:
        with pytest.raises(Unsupported, match="modprobe vsock_loopback"):
            vsock.open_listener(Endpoint.parse("vsock://:0"), Limits())
    with pytest.raises(ListenError, match="not this machine's context id") as raised:
        vsock.open_listener(Endpoint.parse("vsock://4000000000:0"), Limits())
    assert raised.value.errno == errno.EADDRNOTAVAIL


# --- with a loopback transport


def listener(url: str, kind: int = socket.SOCK_STREAM) -> tuple[socket.socket, Endpoint]:
    fd, taken = vsock.open_listener(Endpoint.parse(url), Limits(), kind)
    return socket.socket(fileno=fd), taken


@pytest.mark.parametrize("written", ["vsock://:0", "vsock://1:0", "vsock://3:0", "vsock://*:0"])
def test_streams(run: Run, played: None, written: str) -> None:
    async def main() -> None:
        there, taken = listener(written)
        assert str(taken).rpartition(":")[0] == {"vsock://:0": "vsock://1"}.get(written, written[:-2])
        stream = await called(str(taken))
        theirs, _ = there.accept()
        await stream.send(b"x")
        assert theirs.recv(10) == b"x"
        assert stream.encrypted is False
        await stream.aclose()
        theirs.close()
        there.close()

    run(main())


def test_records(run: Run, played: None) -> None:
    async def main() -> None:
        there, taken = listener("seqpacket+vsock://:0", socket.SOCK_SEQPACKET)
        with there, await called(str(taken)) as sock:
            assert sock.type == socket.SOCK_SEQPACKET
            assert not sock.getblocking()
            theirs, _ = there.accept()
            with theirs:
                sock.send(b"one")
                sock.send(b"two")
                assert (theirs.recv(10), theirs.recv(10)) == (b"one", b"two")

    run(main())


@pytest.mark.parametrize("seconds", [0.25, 10.0])
def test_the_kernels_patience_is_ours(played: None, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    given = []

    def setsockopt(self: Played, level: int, *rest: Any) -> None:
        if level == AF_VSOCK:
            given.append(struct.unpack("@ll", rest[1]))

    monkeypatch.setattr(Played, "setsockopt", setsockopt)
    limits = Limits(connect_seconds=seconds)
    with pytest.raises(ConnectError):
        at_once(vsock.connect_socket(Endpoint.parse("seqpacket+vsock://:7"), ThreadDriver(), limits))
    assert given == [(int(seconds), int(seconds % 1 * 1e6))]


def test_an_attempt_that_takes_its_time(run: Run, played: None, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Played.connect_ex

    def connect_ex(self: Played, address: Any) -> int:
        return real(self, address) or errno.EINPROGRESS

    monkeypatch.setattr(Played, "connect_ex", connect_ex)

    async def main() -> None:
        for scheme, kind in (("vsock", socket.SOCK_STREAM), ("seqpacket+vsock", socket.SOCK_SEQPACKET)):
            there, taken = listener(f"{scheme}://:0", kind)
            opened = await called(str(taken))
            theirs, _ = there.accept()
            for each in (theirs, there):
                each.close()
            if isinstance(opened, Stream):
                opened.abort()
            else:
                opened.close()

    run(main())


def test_nobody_listens(run: Run, played: None) -> None:
    async def main() -> None:
        for url in ("vsock://:7", "seqpacket+vsock://:7"):
            with pytest.raises(ConnectError, match="refused") as raised:
                await called(url)
            assert raised.value.errno == errno.ECONNREFUSED

    run(main())


def test_a_taken_port(played: None) -> None:
    there, taken = listener("vsock://:0")
    with there, pytest.raises(ListenError, match="already in use"):
        listener(str(taken))


# --- what a kernel may lack


@pytest.fixture
def lacking(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    def lack(number: int) -> None:
        def made(*_: Any) -> None:
            raise OSError(number, "")

        monkeypatch.setattr(socket, "socket", made)

    yield lack


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.EAFNOSUPPORT, Unsupported, "this kernel lacks vsock: `modprobe vsock`"),
        (errno.ENODEV, Unsupported, "no transport leads there"),
        (errno.ESOCKTNOSUPPORT, Unsupported, "Linux 5.14"),
        (errno.EMFILE, SocketError, "ulimit -n"),
    ],
)
def test_what_the_kernel_lacks(
    lacking: Callable[[int], None], number: int, kind: type[SocketError], words: str
) -> None:
    lacking(number)
    with pytest.raises(kind, match=words):
        vsock.open_listener(Endpoint.parse("vsock://:0"), Limits())
    with pytest.raises(kind, match=words):
        at_once(vsock.connect_socket(Endpoint.parse("seqpacket+vsock://2:7"), ThreadDriver(), Limits()))


def test_the_context_id_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    import builtins
    import fcntl

    answers = iter([struct.pack("=I", 77), struct.pack("=I", CID_ANY)])
    monkeypatch.setattr(builtins, "open", lambda path, mode: io.BytesIO())
    monkeypatch.setattr(fcntl, "ioctl", lambda device, request, buffer: next(answers))
    assert vsock.local_cid() == 77
    assert vsock.local_cid() is None

    def missing(path: str, mode: str) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(builtins, "open", missing)
    assert vsock.local_cid() is None
