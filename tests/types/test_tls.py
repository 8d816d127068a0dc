"""TLS over TCP and Unix sockets: who is trusted, what an impostor gets, and what becomes of an address."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from socketkit import (
    BrokenConnection,
    ClosedConnection,
    ConnectError,
    EndOfStream,
    Endpoint,
    Identity,
    IdentityError,
    Limits,
    ListenError,
    PeerViolation,
    SocketError,
    Stream,
    Trust,
    UntrustedPeer,
    connect,
    listen,
    securing,
    serve,
    sync,
)
from socketkit.authorized_peers import AuthorizedPeers
from socketkit.drivers import LoopDriver
from socketkit.known_peers import KnownPeers, place_of
from socketkit.testing import stream_pair
from socketkit.testing.claims import all_of, numbered, started, turns
from socketkit.types import tls
from tests.conftest import Run
from tests.keys import A
from tests.relays import Wire

pytestmark = pytest.mark.usefixtures("no_leaks")

LIMITS = Limits(close_seconds=0.2)


async def echo(stream: Stream) -> None:
    with suppress(SocketError):
        async for chunk in stream:
            await stream.send(chunk)


async def who(stream: Stream) -> None:
    """Tells a client whom it is taken for."""
    with suppress(SocketError):
        await stream.send(f"{stream.peer.fingerprint}\n".encode())


async def asked(where: object, **how: Any) -> str:
    """What `who` says."""
    async with connect(where, **how) as stream:  # type: ignore[arg-type]
        return (await stream.receive_until(b"\n")).decode().strip()


def bare(endpoint: Endpoint, **parameters: str) -> Endpoint:
    """The address without what it says of keys."""
    return endpoint.replace(query=parameters)


# --- whom a client trusts


def test_the_key_in_the_address(run: Run) -> None:
    async def main() -> None:
        async with serve("tls://127.0.0.1:0", echo) as server:
            mine = Identity.of_user().fingerprint
            assert server.local.query == {"pin": mine}
            async with connect(server.local) as stream:
                assert stream.encrypted
                assert stream.peer.fingerprint == mine
                await stream.send(b"x")
                assert await stream.receive() == b"x"
            assert KnownPeers().entries() == ()
            with pytest.raises(UntrustedPeer) as refused:
                await connect(bare(server.local, pin=A))
            assert (refused.value.presented, refused.value.expected) == (mine, (A,))
            assert mine in str(refused.value)
            assert A in str(refused.value)

    run(main())


def test_an_impostor_gets_nothing(run: Run) -> None:
    """Neither a byte of the application's nor who called."""

    async def main() -> None:
        async with Wire("tls://127.0.0.1:0", identity=Identity.new()) as wire:
            with pytest.raises(UntrustedPeer):
                await connect(bare(wire.local, pin=A), identity=Identity.new())
            await wire.settled()
            # A ClientHello, the change_cipher_spec for middleboxes, and an alert under the handshake's keys.
            kinds = [kind for kind, _ in wire.records("client")]
            assert kinds == [22, 20, 23]
            assert len(wire.records("client")[-1][1]) == 2 + 1 + 16

    run(main())


def test_first_use_is_kept_and_a_change_refused(run: Run) -> None:
    async def main() -> None:
        one, other = Identity.new(), Identity.new()
        async with serve("tls://127.0.0.1:0", who, identity=one) as server:
            where = bare(server.local)
            mine = Identity.of_user().fingerprint
            assert await asked(where) == mine
            assert [(entry.place, entry.fingerprint) for entry in KnownPeers().entries()] == [
                (place_of(where), one.fingerprint)
            ]
            assert await asked(where) == mine
        async with serve(server.local.replace(query={}), who, identity=other):
            with pytest.raises(UntrustedPeer) as refused:
                await connect(where)
            assert (refused.value.presented, refused.value.expected) == (other.fingerprint, (one.fingerprint,))
            with pytest.raises(UntrustedPeer):
                await connect(where, trust=Trust.first_use())
            assert await asked(where, trust=Trust.danger_anyone()) == mine
            assert await asked(where, trust=Trust.pin(other.fingerprint)) == mine

    run(main())


def test_the_same_user_needs_no_introduction(run: Run) -> None:
    async def main() -> None:
        async with serve("tls://127.0.0.1:0", who) as server:
            assert await asked(bare(server.local)) == Identity.of_user().fingerprint
        assert KnownPeers().entries() == ()

    run(main())


def test_a_revoked_key_is_refused(run: Run) -> None:
    async def main() -> None:
        identity = Identity.new()
        KnownPeers().revoke(identity.fingerprint)
        async with serve("tls://127.0.0.1:0", who, identity=identity) as server:
            for how in (server.local, bare(server.local), bare(server.local, trust="danger_anyone")):
                with pytest.raises(UntrustedPeer, match="revoked"):
                    await connect(how)

    run(main())


def test_unknown_key_tells_what_to_ask(run: Run) -> None:
    """A person is asked about a key of which nothing is known; nothing is kept before he has answered."""

    async def main() -> None:
        identity = Identity.new()

        async def refused(where: Endpoint) -> UntrustedPeer:
            with pytest.raises(UntrustedPeer) as raised:
                await tls.connect(Stream, where, LoopDriver.current(), LIMITS, first_use=False)
            return raised.value

        async with serve("tls://127.0.0.1:0", who, identity=identity) as server:
            where = bare(server.local)
            failure = await refused(where)
            assert tls.unknown_key(where, failure) == (place_of(where), identity.fingerprint)
            assert KnownPeers().entries() == ()
            pinned = where.replace(query={"pin": Identity.new().fingerprint})
            assert tls.unknown_key(pinned, await refused(pinned)) is None
            KnownPeers().add(place_of(where), Identity.new().fingerprint)
            assert tls.unknown_key(where, await refused(where)) is None  # known, and another one
        async with serve("tls://127.0.0.1:0", who) as server:  # this user's own
            (await tls.connect(Stream, bare(server.local), LoopDriver.current(), LIMITS, first_use=False)).abort()

    run(main())


@pytest.mark.parametrize("carrier", ["tls://127.0.0.1:0", "tls+unix://{}/socket"])
def test_over_each_carrier(run: Run, carrier: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with stream_pair(carrier.format(tmp_path)) as (ours, theirs):
            assert ours.peer.fingerprint == theirs.peer.fingerprint == Identity.of_user().fingerprint
            assert ours.encrypted
            assert theirs.encrypted
            assert ours.ciphers == ("TLS13_AES_256_GCM_SHA384", "X25519MLKEM768")
            assert ours.alpn is None

    run(main())


# --- authorities


@pytest.fixture
def authority(tmp_path: Path, openssl: Callable[..., str]) -> Callable[..., Path]:
    """`authority("host", "DNS:name")`: a key with a certificate for the name, by the authority in `ca.pem`."""
    ca, ca_key = tmp_path / "ca.pem", tmp_path / "ca.key"
    openssl(
        "req", "-x509", "-newkey", "ed25519", "-nodes", "-keyout", ca_key, "-out", ca, "-days", "2",
        "-subj", "/CN=a test's authority", "-addext", "basicConstraints=critical,CA:TRUE",
        "-addext", "keyUsage=critical,keyCertSign",
    )  # fmt: skip

    def issue(file: str, names: str, days: str = "2") -> Path:
        key, request, path, extensions = (tmp_path / f"{file}.{end}" for end in ("key", "csr", "pem", "ext"))
        openssl("req", "-new", "-newkey", "ed25519", "-nodes", "-keyout", key, "-out", request, "-subj", "/CN=host")
        extensions.write_text(f"subjectAltName={names}\n")
        openssl(
            "x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-out", path,
            "-days", days, "-extfile", extensions,
        )  # fmt: skip
        path.write_text(path.read_text() + key.read_text())
        path.chmod(0o600)
        return path

    return issue


def test_an_authority_vouches_for_the_name(run: Run, authority: Callable[..., Path], tmp_path: Path) -> None:
    async def main() -> None:
        ca = str(tmp_path / "ca.pem")
        key = authority("good", "DNS:localhost,DNS:other.example,IP:127.0.0.1")
        async with serve(f"tls://127.0.0.1:0?key={key}", who) as server:
            for host in ("127.0.0.1", "localhost"):
                where = bare(server.local, ca=ca).replace(host=host)
                # Authorities vouch for whom this side may not know: it is not shown who calls.
                assert await asked(where) == "None"
                assert await asked(bare(where), trust=Trust.authority(ca)) == "None"
            own = tmp_path / "own.pem"
            own.write_bytes(Identity.new()._pem)
            own.chmod(0o600)
            shown = where.replace(query={"ca": ca, "key": str(own)})
            assert await asked(shown) == Identity.load(own).fingerprint
            assert await asked(where.replace(query={"ca": ca, "sni": "other.example"})) == "None"
            with pytest.raises(UntrustedPeer, match="another name"):
                await connect(where.replace(query={"ca": ca, "sni": "third.example"}))
            with pytest.raises(UntrustedPeer) as refused:
                await connect(bare(server.local, ca=authority("x", "DNS:x") and str(self_signed(tmp_path))))
            assert refused.value.presented == Identity.load(key).fingerprint

    run(main())


def self_signed(folder: Path) -> Path:
    path = folder / "other-ca.pem"
    path.write_text(Identity.new().certificate)
    return path


def test_a_new_authority_in_the_file_is_seen(run: Run, authority: Callable[..., Path], tmp_path: Path) -> None:
    async def main() -> None:
        key = authority("good", "DNS:localhost")
        changing = self_signed(tmp_path)
        async with serve(f"tls://127.0.0.1:0?key={key}", who) as server:
            where = bare(server.local, ca=str(changing)).replace(host="localhost")
            with pytest.raises(UntrustedPeer):
                await connect(where)
            (tmp_path / "new").write_text((tmp_path / "ca.pem").read_text())
            (tmp_path / "new").rename(changing)
            assert await asked(where) == "None"

    run(main())


def test_a_file_without_an_authority_is_named(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "empty.pem").write_text("")
        async with serve("tls://127.0.0.1:0", who) as server:
            for file in ("empty.pem", "missing.pem"):
                with pytest.raises(ConnectError, match=file) as failed:
                    await connect(bare(server.local, ca=str(tmp_path / file)))
                assert failed.value.errno == errno.EINVAL

    run(main())


SYSTEM = """
import asyncio, sys
from socketkit import connect, UntrustedPeer
async def main():
    try:
        async with connect(sys.argv[1]) as stream:
            print("accepted", (await stream.receive_until(b"\\n")).decode().strip())
    except UntrustedPeer as failure:
        print("refused", failure)
asyncio.run(main())
"""


@pytest.mark.slow
def test_names_by_the_machines_authorities(
    authority: Callable[..., Path], tmp_path: Path, python: Callable[..., str]
) -> None:
    """They are read once in a process, so it takes one of its own."""
    key = authority("good", "DNS:localhost")
    ca = str(tmp_path / "ca.pem")
    with sync.serve(f"tls://127.0.0.1:0?key={key}", lambda stream: stream.send(b"hello\n")) as server:
        where = str(bare(server.local, trust="system").replace(host="localhost"))
        assert python(SYSTEM, where, SSL_CERT_FILE=ca, SSL_CERT_DIR="") == "accepted hello\n"
        other = str(self_signed(tmp_path))
        assert python(SYSTEM, where, SSL_CERT_FILE=other, SSL_CERT_DIR="").startswith("refused")


# --- identities, and what contradicts


def test_the_clients_identity(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "other.pem"
        path.write_bytes(Identity.new()._pem)
        path.chmod(0o600)
        other = Identity.load(path)
        async with serve("tls://127.0.0.1:0", who) as server:
            assert await asked(server.local) == Identity.of_user().fingerprint
            assert await asked(server.local, identity=other) == other.fingerprint
            by_key = server.local.replace(query={**server.local.query, "key": str(path)})
            assert await asked(by_key) == other.fingerprint
            with pytest.raises(ValueError, match="leave one out"):
                await connect(by_key, identity=other)
            with pytest.raises(IdentityError):
                await connect(server.local.replace(query={**server.local.query, "key": "/nowhere.pem"}))
            with pytest.raises(ValueError, match="leave one out"):
                await connect(server.local, trust=Trust.pin(A))
            with pytest.raises(ValueError, match="leave one out"):
                async with listen(f"tls://127.0.0.1:0?key={path}", identity=other):
                    pass
        async with serve(f"tls://127.0.0.1:0?key={path}", who) as server:
            assert server.local.query == {"pin": other.fingerprint}

    run(main())


def test_without_a_home_nobody_is_shown(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with serve("tls://127.0.0.1:0", who) as server:

            def no_home() -> Identity:
                raise PermissionError(errno.EACCES, "no home")

            monkeypatch.setattr(Identity, "of_user", staticmethod(no_home))
            assert await asked(server.local) == "None"

    run(main())


def test_trust_without_tls_is_a_mistake(run: Run) -> None:
    async def main() -> None:
        for how in ({"trust": Trust.pin(A)}, {"identity": Identity.new()}):
            with pytest.raises(ValueError, match="under TLS only"):
                await connect("tcp://127.0.0.1:1", **how)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="under TLS only"):
            await listen("unix:///tmp/x", identity=Identity.new())

    run(main())


@pytest.mark.parametrize("word", ["ca=/x.pem", "sni=x.example", "trust=system"])
def test_a_listener_refuses_what_is_for_clients(run: Run, word: str) -> None:
    async def main() -> None:
        with pytest.raises(ListenError, match=f"{word.partition('=')[0]} is for who connects") as refused:
            await listen(f"tls://127.0.0.1:0?{word}")
        assert refused.value.errno == errno.EINVAL

    run(main())


def test_a_listener_that_should_have_another_key(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(ListenError, match="expects another key"):
            await listen(f"tls://127.0.0.1:0?pin={A}")
        async with listen(f"tls://127.0.0.1:0?pin={Identity.of_user().fingerprint}"):
            pass

    run(main())


def test_a_listener_whose_key_cannot_be_used_leaves_no_socket(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        one, other = Identity.new(), Identity.new()
        path = tmp_path / "mixed.pem"
        # The certificate of another key: found out when it is loaded, or when the side is made.
        path.write_text(one._pem.decode().partition("-----BEGIN CERT")[0] + other.certificate)
        path.chmod(0o600)
        with pytest.raises((ListenError, IdentityError)):
            await listen(f"tls://127.0.0.1:0?key={path}")
        with pytest.raises((ListenError, IdentityError)):
            await listen(f"tls+unix://{tmp_path}/socket?key={path}")
        assert not (tmp_path / "socket").exists()

    run(main())


# --- whom a listener lets in


def test_beyond_this_machine_callers_are_listed(run: Run, home: Path) -> None:
    async def main() -> None:
        with pytest.raises(ListenError, match="anybody on other machines could connect"):
            await listen("tls://*:0")
        stranger, friend = Identity.new(), Identity.new()
        AuthorizedPeers().add(friend.fingerprint)
        async with serve("tls://*:0", who) as server:
            where = server.local.replace(host="127.0.0.1")
            assert await asked(where, identity=friend) == friend.fingerprint
            with pytest.raises(BrokenConnection, match="authorized peers") as refused:
                await asked(where, identity=stranger)
            assert refused.value.operation == "receive_until"
            assert server.stats["refused_handshake"] == 1
            AuthorizedPeers().add(stranger.fingerprint)
            assert await asked(where, identity=stranger) == stranger.fingerprint
            AuthorizedPeers().remove(friend.fingerprint)
            with pytest.raises(BrokenConnection, match="authorized peers"):
                await asked(where, identity=friend)
        async with serve("tls://*:0?public=yes", who) as server:
            assert "public" not in server.local.query
            assert await asked(server.local.replace(host="127.0.0.1"), identity=friend) == "None"

    run(main())


# --- what was agreed on


def test_protocols(run: Run) -> None:
    async def main() -> None:
        async def tell(stream: Stream) -> None:
            await stream.send(f"{stream.alpn}\n".encode())

        async with serve("tls://127.0.0.1:0?alpn=h2,http/1.1", tell) as server:
            where = server.local.replace(query={**server.local.query, "alpn": "http/1.1,ftp"})
            async with connect(where) as stream:
                assert stream.alpn == "http/1.1"
                assert await stream.receive_until(b"\n") == b"http/1.1\n"
            assert await asked(bare(server.local)) == "None"
            with pytest.raises(BrokenConnection, match="alpn="):
                await connect(where.replace(query={**server.local.query, "alpn": "ftp"}))
            assert server.stats["refused_handshake"] == 1

    run(main())


def test_the_name_that_is_asked_for(run: Run) -> None:
    """Never an address (RFC 6066 §3)."""

    async def main() -> None:
        async with Wire("tls://127.0.0.1:0", echo) as wire:
            for host, sni, name in (
                ("localhost", {}, b"localhost"),
                ("127.0.0.1", {"sni": "x.example"}, b"x.example"),
                ("127.0.0.1", {}, None),
            ):
                await wire.settled()
                wire.forget()
                async with connect(wire.local.replace(host=host, query={**wire.local.query, **sni})):
                    hello = wire.records("client")[0][1]
                    assert b"127.0.0.1" not in hello
                    assert name is None or name in hello

    run(main())


def test_a_session_is_resumed_with_the_same_key_and_without_early_data(run: Run) -> None:
    async def main() -> None:
        identity = Identity.new()
        async with Wire("tls://127.0.0.1:0", who) as wire:
            seen = []
            for _ in range(3):
                await wire.settled()
                wire.forget()
                async with connect(wire.local, identity=identity) as stream:
                    assert await stream.receive_until(b"\n") == f"{identity.fingerprint}\n".encode()
                    assert stream._session is not None
                    seen.append((stream._session[4], stream.peer.fingerprint))
                assert [kind for kind, _ in wire.records("client")][:2] == [22, 20], "no early data"
            assert seen == [(resumed, Identity.of_user().fingerprint) for resumed in (False, True, True)]

    run(main())


def test_a_closed_stream_still_knows_whom_it_spoke_to(run: Run) -> None:
    async def main() -> None:
        for how in ("aclose", "abort"):
            async with stream_pair("tls://127.0.0.1:0?alpn=x") as (ours, theirs):
                if how == "aclose":
                    await ours.aclose()
                    await theirs.aclose()
                else:
                    ours.abort()
                    theirs.abort()
                for stream in (ours, theirs):
                    assert stream.peer.fingerprint == Identity.of_user().fingerprint
                    assert stream.ciphers
                    assert stream.alpn == "x"

    run(main())


# --- ends


def test_half_close_both_ways(run: Run) -> None:
    async def main() -> None:
        for flip in (False, True):
            async with stream_pair("tls://127.0.0.1:0") as pair:
                ours, theirs = reversed(pair) if flip else pair
                await ours.send(b"question")
                await ours.send_eof()
                assert await all_of(theirs) == b"question"
                await theirs.send(b"answer")
                await theirs.send_eof()
                assert await all_of(ours) == b"answer"
                for stream in pair:
                    with pytest.raises(EndOfStream):
                        await stream.receive()

    run(main())


@pytest.mark.parametrize("from_server", [False, True])
def test_a_forged_end_is_no_end(run: Run, from_server: bool) -> None:
    """Somebody on the way ends the connection: what came before is delivered, then it is broken."""

    async def main() -> None:
        async with Wire("tls://127.0.0.1:0") as wire, wire.pair() as (ours, theirs):
            sender, receiver = (theirs, ours) if from_server else (ours, theirs)
            await sender.send(b"all that came")
            assert await receiver.receive_exactly(8) == b"all that"
            await wire.end("server" if from_server else "client")
            assert await receiver.receive_exactly(5) == b" came"
            for _ in range(2):
                with pytest.raises(BrokenConnection, match="close_notify"):
                    await receiver.receive()
            with pytest.raises(BrokenConnection):
                async for _ in receiver:
                    pass

    run(main())


@pytest.mark.parametrize(
    "injected",
    [b"HTTP/1.1 200 OK\r\n\r\n", b"\x17\x03\x03\x00\x20" + bytes(32), b"\x17\x03\x03\xff\xff" + bytes(100), bytes(50)],
)
def test_what_is_put_between_breaks_the_stream(run: Run, injected: bytes) -> None:
    async def main() -> None:
        async with Wire("tls://127.0.0.1:0") as wire, wire.pair() as (ours, theirs):
            await ours.send(b"whole")
            assert await theirs.receive() == b"whole"
            await wire.inject("client", injected)
            with pytest.raises(PeerViolation):
                await theirs.receive()
            with pytest.raises(PeerViolation):
                await theirs.send(b"x")
            with pytest.raises(BrokenConnection):
                await ours.receive()

    run(main())


def test_what_came_before_the_garbage_is_delivered(run: Run) -> None:
    async def main() -> None:
        async with Wire("tls://127.0.0.1:0") as wire, wire.pair() as (ours, theirs):
            wire.hold("client")
            await ours.send(b"whole")
            await wire.held("client")
            await wire.inject("client", bytes(50))
            assert await theirs.receive() == b"whole"
            with pytest.raises(PeerViolation):
                await theirs.receive()

    run(main())


def test_a_peer_that_closes_while_we_send(run: Run) -> None:
    async def main() -> None:
        for how in ("aclose", "abort"):
            async with stream_pair("tls://127.0.0.1:0") as (ours, theirs):
                if how == "aclose":
                    await theirs.aclose()
                else:
                    theirs.abort()
                with pytest.raises(BrokenConnection):
                    while True:
                        await ours.send(bytes(100_000))
                        await turns(1)

    run(main())


# --- who speaks something else


@pytest.mark.parametrize(
    "says", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"SSH-2.0-x\r\n", b"\x16\x03\x01\xff\xff" + bytes(9)]
)
def test_a_plain_client_is_let_go(run: Run, says: bytes) -> None:
    async def main() -> None:
        async with serve("tls://127.0.0.1:0", echo) as server:
            async with connect(f"tcp://127.0.0.1:{server.local.port}") as stream:
                await stream.send(says)
                await stream.send_eof()
                assert len(await all_of(stream)) < 10
            assert server.stats["refused_handshake"] == 1
            async with connect(server.local) as stream:
                await stream.send(b"x")
                assert await stream.receive() == b"x"

    run(main())


def test_a_server_without_tls_is_named(run: Run) -> None:
    async def main() -> None:
        async def greet(stream: Stream) -> None:
            await stream.send(b"220 mail.example ESMTP\r\n")
            await all_of(stream)

        async with serve("tcp://127.0.0.1:0", greet) as server:
            with pytest.raises(PeerViolation, match="does not speak TLS"):
                await connect(f"tls://127.0.0.1:{server.local.port}?trust=danger_anyone")

        async def leave(stream: Stream) -> None:
            await stream.receive()

        async with serve("tcp://127.0.0.1:0", leave) as server:
            with pytest.raises(BrokenConnection):
                await connect(f"tls://127.0.0.1:{server.local.port}?trust=danger_anyone")

    run(main())


# --- hellos in pieces


def client_hello(name: str = "localhost") -> tuple[ssl.SSLObject, ssl.MemoryBIO, ssl.MemoryBIO]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with suppress(ssl.SSLWantReadError):
        session.do_handshake()
    return session, incoming, outgoing


async def finish(session: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, stream: Stream) -> None:
    while True:
        try:
            session.do_handshake()
            return
        except ssl.SSLWantReadError:
            incoming.write(await stream.receive())


@pytest.mark.parametrize("cut", ["segments", "records"])
def test_a_hello_in_pieces(run: Run, cut: str) -> None:
    """And application data right behind the client's Finished."""

    async def main() -> None:
        async with serve("tls://127.0.0.1:0", echo) as server:
            async with connect(f"tcp://127.0.0.1:{server.local.port}") as stream:
                session, incoming, outgoing = client_hello()
                hello = outgoing.read()
                if cut == "records":
                    body = hello[5:]
                    hello = b"".join(
                        b"\x16\x03\x01" + len(part).to_bytes(2, "big") + part
                        for part in (body[at : at + 50] for at in range(0, len(body), 50))
                    )
                for byte in hello:
                    await stream.send(bytes([byte]))
                    await turns(1)
                await finish(session, incoming, outgoing, stream)
                session.write(b"with the Finished")
                await stream.send(outgoing.read())
                while True:
                    try:
                        assert session.read(100) == b"with the Finished"
                        break
                    except ssl.SSLWantReadError:
                        incoming.write(await stream.receive())

    run(main())


def test_half_a_hello_costs_a_thread_nothing() -> None:
    """A blocking listener sleeps while a newcomer's hello is not whole."""
    with sync.listen("tls://127.0.0.1:0") as listener, ThreadPoolExecutor(1) as pool:
        with socket.create_connection(("127.0.0.1", listener.local.port or 0)) as slow:
            slow.sendall(client_hello()[2].read()[:100])

            def accept() -> float:
                begun = time.thread_time()
                with suppress(TimeoutError), sync.timeout(0.5):
                    listener.accept()
                return time.thread_time() - begun

            assert pool.submit(accept).result(5) < 0.1


# --- much at once


def test_back_pressure(run: Run) -> None:
    async def main() -> None:
        async with stream_pair("tls://127.0.0.1:0", limits=Limits(write_high_bytes=65_536)) as (ours, theirs):
            data = numbered(500_000)

            async def send() -> None:
                for at in range(0, len(data), 100_000):
                    await ours.send(data[at : at + 100_000])
                await ours.send_eof()

            sending = await started(send())
            got = bytearray()
            with suppress(EndOfStream):
                while True:
                    got += await theirs.receive(1 + len(got) % 30_000)
            assert bytes(got) == data
            await sending
            assert ours.sent_bytes == theirs.received_bytes == len(data)

    run(main())


def test_blocking_both_ways() -> None:
    with sync.listen("tls://127.0.0.1:0") as listener, ThreadPoolExecutor(1) as pool:
        accepting = pool.submit(listener.accept)
        with sync.connect(listener.local) as ours, accepting.result(5) as theirs:
            ours.send(b"x")
            assert theirs.receive() == b"x"
            assert theirs.peer.fingerprint == Identity.of_user().fingerprint
        with pytest.raises(UntrustedPeer):
            accepting = pool.submit(listener.accept)
            try:
                sync.connect(bare(listener.local, pin=A))
            finally:
                listener.close()
                with pytest.raises(ClosedConnection):
                    accepting.result(5)


def test_a_cancelled_connect_leaves_nothing(run: Run) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            port = silent.getsockname()[1]

            async def call() -> None:
                await connect(f"tls://127.0.0.1:{port}?trust=danger_anyone")

            calling = await started(call())
            await asyncio.sleep(0.01)
            calling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await calling
            with pytest.raises(ConnectError, match="no answer within"):
                await connect(f"tls://127.0.0.1:{port}?trust=danger_anyone", limits=Limits(connect_seconds=0.05))

    run(main())


# --- in place (more of it in tests/test_connection.py)


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:0", "unix://{}/socket", "mem://"])
def test_start_on_each_carrier(run: Run, url: str, tmp_path: Path) -> None:
    async def main() -> None:
        trust = Trust.pin(Identity.of_user().fingerprint)
        for turned in (False, True):
            async with stream_pair(url.format(tmp_path)) as pair:
                client, server = reversed(pair) if turned else pair
                both = client.start_tls(server_side=False, trust=trust), server.start_tls(server_side=True)
                await asyncio.gather(*both)
                assert client.peer.fingerprint == Identity.of_user().fingerprint
        async with stream_pair(url.format(tmp_path)) as (_, server):
            with pytest.raises(ValueError, match="this side is the server"):
                await server.start_tls(trust=trust)

    run(main())


def test_the_sides_that_are_kept_are_few(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        monkeypatch.setattr(securing, "CLIENTS_KEPT", 2)
        securing._clients.clear()
        async with serve("tls://127.0.0.1:0", echo) as server:
            for number in range(4):
                async with connect(bare(server.local, trust="danger_anyone", alpn=f"x{number}")):
                    pass
            assert len(securing._clients) == 2

    run(main())
