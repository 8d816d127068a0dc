"""A connection of HTTP/1.1: bodies, answers, and applications that do wrong."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from socketkit import Limits, Stream, connect
from socketkit.http import serve
from tests.conftest import Run

from .applications import CHUNKED, answer, echo, everything, hello, parted, request, require_http, talk

pytestmark = pytest.mark.usefixtures("no_leaks")


# --- bodies


def test_continue_is_said_when_the_body_is_wanted(run: Run) -> None:
    async def main() -> bytes:
        async with serve("tcp://127.0.0.1:0", echo) as service, connect(str(service.local)) as stream:
            await stream.send(request("/", "Expect: 100-continue", "Content-Length: 3", method="POST"))
            assert await stream.receive_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            await stream.send(b"abc")
            return await everything(stream)

    assert parted(run(main()))[2] == b"abc"


def test_a_body_that_nobody_wants_is_not_asked_for(run: Run) -> None:
    async def main() -> bytes:
        async with serve("tcp://127.0.0.1:0", hello) as service:
            return await talk(
                service.local, b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
            )

    status, fields, _ = parted(run(main()))
    assert (status, fields["connection"]) == (200, "close")


@pytest.mark.parametrize(
    ("body", "goes_on"), [(b"x" * 1000, True), (b"x" * 300_000, False)], ids=["is read", "ends the connection"]
)
def test_a_body_that_nobody_read(run: Run, body: bytes, goes_on: bool) -> None:
    async def main() -> bytes:
        async with serve("tcp://127.0.0.1:0", hello) as service, connect(str(service.local)) as stream:
            await stream.send(
                b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body + request()
            )
            return await everything(stream)

    assert run(main()).count(b"HTTP/1.1 200 OK") == (2 if goes_on else 1)


def test_a_chunked_body_over_the_bound_is_refused(run: Run) -> None:
    async def main() -> bytes:
        async with serve("tcp://127.0.0.1:0", echo, body_bytes=4) as service:
            return await talk(service.local, CHUNKED + b"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n")

    assert parted(run(main()))[0] == 413


def test_a_client_that_never_reads_makes_the_application_wait(run: Run) -> None:
    async def main() -> int:
        sent = 0

        async def endless(scope: Any, receive: Any, send: Any) -> None:
            nonlocal sent
            require_http(scope)
            await send({"type": "http.response.start", "status": 200})
            while True:
                await send({"type": "http.response.body", "body": bytes(65_536), "more_body": True})
                sent += 65_536

        limits = Limits(grace_seconds=0.0)
        async with serve("tcp://127.0.0.1:0", endless, limits=limits) as service:
            stream = await connect(str(service.local))
            await stream.send(request())
            before = -1
            while before != sent:  # until it stands still
                before = sent
                await asyncio.sleep(0.1)
            stream.abort()
        return sent

    assert run(main()) < 16 << 20


# --- the end of a client


def test_an_application_that_waits_is_told_that_the_client_has_gone(run: Run) -> None:
    async def main() -> list[Any]:
        events: list[Any] = []
        told = asyncio.Event()

        async def wait(scope: Any, receive: Any, send: Any) -> None:
            require_http(scope)
            events.append(await receive())
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"a", "more_body": True})
            events.append(await receive())
            told.set()

        async with serve("tcp://127.0.0.1:0", wait) as service:
            async with connect(str(service.local)) as stream:
                await stream.send(request())
                await stream.receive_until(b"\r\n\r\n")
            await told.wait()
        return events

    first, second = run(main())
    assert first == {"type": "http.request", "body": b"", "more_body": False}
    assert second == {"type": "http.disconnect"}


def test_behind_the_answer_an_application_hears_of_the_end(run: Run) -> None:
    async def main() -> list[str]:
        events: list[str] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            require_http(scope)
            watching = asyncio.create_task(watch(receive))
            await asyncio.sleep(0)
            await answer(send, b"done")
            await watching
            events.append((await receive())["type"])

        async def watch(receive: Any) -> None:
            events.append((await receive())["type"])
            events.append((await receive())["type"])

        async with serve("tcp://127.0.0.1:0", app) as service, connect(str(service.local)) as stream:
            await stream.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await stream.receive_until(b"done")
            await stream.send(request())  # the connection is as good as before
            assert (await everything(stream)).endswith(b"done")
        return events

    assert run(main()) == ["http.request", "http.disconnect", "http.disconnect"] * 2


def test_sending_to_a_client_that_has_gone_fails_as_the_network_does(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> BaseException:
        failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

        async def endless(scope: Any, receive: Any, send: Any) -> None:
            require_http(scope)
            await send({"type": "http.response.start", "status": 200})
            try:
                while True:
                    await send({"type": "http.response.body", "body": bytes(65_536), "more_body": True})
            except OSError as failure:
                failed.set_result(failure)
                raise

        async with serve("tcp://127.0.0.1:0", endless) as service:
            stream = await connect(str(service.local))
            await stream.send(request())
            await stream.receive()
            stream.abort()
            return await failed

    with caplog.at_level(logging.ERROR):
        assert isinstance(run(main()), OSError)
    assert not caplog.records  # a peer's fault is none of the application's


# --- what an application does wrong


async def fails(scope: Any, receive: Any, send: Any) -> None:
    require_http(scope)
    raise ZeroDivisionError("oops")


async def says_nothing(scope: Any, receive: Any, send: Any) -> None:
    require_http(scope)


async def injects(scope: Any, receive: Any, send: Any) -> None:
    require_http(scope)
    await answer(send, b"", headers=[(b"x", b"a\r\nset-cookie: b")])


async def starts_twice(scope: Any, receive: Any, send: Any) -> None:
    require_http(scope)
    await send({"type": "http.response.start", "status": 200})
    await answer(send, b"")


async def speaks_of_something_else(scope: Any, receive: Any, send: Any) -> None:
    require_http(scope)
    await send({"type": "http.response.push"})


@pytest.mark.parametrize("app", [fails, says_nothing, injects, starts_twice, speaks_of_something_else])
def test_an_application_that_fails_before_its_answer(run: Run, caplog: pytest.LogCaptureFixture, app: Any) -> None:
    async def main() -> bytes:
        async with serve("tcp://127.0.0.1:0", app) as service:
            return await talk(service.local, request("/secret?token=1"))

    with caplog.at_level(logging.ERROR):
        status, _, body = parted(run(main()))
    assert (status, body) == (500, b"Internal Server Error\n")
    (record,) = caplog.records
    assert "GET /secret of tcp://127.0.0.1" in record.getMessage()
    assert "token" not in record.getMessage()
    caplog.clear()  # the record's traceback holds the loop


def of_wrong_length(length: int, *bodies: bytes) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        require_http(scope)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % length)]})
        for number, body in enumerate(bodies, 1):
            await send({"type": "http.response.body", "body": body, "more_body": number < len(bodies)})

    return app


@pytest.mark.parametrize(
    "app", [of_wrong_length(3, b"ab", b""), of_wrong_length(3, b"ab", b"cd")], ids=["short", "long"]
)
def test_an_answer_of_the_wrong_length_is_cut(run: Run, caplog: pytest.LogCaptureFixture, app: Any) -> None:
    async def main() -> None:
        async with serve("tcp://127.0.0.1:0", app) as service, connect(str(service.local)) as stream:
            await stream.send(request())
            with pytest.raises(OSError):
                await everything(stream)

    with caplog.at_level(logging.ERROR):
        run(main())
    assert "content-length" in str(caplog.records[0].exc_info)
    caplog.clear()


# --- time


async def remains(stream: Stream) -> bytes:
    """What comes until the other side ends, however it does."""
    got = b""
    try:
        async for chunk in stream:
            got += chunk
    except OSError:
        pass
    return got


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"", b""),
        (b"GET / HTTP/1.1\r\nHost:", b"HTTP/1.1 408 "),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab", b"HTTP/1.1 408 "),
    ],
    ids=["silence", "half a head", "half a body"],
)
def test_whoever_is_too_slow_is_cut_and_told(run: Run, sent: bytes, expected: bytes) -> None:
    limits = Limits(first_message_seconds=1, idle_seconds=1, slow_window_seconds=1)

    async def main() -> bytes:
        async with serve("tcp://127.0.0.1:0", echo, limits=limits) as service, connect(str(service.local)) as stream:
            if sent:
                await stream.send(sent)
            return await remains(stream)

    assert run(main())[: len(expected) or 1] == expected


@pytest.mark.slow
def test_a_dripping_head_is_cut(run: Run) -> None:
    limits = Limits(first_message_seconds=1.5)

    async def main() -> bytes:
        async with serve("tcp://127.0.0.1:0", echo, limits=limits) as service, connect(str(service.local)) as stream:
            dripping = asyncio.create_task(drip(stream))
            try:
                return await remains(stream)
            finally:
                dripping.cancel()
                await asyncio.wait([dripping])

    async def drip(stream: Stream) -> None:
        await stream.send(b"GET / HTTP/1.1\r\n")
        while True:
            await stream.send(b"X: y\r\n")
            await asyncio.sleep(0.1)

    assert run(main())[:13] in (b"HTTP/1.1 408 ", b"")


@pytest.mark.slow
def test_a_client_that_waits_for_a_slow_answer_is_not_idle(run: Run) -> None:
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        require_http(scope)
        await receive()
        watching = asyncio.create_task(receive())  # as frameworks do while they stream
        await asyncio.sleep(2.5)
        assert not watching.done()
        await answer(send, b"at last")
        await watching

    async def main() -> bytes:
        async with serve("tcp://127.0.0.1:0", slow, limits=Limits(idle_seconds=1)) as service:
            return await talk(service.local, request())

    assert parted(run(main()))[2] == b"at last"
