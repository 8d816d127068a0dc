"""TLS with programs that we did not write: openssl, curl, nginx, and Python's ssl."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from socketkit import (
    BrokenConnection,
    Endpoint,
    Identity,
    PeerViolation,
    SocketError,
    Stream,
    Trust,
    UntrustedPeer,
    connect,
    serve,
    sync,
)
from socketkit.authorized_peers import AuthorizedPeers
from socketkit.fingerprint import public_key_pin
from socketkit.testing.claims import all_of, numbered
from tests.conftest import Run
from tests.keys import A

pytestmark = pytest.mark.slow

WRONG_PIN = 90  # man curl, EXIT CODES


def echo(stream: sync.Stream) -> None:
    with suppress(SocketError):
        for chunk in stream:
            stream.send(chunk)


def who(stream: sync.Stream) -> None:
    with suppress(SocketError):
        stream.send(f"{stream.peer.fingerprint}\n".encode())


def hello(stream: sync.Stream) -> None:
    with suppress(SocketError):
        stream.receive_until(b"\r\n\r\n")
        stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n")


@pytest.fixture
def identity_file(tmp_path: Path) -> Path:
    path = tmp_path / "identity.pem"
    path.write_bytes(Identity.new()._pem)
    path.chmod(0o600)
    return path


@contextmanager
def running(*command: object, ready: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A program, until the end of the block; `ready` is the port on which it listens."""
    process = subprocess.Popen(
        [str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        deadline = time.monotonic() + 10
        while ready is not None:
            with suppress(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", ready)).close()
                break
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield process
    finally:
        process.terminate()  # nginx ends its workers then, and leaves them behind when it is killed
        with process:
            try:
                process.wait(10)
            finally:
                process.kill()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


# --- openssl


def test_openssl_as_client(program: Callable[[str], str], identity_file: Path) -> None:
    with sync.serve("tls://127.0.0.1:0", who) as server:
        where = f"127.0.0.1:{server.local.port}"
        for extra, said in (((), "None"), (("-cert", identity_file, "-key", identity_file), None)):
            done = subprocess.run(
                [program("openssl"), "s_client", "-connect", where, "-quiet", *map(str, extra)],
                input=b"", capture_output=True, timeout=20,
            )  # fmt: skip
            expected = said or Identity.load(identity_file).fingerprint
            assert done.stdout.decode().strip() == expected


def test_openssl_sees_the_key_that_is_pinned(program: Callable[[str], str]) -> None:
    """The line of docs/tls.md: the SHA-256 of the public key."""
    with sync.serve("tls://127.0.0.1:0", who) as server:
        line = (
            f"{program('openssl')} s_client -connect 127.0.0.1:{server.local.port} < /dev/null 2> /dev/null "
            "| openssl x509 -pubkey -noout | openssl pkey -pubin -outform DER | openssl dgst -sha256 -binary"
        )
        done = subprocess.run(line, shell=True, capture_output=True, timeout=20)
        assert done.stdout == pinned(server.local)


def pinned(endpoint: Endpoint) -> bytes:
    from socketkit import _core

    return _core.fingerprint_bytes(endpoint.query["pin"])


def test_an_old_client_is_refused_in_words(program: Callable[[str], str]) -> None:
    with sync.serve("tls://127.0.0.1:0", who) as server:
        command = [program("openssl"), "s_client", "-tls1_2", "-connect", f"127.0.0.1:{server.local.port}"]
        done = subprocess.run(command, input=b"", capture_output=True, timeout=20)
        assert b"protocol version" in done.stderr
        assert server.stats["refused_handshake"] == 1


@pytest.mark.parametrize("fragment", [16384, 512])
def test_openssl_as_server(run: Run, program: Callable[[str], str], identity_file: Path, fragment: int) -> None:
    port = free_port()
    theirs = Identity.load(identity_file).fingerprint

    async def main() -> None:
        async with connect(f"tls://127.0.0.1:{port}?pin={theirs}") as stream:
            assert stream.peer.fingerprint == theirs
            for count in (1, 10, 200):
                lines = [numbered(60, number).hex().encode() for number in range(count)]
                for line in lines:
                    await stream.send(line + b"\n")
                    assert await stream.receive_until(b"\n") == line[::-1] + b"\n"  # -rev
        with pytest.raises(UntrustedPeer) as refused:
            await connect(f"tls://127.0.0.1:{port}?pin={A}")
        assert refused.value.presented == theirs

    with running(
        program("openssl"), "s_server", "-accept", f"127.0.0.1:{port}", "-cert", identity_file, "-key", identity_file,
        "-rev", "-max_send_frag", fragment, ready=port,
    ):  # fmt: skip
        run(main(), 20)


def test_openssl_asks_who_calls(run: Run, program: Callable[[str], str], identity_file: Path) -> None:
    port = free_port()
    theirs = Identity.load(identity_file).fingerprint

    async def main() -> None:
        async with connect(f"tls://127.0.0.1:{port}?pin={theirs}", identity=Identity.new()) as stream:
            await stream.send(b"abc\n")
            assert await stream.receive_exactly(4) == b"cba\n"

    with running(
        program("openssl"), "s_server", "-accept", f"127.0.0.1:{port}", "-cert", identity_file, "-key", identity_file,
        "-rev", "-verify", "1", "-verify_quiet", ready=port,
    ):  # fmt: skip
        run(main(), 20)


def test_an_old_server_is_refused_in_words(run: Run, program: Callable[[str], str], identity_file: Path) -> None:
    port = free_port()

    async def main() -> None:
        with pytest.raises((PeerViolation, BrokenConnection), match=r"TLS 1\.3"):
            await connect(f"tls://127.0.0.1:{port}?trust=danger_anyone")

    with running(
        program("openssl"), "s_server", "-accept", f"127.0.0.1:{port}", "-cert", identity_file, "-key", identity_file,
        "-tls1_2", "-rev", ready=port,
    ):  # fmt: skip
        run(main(), 20)


def test_new_keys_while_data_flows(program: Callable[[str], str]) -> None:
    """`k` and `K` of s_client: new keys, and new keys for us too (RFC 8446 §4.6.3)."""
    with (
        sync.serve("tls://127.0.0.1:0", echo) as server,
        running(program("openssl"), "s_client", "-connect", f"127.0.0.1:{server.local.port}") as client,
        ThreadPoolExecutor(1) as pool,
    ):
        assert client.stdin
        assert client.stdout
        lines = pool.submit(take, client.stdout, b"last line")
        for number in range(20):
            client.stdin.write(b"line %d\n" % number)
            client.stdin.flush()
            time.sleep(0.01)
            client.stdin.write(b"K\n" if number % 2 else b"k\n")
            client.stdin.flush()
            time.sleep(0.01)
        client.stdin.write(b"last line\n")
        client.stdin.flush()
        seen = lines.result(10)
        assert all(b"line %d\n" % number in seen for number in range(20))
        # Those that were read together with the line before are text.
        assert seen.count(b"KEYUPDATE") >= 5


def take(stream: object, last: bytes) -> bytes:
    seen = b""
    for line in stream:  # type: ignore[attr-defined]
        seen += line
        if last in line:
            break
    return seen


# --- curl


def test_curl(program: Callable[[str], str], tmp_path: Path) -> None:
    mine = Identity.of_user()
    (tmp_path / "certificate.pem").write_text(mine.certificate)

    def curl(*words: str) -> subprocess.CompletedProcess[str]:
        command = [program("curl"), "--silent", "--ipv4", "--noproxy", "*", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=20)

    with sync.serve("tls://127.0.0.1:0?alpn=http/1.1", hello) as server:
        url = f"https://localhost:{server.local.port}/"
        assert curl("--insecure", "--pinnedpubkey", public_key_pin(mine.fingerprint), url).stdout == "hello\n"
        assert curl("--insecure", "--pinnedpubkey", public_key_pin(A), url).returncode == WRONG_PIN
        assert curl("--cacert", str(tmp_path / "certificate.pem"), url).stdout == "hello\n"
        assert curl("--tls-max", "1.2", "--insecure", url).returncode != 0


def test_curl_is_listed(program: Callable[[str], str], identity_file: Path) -> None:
    AuthorizedPeers().add(Identity.load(identity_file).fingerprint)
    with sync.serve("tls://*:0", hello) as server:
        url = f"https://127.0.0.1:{server.local.port}/"
        command = [program("curl"), "--silent", "--insecure", "--noproxy", "*", url]
        shown = [*command, "--cert", str(identity_file), "--key", str(identity_file)]
        assert subprocess.run(shown, capture_output=True, timeout=20).stdout == b"hello\n"
        assert subprocess.run(command, capture_output=True, timeout=20).returncode != 0


# --- nginx


@pytest.mark.parametrize("exchange", ["X25519", "X25519MLKEM768:X25519"])
def test_nginx_as_server(
    run: Run, program: Callable[[str], str], identity_file: Path, tmp_path: Path, exchange: str
) -> None:
    port = free_port()
    if "MLKEM" in exchange and ssl.OPENSSL_VERSION_INFO < (3, 5):
        exchange = "X25519"  # it has no other
    (tmp_path / "nginx.conf").write_text(f"""
        daemon off; pid {tmp_path}/pid; error_log {tmp_path}/error.log; user root;
        events {{}}
        http {{
            access_log off; client_body_temp_path {tmp_path}; proxy_temp_path {tmp_path};
            fastcgi_temp_path {tmp_path}; uwsgi_temp_path {tmp_path}; scgi_temp_path {tmp_path};
            server {{
                listen 127.0.0.1:{port} ssl; ssl_protocols TLSv1.2 TLSv1.3; ssl_ecdh_curve {exchange};
                ssl_certificate {identity_file}; ssl_certificate_key {identity_file};
                location / {{ return 200 "hello\\n"; }}
            }}
        }}""")
    theirs = Identity.load(identity_file).fingerprint

    async def main() -> None:
        for number in range(2):
            async with connect(f"tls://127.0.0.1:{port}?pin={theirs}&alpn=http/1.1") as stream:
                assert stream.alpn == "http/1.1"
                assert stream.ciphers
                assert stream.ciphers[1] == exchange.partition(":")[0]
                assert stream._session
                assert stream._session[4] == bool(number)
                await stream.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert (await all_of(stream)).endswith(b"hello\n")

    with running(program("nginx"), "-p", tmp_path, "-c", tmp_path / "nginx.conf", "-e", "stderr", ready=port):
        run(main(), 20)


# --- Python


def client_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def test_pythons_blocking_client() -> None:
    data = numbered(200_000)
    with sync.serve("tls://127.0.0.1:0", echo) as server:
        with (
            socket.create_connection(("127.0.0.1", server.local.port or 0)) as plain,
            client_context().wrap_socket(plain) as stream,
            ThreadPoolExecutor(1) as pool,
        ):
            assert stream.version() == "TLSv1.3"
            sending = pool.submit(stream.sendall, data)
            got = bytearray()
            while len(got) < len(data):
                got += stream.recv(65_536)
            sending.result(10)
            assert bytes(got) == data


def test_pythons_asyncio_both_sides(run: Run, identity_file: Path) -> None:
    data = numbered(100_000)

    async def back(stream: Stream) -> None:
        async for chunk in stream:
            await stream.send(chunk)

    async def main() -> None:
        async with serve("tls://127.0.0.1:0", back) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.local.port, ssl=client_context())
            writer.write(data)
            assert await reader.readexactly(len(data)) == data
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readexactly(len(data)))
            await writer.drain()
            writer.close()

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(identity_file)
        theirs = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
        async with theirs:
            where = f"tls://127.0.0.1:{theirs.sockets[0].getsockname()[1]}"
            trust = Trust.pin(Identity.load(identity_file).fingerprint)
            async with connect(where, trust=trust) as stream:
                await stream.send(data)
                assert await all_of(stream) == data

    run(main(), 20)
