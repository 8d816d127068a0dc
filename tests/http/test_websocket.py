"""WebSockets: the handshake, messages both ways, ends from either side, and what is refused."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from contextlib import suppress
from typing import Any

import pytest
import websockets
from hypothesis import given
from hypothesis import strategies as st

from socketkit import connect
from socketkit.http import serve, websocket
from tests.conftest import Run

from .applications import parted, talk

pytestmark = pytest.mark.usefixtures("no_leaks")


async def echo(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "websocket":
        raise NotImplementedError
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept", "subprotocol": next(iter(scope["subprotocols"]), None)})
    while (event := await receive())["type"] == "websocket.receive":
        await send({**event, "type": "websocket.send"})


def offer(*fields: str, key: str = "AAAAAAAAAAAAAAAAAAAAAA==", version: str = "13") -> bytes:
    lines = [
        "GET /chat?a=b HTTP/1.1",
        "Host: a",
        "Connection: Upgrade",
        "Upgrade: websocket",
        f"Sec-WebSocket-Key: {key}",
        f"Sec-WebSocket-Version: {version}",
        *fields,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_messages_come_back(run: Run, compression: str | None) -> None:
    sent = ["text", b"bytes", "ü" * 100_000, b"\0" * 500_000, ""]

    async def main() -> tuple[list[Any], str | None]:
        async with serve("tcp://127.0.0.1:0", echo) as service:
            url = f"ws://127.0.0.1:{service.local.port}/"
            async with websockets.connect(url, compression=compression, subprotocols=["one", "two"]) as socket:  # type: ignore[list-item]
                back = []
                for message in sent:
                    await socket.send(message)
                    back.append(await socket.recv())
                return back, socket.subprotocol

    assert run(main()) == (sent, "one")


def test_the_scope_says_what_was_offered(run: Run) -> None:
    seen: list[Any] = []

    async def refuse(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            seen.append(scope)

    async def main() -> bytes:
        async with serve("tcp://127.0.0.1:0", refuse) as service:
            return await talk(service.local, offer("Sec-WebSocket-Protocol: x, y"))

    assert parted(run(main()))[0] == 403  # it ended without a word
    (scope,) = seen
    assert (scope["scheme"], scope["path"], scope["query_string"]) == ("ws", "/chat", b"a=b")
    assert scope["subprotocols"] == ["x", "y"]
    assert "method" not in scope


def test_the_client_closes(run: Run) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            seen.append(await receive())
            with pytest.raises(OSError, match="closed"):
                await send({"type": "websocket.send", "text": "too late"})

    async def main() -> None:
        async with serve("tcp://127.0.0.1:0", app) as service:
            async with websockets.connect(f"ws://127.0.0.1:{service.local.port}/") as socket:
                await socket.close(4000, "bye")

    run(main())
    assert seen == [{"type": "websocket.disconnect", "code": 4000, "reason": "bye"}]


def test_the_application_closes(run: Run) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close", "code": 4001, "reason": "enough"})

    async def main() -> tuple[int | None, str | None]:
        async with serve("tcp://127.0.0.1:0", app) as service:
            async with websockets.connect(f"ws://127.0.0.1:{service.local.port}/") as socket:
                with pytest.raises(websockets.ConnectionClosed):
                    await socket.recv()
                return socket.close_code, socket.close_reason

    assert run(main()) == (4001, "enough")


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_a_message_over_the_bound_ends_it(run: Run, compression: str | None) -> None:
    async def main() -> int | None:
        async with serve("tcp://127.0.0.1:0", echo) as service:
            async with websockets.connect(f"ws://127.0.0.1:{service.local.port}/", compression=compression) as socket:
                await socket.send(b"\0" * (1_048_576 + 1))
                with pytest.raises(websockets.ConnectionClosed):
                    await socket.recv()
                return socket.close_code

    assert run(main()) == 1009


def test_the_service_ends(run: Run) -> None:
    async def main() -> int | None:
        service = serve("tcp://127.0.0.1:0", echo)
        async with service:
            socket = await websockets.connect(f"ws://127.0.0.1:{service.local.port}/")
            receiving = asyncio.create_task(socket.recv())
        with pytest.raises(websockets.ConnectionClosed):
            await receiving
        return socket.close_code

    assert run(main()) == 1001


def test_pings_are_answered_while_the_application_is_busy(run: Run) -> None:
    async def main() -> None:
        done = asyncio.Event()

        async def busy(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "websocket":
                await receive()
                await send({"type": "websocket.accept"})
                await done.wait()

        async with serve("tcp://127.0.0.1:0", busy) as service:
            async with websockets.connect(f"ws://127.0.0.1:{service.local.port}/") as socket:
                await (await socket.ping())
                done.set()

    run(main())


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (offer(version="12"), 426),
        (offer(key="short"), 400),
        (offer("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="), 400),
        (offer(key="AAAAAAAAAAAAAAAAAAAAAA"), 400),
    ],
)
def test_a_bad_offer_is_refused(run: Run, request_bytes: bytes, status: int) -> None:
    async def main() -> bytes:
        async with serve("tcp://127.0.0.1:0", echo) as service:
            return await talk(service.local, request_bytes)

    assert parted(run(main()))[0] == status


def test_frames_that_are_none_end_it(run: Run) -> None:
    async def main() -> bytes:
        async with serve("tcp://127.0.0.1:0", echo) as service, connect(str(service.local)) as stream:
            await stream.send(offer())
            await stream.receive_until(b"\r\n\r\n")
            await stream.send(b"\x81\x01a")  # not masked, as a client's must be (RFC 6455 §5.1)
            return b"".join([chunk async for chunk in stream])

    frame = run(main())
    assert (frame[0], frame[2:4]) == (0x88, (1002).to_bytes(2, "big"))


def test_a_peer_that_answers_no_ping_is_left(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "PING_SECONDS", 0.1)

    async def main() -> bytes:
        async with serve("tcp://127.0.0.1:0", echo) as service, connect(str(service.local)) as stream:
            await stream.send(offer())
            await stream.receive_until(b"\r\n\r\n")
            return b"".join([chunk async for chunk in stream])

    got = run(main())
    assert got[:2] == b"\x89\x00"  # a ping
    assert (1011).to_bytes(2, "big") in got


def test_a_client_that_sends_more_than_is_read_has_to_wait(run: Run) -> None:
    async def main() -> int:
        go_on = asyncio.Event()

        async def late(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "websocket":
                await receive()
                await send({"type": "websocket.accept"})
                await go_on.wait()
                while (await receive())["type"] == "websocket.receive":
                    pass

        sent = 0
        async with serve("tcp://127.0.0.1:0", late) as service:
            async with websockets.connect(f"ws://127.0.0.1:{service.local.port}/", compression=None) as socket:
                with suppress(TimeoutError):
                    async with asyncio.timeout(1):
                        while sent < 1000:
                            await socket.send(bytes(100_000))
                            sent += 1
                go_on.set()
                return sent

    assert run(main()) < 300


@given(st.binary(min_size=16, max_size=16), st.lists(st.one_of(st.binary(max_size=30), st.just(b"AA==")), max_size=2))
def test_a_key_is_16_bytes_once(key: bytes, others: list[bytes]) -> None:
    written = b64encode(key)
    fields = [(b"sec-websocket-version", b"13"), (b"sec-websocket-key", written)]
    assert websocket.key_of({"headers": fields}) == (written, None)
    more = [(b"sec-websocket-key", other) for other in others]
    for headers in (more + fields, more + fields[:1]):
        taken, fault = websocket.key_of({"headers": headers})
        assert (taken == b"") == (fault is not None)
        assert fault is None or fault[0] == 400
