"""`http.serve`: an application behind a listener, from its startup to its last answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from socketkit import connect
from socketkit.http import Access, Service, serve
from tests.conftest import Run

from .applications import answer, echo, everything, hello, parted, request, require_http, talk

pytestmark = pytest.mark.usefixtures("no_leaks")


def test_an_application_answers(run: Run) -> None:
    async def main() -> bytes:
        async with serve("tcp://127.0.0.1:0", hello) as service:
            return await talk(service.local, request())

    status, fields, body = parted(run(main()))
    assert (status, body) == (200, b"hello")
    assert fields["content-length"] == "5"
    assert fields["connection"] == "close"
    assert fields["date"].endswith(" GMT")


@pytest.mark.parametrize("url", ["unix://{folder}/socket", "mem://http"])
def test_every_stream_carries_it(run: Run, tmp_path: Any, url: str) -> None:
    async def main() -> bytes:
        async with serve(url.format(folder=tmp_path), hello) as service:
            return await talk(service.local, request())

    assert parted(run(main()))[2] == b"hello"


def test_a_body_comes_and_goes(run: Run) -> None:
    sent = bytes(range(256)) * 4096

    async def main() -> bytes:
        async with serve("tcp://127.0.0.1:0", echo) as service:
            return await talk(service.local, request("/", f"Content-Length: {len(sent)}", method="POST", body=sent))

    assert parted(run(main()))[2] == sent


def test_requests_follow_each_other_on_one_connection(run: Run) -> None:
    async def main() -> bytes:
        async with serve("tcp://127.0.0.1:0", echo) as service, connect(str(service.local)) as stream:
            first = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\none"
            await stream.send(first + request("/", "Content-Length: 3", method="POST", body=b"two"))
            return await everything(stream)

    first, second = run(main()).split(b"HTTP/1.1 ")[1:]
    assert first.endswith(b"one")
    assert second.endswith(b"two")


def test_every_answer_is_told(run: Run) -> None:
    told: list[Access] = []

    async def main() -> None:
        async with serve("tcp://127.0.0.1:0", hello, access=told.append) as service:
            await talk(service.local, request("/a%20b?c=d"))

    run(main())
    (access,) = told
    assert (access.method, access.target, access.status, access.sent_bytes) == ("GET", "/a%20b?c=d", 200, 5)
    assert access.version == "1.1"
    assert access.peer.endpoint.host == "127.0.0.1"


# --- the end


def test_the_end_does_not_wait_for_silent_connections(run: Run) -> None:
    async def main() -> bytes:
        service = serve("tcp://127.0.0.1:0", hello)
        async with service:
            stream = await connect(str(service.local))
            await stream.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await stream.receive_until(b"hello")
        async with stream:
            return await everything(stream)

    assert run(main(), seconds=4) == b""  # shorter than the grace


def test_a_running_answer_is_finished_and_is_the_last(run: Run) -> None:
    async def main() -> bytes:
        asked = asyncio.Event()
        go_on = asyncio.Event()

        async def slow(scope: Any, receive: Any, send: Any) -> None:
            require_http(scope)
            asked.set()
            await go_on.wait()
            await answer(send, b"late")

        service = serve("tcp://127.0.0.1:0", slow)
        async with service, asyncio.TaskGroup() as tasks:
            stream = await connect(str(service.local))
            await stream.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await asked.wait()
            closing = tasks.create_task(service.aclose())
            await wait_for_stop(service)
            go_on.set()
            await closing
        async with stream:
            return await everything(stream)

    status, fields, body = parted(run(main()))
    assert (status, fields["connection"], body) == (200, "close", b"late")


async def wait_for_stop(service: Service) -> None:
    while not service._stopping:
        await asyncio.sleep(0)
