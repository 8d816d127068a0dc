"""What may be opened without more being written: plain text beyond this machine, and callers that nobody identifies."""

from __future__ import annotations

import errno
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from socketkit import ConnectError, Endpoint, ListenError, SocketError, connect, listen, relay, serve, sync
from socketkit.drivers import LoopDriver, ThreadDriver
from socketkit.exposure import (
    inherited_refusal,
    is_loopback,
    is_plain_text,
    plain_text_refusal,
    reaches_only_this_machine,
    require_identified,
    require_private,
)
from tests.conftest import Run

pytestmark = pytest.mark.usefixtures("no_leaks")

LOOPBACK = ["127.0.0.1", "127.0.1.1", "127.255.255.254", "::1", "::ffff:127.0.0.1", "::ffff:127.8.0.1", "::1%lo"]
UNSPECIFIED = ["0.0.0.0", "::", "::ffff:0.0.0.0"]
ELSEWHERE = [
    "192.0.2.1",
    "10.0.0.1",
    "126.255.255.255",
    "128.0.0.1",
    "255.255.255.255",
    "2001:db8::1",
    "fe80::1%eth0",
    "::2",
    "::127.0.0.1",
    "::ffff:192.0.2.1",
    "64:ff9b::7f00:1",
    "7f00::1",
]


def at(*hosts: str) -> list[tuple[int, tuple[Any, ...]]]:
    """Resolved addresses as `socket` writes them."""
    return [(socket.AF_INET6, (host, 7000, 0, 0)) if ":" in host else (socket.AF_INET, (host, 7000)) for host in hosts]


# --- addresses


@pytest.mark.parametrize("host", LOOPBACK)
def test_loopback(host: str) -> None:
    (_, sockaddr), *_ = at(host)
    assert is_loopback(sockaddr)
    assert reaches_only_this_machine(sockaddr)


@pytest.mark.parametrize("host", UNSPECIFIED)
def test_the_unspecified_address_is_heard_everywhere_and_called_here(host: str) -> None:
    (_, sockaddr), *_ = at(host)
    assert not is_loopback(sockaddr)
    assert reaches_only_this_machine(sockaddr)


def test_the_kernel_calls_this_machine_by_the_unspecified_address() -> None:
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.create_server((host, 0), family=family) as server, socket.socket(family) as caller:
            caller.connect(("0.0.0.0" if family == socket.AF_INET else "::", server.getsockname()[1]))
            assert caller.getpeername()[0] == host


@pytest.mark.parametrize("host", ELSEWHERE)
def test_elsewhere(host: str) -> None:
    (_, sockaddr), *_ = at(host)
    assert not is_loopback(sockaddr)
    assert not reaches_only_this_machine(sockaddr)


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("tcp://h:1", True),
        ("tcp4://h:1", True),
        ("tcp6://h:1", True),
        ("seqpacket+tcp://h:1", True),
        ("tls://h:1", False),
        ("seqpacket+tls://h:1", False),
        ("quic://h:1", False),
        ("unix:///x", False),
        ("tls+unix:///x", False),
        ("mem://x", False),
    ],
)
def test_plain_text(url: str, plain: bool) -> None:
    assert is_plain_text(Endpoint.parse(url)) == plain


# --- listening


@pytest.mark.parametrize(
    ("url", "hosts", "refused"),
    [
        ("tcp://:1", ["127.0.0.1", "::1"], False),
        ("tcp://name:1", ["127.0.1.1"], False),
        ("tcp://*:1", ["0.0.0.0", "::"], True),
        ("tcp4://0.0.0.0:1", ["0.0.0.0"], True),
        ("tcp6://[::]:1", ["::"], True),
        ("tcp://[::ffff:0.0.0.0]:1", ["::ffff:0.0.0.0"], True),
        ("tcp://name:1", ["127.0.0.1", "192.0.2.1"], True),
        ("tcp://192.0.2.1:1", ["192.0.2.1"], True),
        ("seqpacket+tcp://192.0.2.1:1", ["192.0.2.1"], True),
        ("tcp://*:1?plaintext=yes", ["0.0.0.0", "::"], False),
        ("tls://*:1", ["0.0.0.0", "::"], False),
    ],
)
def test_listening_in_plain_text(url: str, hosts: list[str], refused: bool) -> None:
    endpoint = Endpoint.parse(url)
    if not refused:
        require_private(endpoint, at(*hosts))
        return
    with pytest.raises(ListenError, match="plain text") as raised:
        require_private(endpoint, at(*hosts))
    assert (raised.value.errno, raised.value.operation, raised.value.endpoint) == (errno.EPERM, "listen", endpoint)
    assert not raised.value.transient


@pytest.mark.parametrize(
    ("url", "hosts", "authorized", "refused"),
    [
        ("tls://:1", ["127.0.0.1", "::1"], False, False),
        ("tls://*:1", ["0.0.0.0", "::"], False, True),
        ("tls://*:1", ["0.0.0.0", "::"], True, False),
        ("tls://*:1?public=yes", ["0.0.0.0", "::"], False, False),
        ("seqpacket+tls://192.0.2.1:1", ["192.0.2.1"], False, True),
        ("tls://name:1", ["127.0.0.1", "192.0.2.1"], False, True),
    ],
)
def test_listening_for_anybody(url: str, hosts: list[str], authorized: bool, refused: bool) -> None:
    endpoint = Endpoint.parse(url)
    if not refused:
        require_identified(endpoint, at(*hosts), authorized)
        return
    with pytest.raises(ListenError, match="anybody") as raised:
        require_identified(endpoint, at(*hosts), authorized)
    assert (raised.value.errno, raised.value.operation, raised.value.endpoint) == (errno.EPERM, "listen", endpoint)


# --- connecting


@pytest.mark.parametrize(
    ("url", "host", "refused"),
    [
        *(("tcp://name:7000", host, False) for host in (*LOOPBACK, *UNSPECIFIED)),
        *(("tcp://name:7000", host, True) for host in ELSEWHERE),
        ("seqpacket+tcp://name:7000", "192.0.2.1", True),
        ("tcp://name:7000?plaintext=yes", "192.0.2.1", False),
        ("tls://name:7000", "192.0.2.1", False),
    ],
)
def test_connecting_in_plain_text(url: str, host: str, refused: bool) -> None:
    (_, sockaddr), *_ = at(host)
    where = Endpoint.parse("tcp://192.0.2.1:7000")
    refusal = plain_text_refusal(Endpoint.parse(url), where, sockaddr)
    assert (refusal is not None) == refused
    if refusal is not None:
        assert (refusal.errno, refusal.operation, refusal.endpoint) == (errno.EPERM, "connect", where)


# --- sockets that were handed over


@pytest.mark.parametrize(
    ("url", "host", "refused"),
    [
        ("fd://3", "127.0.0.1", False),
        ("fd://3", "::1", False),
        ("fd://3", "0.0.0.0", True),
        ("fd://3", "::", True),
        ("fd://web", "192.0.2.1", True),
        ("fd://3?plaintext=yes", "0.0.0.0", False),
    ],
)
@pytest.mark.parametrize(("operation", "kind"), [("listen", ListenError), ("connect", ConnectError)])
def test_inherited(url: str, host: str, refused: bool, operation: str, kind: type[SocketError]) -> None:
    (_, sockaddr), *_ = at(host)
    refusal = inherited_refusal(Endpoint.parse(url), kind, operation, sockaddr)
    assert (refusal is not None) == refused
    if refusal is not None:
        assert isinstance(refusal, kind)
        assert (refusal.errno, refusal.operation, str(refusal.endpoint)) == (errno.EPERM, operation, url)


# --- what the refusals say: each way out is an address that can be copied


def refused(call: Callable[..., object], *arguments: object) -> str:
    try:
        return str(call(*arguments))
    except SocketError as error:
        return str(error)


def test_the_words() -> None:
    everywhere, there = at("0.0.0.0", "::"), at("192.0.2.1")
    assert refused(require_private, Endpoint.parse("tcp4://*:7000"), everywhere) == (
        "listen tcp4://*:7000: plain text would be open to other machines: write tls://*:7000 to encrypt it, "
        "tcp4://*:7000?plaintext=yes to allow it, or leave the host out to stay on this machine (tcp4://:7000)"
    )
    url = Endpoint.parse("seqpacket+tcp://db.example:5432")
    assert refused(plain_text_refusal, url, url, there[0][1]) == (
        "connect seqpacket+tcp://db.example:5432: plain text could be read and changed on its way: "
        "write seqpacket+tls://db.example:5432 to encrypt it, "
        "or seqpacket+tcp://db.example:5432?plaintext=yes to allow it"
    )
    assert refused(require_identified, Endpoint.parse("tls://*:7000?alpn=h2"), everywhere, False) == (
        "listen tls://*:7000?alpn=h2: anybody on other machines could connect: let those in who may, by their "
        "keys (`socketkit trust add --authorized sk1:...`), write tls://*:7000?alpn=h2&public=yes to serve everybody, "
        "or leave the host out to stay on this machine (tls://:7000?alpn=h2)"
    )
    assert refused(inherited_refusal, Endpoint.parse("fd://3"), ListenError, "listen", ("::", 80, 0, 0)) == (
        "listen fd://3: plain text on [::]:80 is open to other machines: write fd://3?plaintext=yes to allow it, "
        "or have a socket on 127.0.0.1 or ::1 handed over"
    )


# --- every verb obeys, and before the first packet: there is not even a socket


@pytest.fixture
def no_socket(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on, making a socket fails the test."""

    def forbid() -> None:
        def made(*_: object, **__: object) -> None:
            raise AssertionError("a socket was made")

        monkeypatch.setattr(socket, "socket", made)

    return forbid


async def ignore(stream: object) -> None:
    raise AssertionError("nobody can have come")


def resolving_to(*hosts: str) -> Callable[..., Any]:
    async def resolve(self: object, host: str, port: int, family: int) -> Sequence[tuple[int, tuple[Any, ...]]]:
        return at(*hosts)

    return resolve


@pytest.mark.parametrize("host", ["192.0.2.1", "[2001:db8::1]", "[::ffff:192.0.2.1]", "in-the-hosts-file.test"])
def test_no_verb_connects_in_plain_text(
    run: Run, no_socket: Callable[[], None], monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    url = f"tcp://{host}:7000"
    for driver in (LoopDriver, ThreadDriver):
        monkeypatch.setattr(driver, "resolve", resolving_to("192.0.2.1", "2001:db8::1"))

    async def main() -> None:
        async with listen("tcp://127.0.0.1:0") as listener, listen("mem://") as inside:
            no_socket()
            for refusing in (connect(url), relay(listener, url), relay(inside, url)):
                with pytest.raises(ConnectError, match="plaintext=yes") as raised:
                    await refusing
                assert raised.value.errno == errno.EPERM
            monkeypatch.undo()

    run(main())
    with sync.listen("tcp://127.0.0.1:0") as listener:
        monkeypatch.setattr(ThreadDriver, "resolve", resolving_to("192.0.2.1"))
        no_socket()
        for call in (lambda: sync.connect(url), lambda: sync.relay(listener, url)):
            with pytest.raises(ConnectError, match="plaintext=yes"):
                call()
        monkeypatch.undo()


@pytest.mark.parametrize("host", ["*", "0.0.0.0", "[::]", "192.0.2.1", "[::ffff:0.0.0.0]", "in-the-hosts-file.test"])
def test_no_verb_listens_in_plain_text(
    run: Run, no_socket: Callable[[], None], monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    url = f"tcp://{host}:0"
    for driver in (LoopDriver, ThreadDriver):
        monkeypatch.setattr(driver, "resolve", resolving_to("127.0.0.1", "192.0.2.1"))

    async def main() -> None:
        LoopDriver.current()
        no_socket()
        for refusing in (listen(url), serve(url, ignore)):
            with pytest.raises(ListenError, match="plaintext=yes") as raised:
                await refusing
            assert raised.value.errno == errno.EPERM
        for call in (lambda: sync.listen(url), lambda: sync.serve(url, print).run()):
            with pytest.raises(ListenError, match="plaintext=yes"):
                call()
        monkeypatch.undo()

    run(main())


def test_a_name_of_this_machine_may_be_listened_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian gives a machine's own name 127.0.1.1 in the hosts file."""
    monkeypatch.setattr(LoopDriver, "resolve", resolving_to("127.0.1.1"))

    async def main() -> None:
        async with listen("tcp://name.test:0") as listener:
            assert listener.local.host == "name.test"

    run(main())


# --- with the word for it: in a network of our own, which nothing leaves


@pytest.mark.slow
@pytest.mark.privileged
def test_what_is_written_out_is_done(program: Callable[[str], str]) -> None:
    """192.0.2.1 is this machine's in a namespace: refused without the word, used with it."""
    script = textwrap.dedent(
        """
        import asyncio, socketkit
        async def answer(stream):
            await stream.send(b"served")
        async def tries(awaitable):
            try:
                await awaitable
            except socketkit.SocketError as error:
                print(type(error).__name__, error.errno)
        async def main():
            await tries(socketkit.listen("tcp://192.0.2.1:0"))
            for host in ("192.0.2.1", "[2001:db8::1]", "*"):
                async with socketkit.serve(f"tcp://{host}:0?plaintext=yes", answer) as server:
                    port = server.local.port
                    called = "192.0.2.1" if host == "*" else host
                    await tries(socketkit.connect(f"tcp://{called}:{port}"))
                    async with socketkit.connect(f"tcp://{called}:{port}?plaintext=yes") as stream:
                        print(await stream.receive())
                    async with socketkit.connect(str(server.local)) as stream:
                        print(await stream.receive())
                    async with socketkit.listen("tcp://127.0.0.1:0") as listener:
                        relaying = asyncio.ensure_future(
                            asyncio.wait_for(socketkit.relay(listener, f"tcp://{called}:{port}?plaintext=yes"), 10)
                        )
                        async with socketkit.connect(listener.local) as stream:
                            print(await stream.receive())
                        relaying.cancel()
                        await asyncio.wait([relaying])
        asyncio.run(main())
        """
    )
    ip = program("ip")
    setup = (
        f"{ip} link set lo up && {ip} address add 192.0.2.1/32 dev lo && "
        f"{ip} address add 2001:db8::1/128 dev lo && "
        'exec "$0" -c "$1"'
    )
    command = [program("unshare"), "--net", "sh", "-c", setup, sys.executable, script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    served = "ConnectError 1\nb'served'\nb'served'\nb'served'\n"
    assert (done.stdout, done.stderr) == ("ListenError 1\n" + 3 * served, "")
