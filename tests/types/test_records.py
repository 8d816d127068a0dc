"""What `seqpacket+tls://` and `seqpacket+tcp://` open: addresses, what may be exposed, what TLS must agree on."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from socketkit import (
    ConnectError,
    Endpoint,
    Identity,
    ListenError,
    Messages,
    SocketError,
    UntrustedPeer,
    connect,
    listen,
    serve,
)
from socketkit.types import records
from tests import sk_seq
from tests.conftest import Run
from tests.keys import A

pytestmark = pytest.mark.usefixtures("no_leaks")


async def echo(messages: Messages) -> None:
    async for record in messages:
        await messages.send(record)


def in_thread(work: Callable[[], Any]) -> asyncio.Future[Any]:
    return asyncio.get_running_loop().run_in_executor(None, work)


# --- addresses


@pytest.mark.parametrize("scheme", ["seqpacket+tcp", "seqpacket+tls"])
def test_addresses_keep_their_scheme(run: Run, scheme: str) -> None:
    """And what a server says of itself connects as it stands, pin included."""

    async def main() -> None:
        async with listen(f"{scheme}://127.0.0.1:0", Messages) as listener:
            where = str(listener.local)
            assert where.startswith(f"{scheme}://127.0.0.1:")
            assert ("pin" in listener.local.query) == scheme.endswith("tls")
            accepting = asyncio.ensure_future(listener.accept())
            async with connect(where, Messages) as ours, await accepting as theirs:
                for messages in (ours, theirs):
                    assert messages.local.scheme == messages.peer.endpoint.scheme == scheme
                assert ours.peer.fingerprint == listener.local.query.get("pin")

    run(main())


def test_both_families_and_a_name(run: Run) -> None:
    async def main() -> None:
        async with serve("seqpacket+tls://:0", echo, Messages) as server:
            for host in ("localhost", "127.0.0.1", "::1"):
                async with connect(server.local.replace(host=host), Messages) as ours:
                    await ours.send(host.encode())
                    assert await ours.receive() == host.encode()

    run(main())


def test_another_key_is_refused(run: Run) -> None:
    async def main() -> None:
        async with serve("seqpacket+tls://127.0.0.1:0", echo, Messages) as server:
            with pytest.raises(UntrustedPeer, match="expected was"):
                await connect(server.local.replace(query={"pin": A}), Messages)

    run(main())


def test_first_use_is_kept(run: Run) -> None:
    async def main() -> None:
        identity = Identity.new()
        async with serve("seqpacket+tls://127.0.0.1:0", echo, Messages, identity=identity) as server:
            for _ in range(2):
                async with connect(server.local.replace(query={}), Messages) as ours:
                    assert ours.peer.fingerprint == identity.fingerprint

    run(main())


# --- what may be exposed


def test_plain_text_stays_on_this_machine(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(ListenError, match=r"write seqpacket\+tls://\*:0 to encrypt it") as refused:
            await listen("seqpacket+tcp://*:0", Messages).__aenter__()
        assert "seqpacket+tcp://*:0?plaintext=yes" in str(refused.value)
        with pytest.raises(ConnectError, match=r"write seqpacket\+tls://192.0.2.1:7 to encrypt it"):
            await connect("seqpacket+tcp://192.0.2.1:7", Messages)
        async with listen("seqpacket+tcp://*:0?plaintext=yes", Messages) as listener:
            assert not listener.closed

    run(main())


def test_callers_from_other_machines_must_be_known(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(ListenError, match="anybody on other machines could connect"):
            await listen("seqpacket+tls://*:0", Messages).__aenter__()
        async with listen("seqpacket+tls://*:0?public=yes", Messages) as listener:
            assert listener.local.query.keys() == {"pin"}

    run(main())


# --- the protocol


@pytest.mark.parametrize("offered", [(), ("h2",)])
def test_callers_that_do_not_name_the_protocol_are_refused(run: Run, offered: tuple[str, ...]) -> None:
    def attempt(port: int) -> str:
        try:
            peer = sk_seq.call(port, tls=True, protocols=offered)
        except (OSError, sk_seq.Violation) as refusal:
            return str(refusal)
        peer.sock.close()
        return "accepted"

    async def main() -> None:
        async with listen("seqpacket+tls://127.0.0.1:0", Messages) as listener:
            told = await in_thread(lambda: attempt(listener.local.port or 0))
            assert told != "accepted"
            accepting = asyncio.ensure_future(listener.accept())
            async with connect(listener.local, Messages) as ours, await accepting as theirs:
                await ours.send(b"x")
                assert await theirs.receive() == b"x"
            stats = listener.stats
            assert (stats["accepted"], stats["refused_handshake"]) == (1, 1)

    run(main())


@pytest.mark.parametrize("spoken", [(), ("h2",)])
def test_a_server_that_does_not_name_the_protocol_is_refused(run: Run, tmp_path: Path, spoken: tuple[str, ...]) -> None:
    identity = Identity.new()
    (tmp_path / "pem").write_bytes(identity._pem)

    def serve(door: socket.socket) -> bytes:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "pem")
        if spoken:
            context.set_alpn_protocols(list(spoken))
        with suppress(OSError), context.wrap_socket(door.accept()[0], server_side=True) as sock:
            return sock.recv(100)
        return b""

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as door:
            serving = in_thread(lambda: serve(door))
            where = f"seqpacket+tls://127.0.0.1:{door.getsockname()[1]}?pin={identity.fingerprint}"
            with pytest.raises(SocketError, match=r"sk-seq/1|ALPN|application protocol"):
                await connect(Endpoint.parse(where), Messages)
            assert await serving == b"", "nothing was sent"

    run(main())


def test_the_protocol_has_its_name() -> None:
    assert records.PROTOCOL == sk_seq.PROTOCOL
