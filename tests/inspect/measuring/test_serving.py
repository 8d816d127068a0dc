"""A server of connections, and callers that do not do what a bench does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from socketkit import BrokenConnection, EndOfStream, Endpoint, Stream, connect
from socketkit.inspect.measuring import serving
from socketkit.inspect.measuring.plan import Plan
from socketkit.inspect.measuring.protocol import decode, encode
from tests.conftest import Run


async def asked(stream: Stream, do: str, **words: Any) -> dict[str, Any]:
    await stream.send(encode({"bench": 1, "do": do, **words}))
    return decode(await stream.receive_until(b"\n"))


def test_refusals_say_why(run: Run) -> None:
    async def main() -> None:
        async with serving.serve_bench(Endpoint.parse("tcp://localhost:0")) as running:
            where = running.local
            for do, words, reason in [
                ("open", {}, "a plan has"),
                ("open", {"plan": Plan().to_json() | {"seconds": 9_999}}, "from 0.1 to 3,600"),
                ("join", {"session": "0" * 16}, "no such test"),
                ("probe", {}, "no such test"),
                ("count", {}, "no connection begins with 'count'"),
            ]:
                async with connect(where) as stream:
                    assert reason in (await asked(stream, do, **words))["error"]
                    with pytest.raises((EndOfStream, BrokenConnection)):
                        await stream.receive()
            async with connect(where) as stream:
                assert "install the same version" in (await asked(stream, "open", bench=3))["error"]

    run(main())


def test_tests_are_bounded_in_number(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "MOST_TESTS", 1)

    async def main() -> None:
        async with serving.serve_bench(Endpoint.parse("tcp://localhost:0")) as running:
            where = running.local
            async with connect(where) as first, connect(where) as second:
                assert "session" in await asked(first, "open", plan=Plan().to_json())
                assert "try again" in (await asked(second, "open", plan=Plan().to_json()))["error"]
            async with asyncio.timeout(5):
                while True:  # the first one's end makes room
                    async with connect(where) as third:
                        if "session" in await asked(third, "open", plan=Plan().to_json()):
                            return

    run(main())


def test_a_flow_down_ends_with_its_test(run: Run) -> None:
    async def main() -> None:
        async with serving.serve_bench(Endpoint.parse("tcp://localhost:0")) as running:
            where = running.local
            async with connect(where) as control, connect(where) as flow:
                plan = Plan(up=False, down=True).to_json()
                session = (await asked(control, "open", plan=plan))["session"]
                assert await asked(flow, "join", session=session, direction="down", flow=0) == {}
                await asked(control, "start", session=session)
                await flow.receive()
                control.abort()
                with pytest.raises((EndOfStream, BrokenConnection)):
                    while True:
                        await flow.receive()

    run(main())
