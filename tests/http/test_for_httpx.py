"""httpx, as it is, over our connections: against our server, nginx's manners, and what must be refused."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpcore
import httpx
import pytest

from socketkit import Stream, Trust, serve
from socketkit.http import httpx_transport
from socketkit.http import serve as serve_http
from socketkit.http.for_httpx import as_httpx
from tests.conftest import Run
from tests.http.files import Files
from tests.keys import A

CONTENT = b"0123456789" * 20_000


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answers with how many bytes it was sent."""
    if scope["type"] != "http":
        return
    count, more = 0, True
    while more:
        message = await receive()
        count += len(message.get("body", b""))
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": f"{scope['method']} {scope['path']} {count}".encode()})


def test_our_server(run: Run) -> None:
    async def main() -> None:
        async with serve_http("tcp4://localhost:0", application) as service:
            base = f"http://127.0.0.1:{service.local.port}"
            async with httpx.AsyncClient(transport=httpx_transport(), base_url=base) as client:
                answers = await asyncio.gather(*(client.post(f"/{n}", content=b"x" * n) for n in range(20)))
                assert [answer.text for answer in answers] == [f"POST /{n} {n}" for n in range(20)]
                assert answers[0].http_version == "HTTP/1.1"
                for _ in range(3):
                    assert (await client.get("/a", params={"b": "c"})).text == "GET /a 0"
                assert service.stats["accepted"] <= 20

    run(main())


def test_our_server_under_tls(run: Run, home: Path) -> None:
    async def main() -> None:
        async with serve_http("tls://localhost:0", application) as service:
            url = f"https://localhost:{service.local.port}/a"
            async with httpx.AsyncClient(transport=httpx_transport()) as client:
                answer = await client.get(url)
                assert answer.text == "GET /a 0"
                stream = answer.extensions["network_stream"].get_extra_info("stream")
                assert isinstance(stream, Stream) and stream.encrypted
            async with httpx.AsyncClient(transport=httpx_transport(trust=Trust.pin(A))) as client:
                with pytest.raises(httpx.ConnectError, match="expected was sk1:"):
                    await client.get(url)

    run(main())


def test_a_body_that_streams(run: Run) -> None:
    async def main() -> None:
        async with Files(CONTENT).open() as url, httpx.AsyncClient(transport=httpx_transport()) as client:
            async with client.stream("GET", url) as answer:
                body = b"".join([chunk async for chunk in answer.aiter_bytes()])
            assert body == CONTENT

    run(main())


def test_a_body_that_is_cut(run: Run) -> None:
    async def main() -> None:
        files = Files(CONTENT)
        async with files.open() as url, httpx.AsyncClient(transport=httpx_transport()) as client:
            files.cuts = [50_000]
            with pytest.raises(httpx.RemoteProtocolError):
                await client.get(url)

    run(main())


def test_plain_text_to_others(run: Run) -> None:
    async def main() -> None:
        async with httpx.AsyncClient(transport=httpx_transport()) as client:
            with pytest.raises(httpx.ConnectError, match="plain text could be read"):
                await client.get("http://192.0.2.7/")

    run(main())


def test_plain_text_that_was_allowed(run: Run) -> None:
    async def main() -> None:
        async with Files(b"x").open() as url:
            async with httpx.AsyncClient(transport=httpx_transport(plaintext=True)) as client:
                assert (await client.get(url)).content == b"x"

    run(main())


def test_time_limits_of_httpx(run: Run) -> None:
    async def main() -> None:
        async with serve("tcp4://localhost:0", lambda stream: stream.receive_exactly(100_000)) as server:
            async with httpx.AsyncClient(transport=httpx_transport(), timeout=0.05) as client:
                with pytest.raises(httpx.ReadTimeout):
                    await client.get(f"http://127.0.0.1:{server.local.port}/")
                with pytest.raises((httpx.ConnectTimeout, httpx.ReadTimeout)):
                    await client.get(f"https://127.0.0.1:{server.local.port}/")

    run(main())


def test_nobody_there(run: Run) -> None:
    async def main() -> None:
        async with serve("tcp4://localhost:0", lambda stream: stream.receive()) as server:
            port = server.local.port
        async with httpx.AsyncClient(transport=httpx_transport(retries=1)) as client:
            with pytest.raises(httpx.ConnectError, match="refused"):
                await client.get(f"http://127.0.0.1:{port}/")

    run(main())


def test_a_connection_that_the_server_has_closed(run: Run) -> None:
    async def handle(stream: Stream) -> None:
        await stream.receive_until(b"\r\n\r\n")
        await stream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    async def main() -> None:
        async with serve("tcp4://localhost:0", handle) as server:
            async with httpx.AsyncClient(transport=httpx_transport()) as client:
                for _ in range(5):
                    assert (await client.get(f"http://127.0.0.1:{server.local.port}/")).text == "ok"
                    while server.connections:
                        await asyncio.sleep(0)

    run(main())


def test_errors_have_httpx_s_names() -> None:
    for kind in (httpcore.ReadTimeout, httpcore.ConnectError, httpcore.RemoteProtocolError, httpcore.PoolTimeout):
        assert type(as_httpx(kind("x"))).__name__ == kind.__name__
    other = ValueError("x")
    assert as_httpx(other) is other
