from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from socketkit import connect
from socketkit.http import Access, serve

DATA = bytes(range(256)) * 4_096


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "data").write_bytes(DATA)
    return tmp_path / "data"


def application(path: Path, *events: dict[str, Any], length: int | None = None) -> Any:
    """Answers with these events behind a start; `file` is put into those that send one."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        assert "http.response.zerocopysend" in scope["extensions"]
        headers = [] if length is None else [(b"content-length", b"%d" % length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        with path.open("rb") as file:
            for event in events:
                await send({"file": file, **event} if event["type"] == ZERO_COPY else event)

    return app


def asked(
    app: Any, *methods: str, url: str = "tcp://localhost:0", told: Callable[[Access], None] | None = None
) -> bytes:
    """What comes for these requests on one connection; the last of them closes it."""

    async def main() -> bytes:
        async with asyncio.timeout(20), serve(url, app, access=told) as server:
            async with connect(str(server.local)) as stream:
                for number, method in enumerate(methods, 1):
                    last = "connection: close\r\n" if number == len(methods) else ""
                    await stream.send(f"{method} / HTTP/1.1\r\nhost: x\r\n{last}\r\n".encode())
                return b"".join([chunk async for chunk in stream])

    return asyncio.run(main())


def bodies(answers: bytes) -> list[bytes]:
    """Of answers that say their length."""
    found = []
    while answers:
        head, _, answers = answers.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        found.append(answers[:length])
        answers = answers[length:]
    return found


ZERO_COPY = "http.response.zerocopysend"


@pytest.mark.parametrize("url", ["tcp://localhost:0", "tls://localhost:0?public=yes&alpn=http/1.1"])
def test_a_part_of_a_file(path: Path, url: str) -> None:
    app = application(path, {"type": ZERO_COPY, "offset": 5, "count": 900_000}, length=900_000)
    assert bodies(asked(app, "GET", "GET", url=url)) == [DATA[5:900_005]] * 2


def test_a_whole_file_between_other_pieces(path: Path) -> None:
    app = application(
        path,
        {"type": "http.response.body", "body": b"<", "more_body": True},
        {"type": ZERO_COPY, "more_body": True},
        {"type": "http.response.body", "body": b">"},
        length=len(DATA) + 2,
    )
    assert bodies(asked(app, "GET")) == [b"<" + DATA + b">"]


def test_without_a_length_it_is_a_chunk(path: Path) -> None:
    app = application(path, {"type": ZERO_COPY, "count": 300, "more_body": True}, {"type": "http.response.body"})
    body = asked(app, "GET").partition(b"\r\n\r\n")[2]
    assert body == b"12c\r\n" + DATA[:300] + b"\r\n0\r\n\r\n"


def test_without_an_offset_the_position_moves(path: Path) -> None:
    app = application(
        path, {"type": ZERO_COPY, "count": 300, "more_body": True}, {"type": ZERO_COPY, "count": 5}, length=305
    )
    assert bodies(asked(app, "GET")) == [DATA[:305]]


def test_head_has_no_body(path: Path) -> None:
    app = application(path, {"type": ZERO_COPY, "count": 300}, length=300)
    answers = asked(app, "HEAD", "GET")
    assert answers.count(b"HTTP/1.1 200") == 2
    assert answers.partition(b"\r\n\r\n")[2].startswith(b"HTTP/1.1")


def test_a_file_that_has_become_shorter_breaks_the_connection(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    told: list[Access] = []
    app = application(path, {"type": ZERO_COPY, "offset": 0, "count": len(DATA) + 1}, length=len(DATA) + 1)
    with pytest.raises(OSError, match="reset"):
        asked(app, "GET", told=told.append)
    assert "1 bytes before what was promised" in caplog.text
    assert [access.sent_bytes for access in told] == [len(DATA)]


def test_a_descriptor_by_its_number(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        app = application(path, {"type": ZERO_COPY, "file": fd, "offset": 1, "count": 2}, length=2)
        assert bodies(asked(app, "GET")) == [DATA[1:3]]
    finally:
        os.close(fd)


def test_more_than_was_promised_is_not_sent(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    app = application(path, {"type": ZERO_COPY, "offset": 0, "count": 6}, length=5)
    assert asked(app, "GET").startswith(b"HTTP/1.1 500")
    assert "failed" in caplog.text


def test_a_client_that_goes_away_is_no_fault_of_the_application(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "large").write_bytes(bytes(20 << 20))
    app = application(tmp_path / "large", {"type": ZERO_COPY})

    async def main() -> None:
        async with asyncio.timeout(20), serve("tcp://localhost:0", app) as server:
            stream = await connect(str(server.local))
            await stream.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            await stream.receive()
            stream.abort()
            while server.connections:
                await asyncio.sleep(0.01)

    asyncio.run(main())
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
