"""Answers that were prepared: given without the application, and only where nothing but the target decides."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from socketkit import Stream, connect
from socketkit.http import Access, Prepared, serve
from tests.conftest import Run

from .applications import answer, everything, parted, request, require_http, talk

pytestmark = pytest.mark.usefixtures("no_leaks")

TYPE = [(b"content-type", b"text/plain")]
MOST_HITS = 65_536  # which the engine keeps until they are told


async def asked(scope: Any, receive: Any, send: Any) -> None:
    require_http(scope)
    await answer(send, b"by the application")


def table() -> Prepared:
    prepared = Prepared()
    assert prepared.put("/a", b"prepared", TYPE, valid_seconds=60)
    return prepared


@contextmanager
def folder_of(path: Path) -> Iterator[int]:
    folder = os.open(path, os.O_RDONLY)
    try:
        yield folder
    finally:
        os.close(folder)


def body_of(run: Run, prepared: Prepared, sent: bytes, url: str = "tcp://127.0.0.1:0") -> bytes:
    async def main() -> bytes:
        async with serve(url, asked, prepared=prepared) as service:
            return await talk(service.local, sent)

    return parted(run(main()))[2]


def test_what_is_prepared_is_answered(run: Run) -> None:
    prepared = table()

    async def main() -> bytes:
        async with serve("tcp://127.0.0.1:0", asked, prepared=prepared) as service:
            return await talk(service.local, request("/a"))

    status, fields, body = parted(run(main()))
    assert (status, body, fields["content-type"], fields["content-length"]) == (200, b"prepared", "text/plain", "8")
    assert fields["connection"] == "close"
    assert fields["date"].endswith(" GMT")
    assert prepared.answered == 1


def test_whoever_comes_again_is_answered_again(run: Run) -> None:
    async def main() -> list[bytes]:
        async with serve("tcp://127.0.0.1:0", asked, prepared=table()) as service:
            async with connect(str(service.local)) as stream:
                got = []
                for target in ("/a", "/b", "/a", "/a"):
                    await stream.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                    head = await stream.receive_until(b"\r\n\r\n")
                    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                    got.append(await stream.receive_exactly(length))
                return got

    assert run(main()) == [b"prepared", b"by the application", b"prepared", b"prepared"]


def test_many_at_once_keep_their_order(run: Run) -> None:
    targets = [f"/{'a' if number % 3 else 'b'}" for number in range(200)]

    async def main() -> bytes:
        async with serve("tcp://127.0.0.1:0", asked, prepared=table()) as service:
            async with connect(str(service.local)) as stream:
                one = "GET {} HTTP/1.1\r\nHost: a\r\n\r\n"
                await stream.send("".join(map(one.format, targets)).encode() + request("/a"))
                return await everything(stream)

    got = run(main())
    bodies = [part[:8] for part in got.split(b"\r\n\r\n")[1:]]
    assert bodies == [b"prepared" if target == "/a" else b"by the a" for target in [*targets, "/a"]]


def test_a_long_pipeline_is_answered_to_its_end(run: Run) -> None:
    prepared = table()

    async def main() -> bytes:
        async with serve("tcp://127.0.0.1:0", asked, prepared=prepared) as service:
            return await talk(service.local, b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n" * 300 + request("/a"))

    assert run(main()).count(b"prepared") == 301
    assert prepared.answered > 250  # but for heads that were cut in two


@pytest.mark.slow
def test_wrk(run: Run, program: Callable[[str], str]) -> None:
    async def main() -> str:
        async with serve("tcp://127.0.0.1:0", asked, prepared=table()) as service:
            process = await asyncio.create_subprocess_exec(
                *(program("wrk"), "-t1", "-c10", "-d1s", f"http://127.0.0.1:{service.local.port}/a"),
                stdout=asyncio.subprocess.PIPE,
            )
            told, _ = await process.communicate()
            return told.decode()

    told = run(main())
    assert "Socket errors" not in told
    assert "Non-2xx" not in told
    assert "requests in" in told


def test_a_head_in_pieces_is_for_the_application(run: Run) -> None:
    async def main() -> bytes:
        async with serve("tcp://127.0.0.1:0", asked, prepared=table()) as service:
            async with connect(str(service.local)) as stream:
                for byte in b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n" + request("/a"):
                    await stream.send(bytes([byte]))
                    await asyncio.sleep(0)
                return await everything(stream)

    assert run(main()).count(b"by the application") == 2


@pytest.mark.parametrize(
    "sent",
    [
        request("/b"),
        request("/a?x"),
        request("/a", "Range: bytes=0-1"),
        request("/a", 'If-None-Match: "x"'),
        request("/a", "Authorization: Basic eDp5"),
        request("/a", method="POST"),
        request("/a", "Content-Length: 1", body=b"x"),
    ],
)
def test_what_takes_a_thought_is_for_the_application(run: Run, sent: bytes) -> None:
    assert body_of(run, table(), sent) == b"by the application"


def test_what_is_old_or_removed_is_for_the_application(run: Run) -> None:
    prepared = table()
    prepared.put("/a", b"prepared", valid_seconds=0)
    assert body_of(run, prepared, request("/a")) == b"by the application"
    prepared = table()
    prepared.remove("/a")
    assert len(prepared) == 0
    assert body_of(run, prepared, request("/a")) == b"by the application"


def test_it_is_bounded() -> None:
    prepared = Prepared(1000)
    assert not prepared.put("/a", bytes(1000))
    assert prepared.put("/a", bytes(500))
    prepared.clear()
    assert len(prepared) == 0
    with pytest.raises(ValueError, match="control character"):
        prepared.put("/a", b"", [(b"x", b"a\r\nb")])


def test_a_file_is_answered_while_it_is_the_same(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"prepared")
    with folder_of(tmp_path) as folder:
        prepared = Prepared(folder=folder)
        with file.open("rb") as opened:
            assert prepared.put_file(b"example.org", "/a", opened.fileno(), b"a.txt", TYPE)
    assert body_of(run, prepared, request("/a")) == b"prepared"
    assert body_of(run, prepared, request("/a", method="HEAD")) == b""
    assert body_of(run, prepared, request("/a"), "tls://127.0.0.1:0?alpn=http/1.1") == b"prepared"
    elsewhere = request("/a").replace(b"example.org", b"example.com")
    assert body_of(run, prepared, elsewhere) == b"by the application"
    assert prepared.answered == 3
    file.write_bytes(b"another")
    assert body_of(run, prepared, request("/a")) == b"by the application"
    assert (prepared.answered, len(prepared)) == (3, 0)


def test_files_need_their_folder_and_are_small(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(bytes(65_536))
    with folder_of(tmp_path) as folder, file.open("r+b") as opened:
        prepared = Prepared(folder=folder)
        assert prepared.put_file(b"example.org", "/a", opened.fileno(), b"a.txt")
        opened.truncate(65_537)
        assert not prepared.put_file(b"example.org", "/a", opened.fileno(), b"a.txt")
        assert not Prepared().put_file(b"example.org", "/a", opened.fileno(), b"a.txt")
        with pytest.raises(ValueError, match="control character"):
            prepared.put_file(b"example.org", "/a", opened.fileno(), b"a.txt", [(b"x", b"a\r\nb")])
    with pytest.raises(OSError, match="descriptor"):
        prepared.put_file(b"example.org", "/a", folder, b"a.txt")
    with pytest.raises(ValueError, match="descriptor"):
        prepared.put_file(b"example.org", "/a", -1, b"a.txt")
    with pytest.raises(OSError, match="descriptor"):
        Prepared(folder=folder)


def test_a_log_that_is_behind_loses_nothing(run: Run) -> None:
    told: list[Access] = []
    count = MOST_HITS + 1_000

    async def main() -> None:
        async with serve("tcp://127.0.0.1:0", asked, prepared=table(), access=told.append) as service:
            async with connect(str(service.local)) as stream:
                sending = asyncio.create_task(send_all(stream))
                left, at = count, b""
                while left:
                    at += await stream.receive()
                    heads = at.split(b"HTTP/1.1 200")
                    left -= len(heads) - 1
                    at = heads[-1][-16:]
                await sending

    async def send_all(stream: Stream) -> None:
        for _ in range(count // 100):
            await stream.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n" * 100)
        await stream.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n" * (count % 100))

    run(main(), 60)
    assert len(told) == count


def test_it_is_told_as_every_answer_is(run: Run) -> None:
    told: list[Access] = []

    async def main() -> None:
        async with serve("tcp://127.0.0.1:0", asked, prepared=table(), access=told.append) as service:
            await talk(service.local, request("/a"))
            await talk(service.local, request("/a", method="HEAD"))

    run(main())
    assert [(access.method, access.target, access.sent_bytes) for access in told] == [
        ("GET", "/a", 8),
        ("HEAD", "/a", 0),
    ]
    assert told[0].peer.endpoint.host == "127.0.0.1"


def test_a_client_that_never_reads_is_not_answered_for_ever(run: Run) -> None:
    prepared = Prepared()
    prepared.put("/a", bytes(100_000), valid_seconds=60)

    async def main() -> int:
        async with serve("tcp://127.0.0.1:0", asked, prepared=prepared) as service:
            stream = await connect(str(service.local))
            await stream.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n" * 1000)
            before = -1
            while before != prepared.answered:
                before = prepared.answered
                await asyncio.sleep(0.1)
            stream.abort()
        return prepared.answered

    assert run(main()) < 200


def test_under_tls(run: Run) -> None:
    assert body_of(run, table(), request("/a"), "tls://127.0.0.1:0?alpn=http/1.1") == b"prepared"


def test_the_end_closes_who_is_silent(run: Run) -> None:
    async def main() -> bytes:
        async with serve("tcp://127.0.0.1:0", asked, prepared=table()) as service:
            stream = await connect(str(service.local))
            await stream.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
            await stream.receive_until(b"prepared")
        async with stream:
            return await everything(stream)

    assert run(main(), seconds=4) == b""
