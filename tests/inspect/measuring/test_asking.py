"""Requests and answers, also where every other message gets lost."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from socketkit import BrokenConnection, Endpoint, PeerViolation
from socketkit.inspect.measuring import asking
from socketkit.inspect.measuring.asking import Asking
from socketkit.inspect.measuring.protocol import decode, encode
from socketkit.testing import stream_pair
from tests.conftest import Run


class Lossy:
    """Messages to `server(request)`, of which only those are delivered whose turn `delivers` says so."""

    def __init__(self, server: Any, delivers: Any = lambda turn: True) -> None:
        self.peer = SimpleNamespace(endpoint=Endpoint.parse("udp://localhost:1"))
        self.sent: list[bytes] = []
        self._server, self._delivers = server, delivers
        self._answers: list[bytes] = []

    async def send(self, data: bytes) -> None:
        self.sent.append(data)
        if self._delivers(len(self.sent)):
            self._answers += [encode(answer) for answer in self._server(decode(data))]

    async def receive(self) -> bytes:
        import asyncio

        while not self._answers:
            await asyncio.sleep(0.01)
        return self._answers.pop(0)


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "AGAIN_SECONDS", 0.03)
    monkeypatch.setattr(asking, "ANSWER_SECONDS", 0.5)


def test_asks_again_until_it_is_answered(run: Run) -> None:
    line = Lossy(lambda request: [{"id": request["id"], "found": 7}], lambda turn: turn % 3 == 0)
    assert run(Asking(line, lossy=True).ask("count"))["found"] == 7
    assert len(line.sent) == 3
    assert len(set(line.sent)) == 1


def test_answers_to_earlier_requests_are_passed_over(run: Run) -> None:
    line = Lossy(lambda request: [{"id": request["id"] - 1, "found": 1}, {"id": request["id"], "found": 2}])
    assert run(Asking(line, lossy=True).ask("count"))["found"] == 2


def test_a_cookie_is_shown_from_then_on(run: Run) -> None:
    def server(request: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"id": request["id"]} if request.get("cookie") == "c" else {"id": request["id"], "cookie": "c"}]

    line = Lossy(server)
    asks = Asking(line, lossy=True)
    run(asks.ask("open"))
    run(asks.ask("count"))
    assert [decode(sent).get("cookie") for sent in line.sent] == [None, "c", "c"]
    assert all(len(sent) > len(encode({"id": 1, "cookie": "0" * 32})) for sent in line.sent)


def test_no_answer(run: Run) -> None:
    with pytest.raises(BrokenConnection, match=r"no answer within 0\.5 s: is `socketkit serve bench` running there"):
        run(Asking(Lossy(lambda request: []), lossy=True).ask("open"))


def test_a_refusal(run: Run) -> None:
    line = Lossy(lambda request: [{"id": request["id"], "error": "8 tests are running there"}])
    with pytest.raises(PeerViolation, match="refused there: 8 tests"):
        run(Asking(line, lossy=True).ask("open"))


def test_over_a_stream(run: Run) -> None:
    async def main() -> None:
        async with stream_pair() as (here, there):
            asks = Asking(here, lossy=False)
            asks.always["nonce"] = "n"
            await there.send(encode({"session": "s"}))
            assert await asks.ask("open", plan={}) == {"session": "s"}
            request = decode(await there.receive_until(b"\n"))
            assert request == {"bench": 1, "do": "open", "id": 1, "nonce": "n", "plan": {}}
            await there.send(b"220 mail.example ESMTP\r\n")
            with pytest.raises(PeerViolation, match="run `socketkit serve bench` there"):
                await asks.ask("open")
            await there.send_eof()
            with pytest.raises(BrokenConnection, match="has ended the test"):
                await asks.ask("open")

    run(main())
