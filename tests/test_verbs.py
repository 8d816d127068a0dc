"""connect, listen, bind: awaited or entered, and what they refuse."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import socketkit
from socketkit import (
    ClosedConnection,
    ConnectError,
    Endpoint,
    EndpointError,
    Messages,
    Unsupported,
    bind,
    connect,
    listen,
    serve,
)
from tests.conftest import Run

pytestmark = pytest.mark.usefixtures("no_leaks")


def test_awaited_it_is_the_callers_to_close(run: Run) -> None:
    async def main() -> None:
        listener = await listen("mem://")
        ours = await connect(listener.local)
        theirs = await listener.accept()
        for each in (ours, theirs, listener):
            await each.aclose()
            assert each.closed

    run(main())


def test_entered_it_is_closed_at_the_end(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(LookupError):
            async with listen("mem://") as listener, connect(listener.local) as ours:
                theirs = await listener.accept()
                raise LookupError
        assert listener.closed
        assert ours.closed
        with pytest.raises(socketkit.EndOfStream):
            await theirs.receive()
        await theirs.aclose()
        async with theirs:
            pass

    run(main())


def test_a_stream_is_a_context_manager_too(run: Run) -> None:
    async def main() -> None:
        async with listen("mem://") as listener:
            async with await connect(listener.local) as ours:
                async with await listener.accept() as theirs:
                    await ours.send(b"x")
                    assert await theirs.receive() == b"x"
            with pytest.raises(ClosedConnection):
                await ours.send(b"x")

    run(main())


def test_a_mistake_in_the_address_is_told_before_anything_is_awaited() -> None:
    async def handler(_: object) -> None:
        return None

    for verb in (connect, listen, bind, lambda address: serve(address, handler)):
        with pytest.raises(EndpointError):
            verb("tpc://localhost:80")


@pytest.mark.parametrize(
    ("address", "missing"),
    [
        ("quic://example.test:443", "QUIC"),
        ("bt-rfcomm://00-11-22-33-44-55:1", "Bluetooth"),
    ],
)
def test_what_is_not_there_yet_says_what_is_missing(run: Run, address: str, missing: str) -> None:
    async def main() -> None:
        for verb in (connect, listen):
            with pytest.raises(Unsupported, match=missing) as raised:
                await verb(address)
            assert raised.value.endpoint == Endpoint.parse(address)
            assert "tcp" in str(raised.value)

    run(main())


@pytest.mark.parametrize(
    ("address", "verb", "remedy"),
    [
        ("udp://127.0.0.1:53", connect, 'connect("udp://127.0.0.1:53", Messages) or bind("udp://127.0.0.1:53")'),
        ("seqpacket+unix:///tmp/x", listen, 'connect("seqpacket+unix:///tmp/x", Messages)'),
        ("tcp://127.0.0.1:80", bind, 'connect("tcp://127.0.0.1:80") or listen("tcp://127.0.0.1:80")'),
        ("udp://127.0.0.1:53", lambda address: listen(address, Messages), 'bind("udp://127.0.0.1:53")'),
    ],
)
def test_the_wrong_shape_says_what_to_write(run: Run, address: str, verb: Any, remedy: str) -> None:
    async def main() -> None:
        with pytest.raises(Unsupported) as raised:
            await verb(address)
        assert remedy in str(raised.value)

    run(main())


def test_a_shape_is_one_of_two(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match="Stream or Messages, not int"):
            await connect("tcp://127.0.0.1:1", int)  # type: ignore[call-overload]

    run(main())


def test_a_port_is_needed_to_connect(run: Run) -> None:
    async def main() -> None:
        with pytest.raises((ConnectError, EndpointError)):
            await asyncio.wait_for(connect("tcp://localhost:0"), 5)

    run(main())


def test_every_name_of_the_package_is_there() -> None:
    for name in socketkit.__all__:
        assert getattr(socketkit, name) is not None
