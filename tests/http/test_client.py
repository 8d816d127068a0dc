"""The client, against servers that were told what to say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from socketkit import BrokenConnection, ConnectError, EndOfStream, PeerViolation, Stream, UntrustedPeer, serve
from socketkit.http import Client
from tests.conftest import Run
from tests.http.files import Files
from tests.keys import A


@asynccontextmanager
async def saying(*answers: bytes, keep: bool = True) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that gives these answers, whatever it is asked; and what it was asked."""
    left, asked = list(answers), []

    async def handle(stream: Stream) -> None:
        try:
            while left:
                asked.append(await stream.receive_until(b"\r\n\r\n"))
                await stream.send(left.pop(0))
                if not keep:
                    return
        except EndOfStream:
            pass

    async with serve("tcp4://localhost:0", handle) as server:
        yield f"http://127.0.0.1:{server.local.port}", asked


async def got(url: str, **options: Any) -> tuple[int, bytes]:
    async with Client() as client, client.get(url, **options) as response:
        return response.status, await response.read()


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def test_an_answer(run: Run) -> None:
    async def main() -> None:
        async with saying(OK) as (url, asked):
            assert await got(f"{url}/a?b", headers=[("X-Mine", "1")]) == (200, b"ok")
        lines = asked[0].decode().split("\r\n")
        assert lines[0] == "GET /a?b HTTP/1.1"
        assert f"host: {url[7:]}" in [line.lower() for line in lines]
        assert "X-Mine: 1" in lines and "accept-encoding: identity" in [line.lower() for line in lines]

    run(main())


def test_connections_are_kept(run: Run) -> None:
    async def main() -> None:
        files = Files(b"x" * 100_000)
        async with files.open() as url, Client() as client:
            for _ in range(3):
                async with client.get(url) as response:
                    assert response.stream is not None
                    peers = response.stream.local
                    assert len(await response.read()) == 100_000
                    assert response.stream is None
            async with client.get(url) as response:
                assert response.stream is not None and response.stream.local == peers
            async with client.get(url) as response:  # the one before was not read: it is not used again
                assert response.stream is not None and response.stream.local != peers

    run(main())


def test_a_kept_connection_that_the_server_has_closed(run: Run) -> None:
    async def main() -> None:
        async with saying(OK, OK, keep=False) as (url, asked), Client() as client:
            for _ in range(2):
                async with client.get(url) as response:
                    assert await response.read() == b"ok"
            assert len(asked) == 2

    run(main())


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", b"abc"),
        (b"HTTP/1.0 200 OK\r\n\r\nall", b"all"),
        (b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK, b"ok"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b""),
    ],
)
def test_bodies(run: Run, answer: bytes, body: bytes) -> None:
    async def main() -> None:
        async with saying(answer, keep=False) as (url, _):
            assert await got(url) == (200, body)

    run(main())


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nok",
        b"HTTP/1.1 200 O",
        b"",
    ],
)
def test_an_answer_that_is_cut(run: Run, answer: bytes) -> None:
    async def main() -> None:
        async with saying(answer, keep=False) as (url, _):
            with pytest.raises(BrokenConnection, match="in the middle of its answer"):
                await got(url)

    run(main())


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"SSH-2.0-OpenSSH\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000, "does not speak HTTP"),
        (b"HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n", "does not speak HTTP|changes to a protocol"),
        (b"HTTP/1.1 103 Hints\r\n\r\n" * 40, "interim ones only"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n", "does not speak HTTP"),
    ],
)
def test_an_answer_that_breaks_the_rules(run: Run, answer: bytes, words: str) -> None:
    async def main() -> None:
        async with saying(answer) as (url, _):
            with pytest.raises(PeerViolation, match=words):
                await got(url)

    run(main())


def test_a_body_that_is_too_large(run: Run) -> None:
    async def main() -> None:
        async with Files(b"x" * 1_000).open() as url, Client() as client, client.get(url) as response:
            with pytest.raises(PeerViolation, match="more than 999 bytes"):
                await response.read(999)

    run(main())


def test_a_silent_server(run: Run) -> None:
    async def main() -> None:
        async with serve("tcp4://localhost:0", lambda stream: stream.receive_exactly(100_000)) as server:
            async with Client(stall_seconds=0.05) as client:
                with pytest.raises(TimeoutError):
                    async with client.get(f"http://127.0.0.1:{server.local.port}"):
                        pass

    run(main())


def to(location: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n".encode()


def test_redirects(run: Run) -> None:
    async def main() -> None:
        async with saying(to("/b"), to("c?d"), OK) as (url, asked), Client() as client:
            async with client.get(f"{url}/a", [("Cookie", "x=1")]) as response:
                assert str(response.url) == f"{url}/c?d"
                assert await response.read() == b"ok"
            assert [head.split()[1] for head in asked] == [b"/a", b"/b", b"/c?d"]
            assert all(b"Cookie: x=1" in head for head in asked)

    run(main())


def test_redirects_take_no_credentials_along(run: Run) -> None:
    async def main() -> None:
        async with saying(OK) as (there, asked), saying(to(f"{there}/x")) as (here, first):
            secrets = [("Authorization", "Bearer x"), ("cookie", "a=b"), ("X-Other", "1")]
            assert await got(here, headers=secrets) == (200, b"ok")
        assert b"Bearer" in first[0]
        assert b"Bearer" not in asked[0] and b"a=b" not in asked[0] and b"X-Other: 1" in asked[0]

    run(main())


def test_redirects_without_an_end(run: Run) -> None:
    async def main() -> None:
        async with saying(*[to("/")] * 20) as (url, asked):
            with pytest.raises(PeerViolation, match="more than 10 times"):
                await got(url)
            assert len(asked) == 11

    run(main())


@pytest.mark.parametrize("location", ["ftp://a/", "http://a:0x/", "https://me:pw@b/"])
def test_redirects_to_nowhere(run: Run, location: str) -> None:
    async def main() -> None:
        async with saying(to(location)) as (url, _):
            with pytest.raises(PeerViolation, match="no address of the web"):
                await got(url)

    run(main())


def test_no_redirect_to_plain_text(run: Run) -> None:
    async def main() -> None:
        files = Files(b"x", "tls://localhost:0")
        async with files.open() as url:
            files.statuses = [(302, "location: http://localhost:1/\r\n")]
            with pytest.raises(PeerViolation, match="from https to http://localhost:1/, in plain text"):
                await got(f"{url}#pin={files.pin}")

    run(main())


def test_a_form_that_was_sent_leads_to_a_page(run: Run) -> None:
    async def main() -> None:
        async with saying(to("/done", 303), OK) as (url, asked), Client() as client:
            async with client.request("POST", url, content=b"") as response:
                assert response.status == 200
            assert asked[1].startswith(b"GET /done ")
            assert b"content-length" not in asked[1].lower()

    run(main())


def test_pins(run: Run, home: Any) -> None:
    async def main() -> None:
        files = Files(b"secret", "tls://localhost:0")
        async with files.open() as url:
            async with Client() as client, client.get(f"{url}#pin={files.pin}") as response:
                assert response.stream is not None and response.stream.peer.fingerprint == files.pin
                assert await response.read() == b"secret"
            asked = len(files.asked)
            with pytest.raises(UntrustedPeer):
                await got(f"{url}#pin={A}")
            assert len(files.asked) == asked  # nothing was sent

    run(main())


def test_plain_text_to_others(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(ConnectError, match="plain text could be read"):
            await got("http://192.0.2.7/")

    run(main())


def test_headers_that_cannot_be_sent(run: Run) -> None:
    async def main() -> None:
        async with saying(OK) as (url, _):
            with pytest.raises(ValueError, match="cannot be written like this"):
                await got(url, headers=[("X", "a\r\nb: c")])

    run(main())


def test_trailing_bytes_are_not_taken_for_the_next_answer(run: Run) -> None:
    async def main() -> None:
        async with saying(OK + OK.replace(b"ok", b"no"), OK) as (url, _), Client() as client:
            for _ in range(2):
                async with client.get(url) as response:
                    assert await response.read() == b"ok"

    run(main())
