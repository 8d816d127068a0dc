"""What a server of datagrams does for strangers: nothing that could harm somebody else."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from socketkit import Endpoint
from socketkit.inspect.measuring import answering
from socketkit.inspect.measuring.answering import COOKIE_SECONDS, Cookies
from socketkit.inspect.measuring.plan import Plan
from socketkit.inspect.measuring.protocol import HEADER, MEASURED, PROBE
from socketkit.inspect.measuring.serving import MOST_TESTS, serve_bench
from tests.conftest import Run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from socketkit.inspect.measuring.session import Session

# Begins as a request does, and is long enough to be answered with a cookie.
NONSENSE = [
    b'{"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1, "pad": "%s"}' % bytes(60),
    b'{"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1, "pad": "............................"}',
    b'{"a":' * 1_600,
    b'{"bench":1,"a":' + b"[" * 8_000,
    b'{"bench":1,"id":' + b"9" * 8_000 + b"}",
    b'{"bench":1,"pad":"\xff\xfe' + bytes(100) + b'"}',
    b'{"bench":1,"pad":"' + b"." * 100,
]
PLAN = Plan(up=False, down=True, message_bytes=1_000, bits_per_second=8_000_000, seconds=60).to_json()


class Stranger:
    """A client of a page: a plain socket that asks what it wants."""

    def __init__(self, where: Endpoint) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.connect(("127.0.0.1", where.port))
        self._number = 0
        self._cookie: dict[str, str] = {}
        self.received_bytes = 0

    async def ask(self, do: str, **words: Any) -> dict[str, Any]:
        self._number += 1
        answer = await self._asked({"bench": 1, "do": do, "id": self._number, **words, **self._cookie})
        if "cookie" in answer:
            self._cookie = {"cookie": answer["cookie"]}
            answer = await self._asked({"bench": 1, "do": do, "id": self._number, **words, **self._cookie})
        return answer

    async def _asked(self, request: dict[str, Any]) -> dict[str, Any]:
        self.send(json.dumps(request | {"pad": "." * 60}).encode())
        while True:
            data = await self.receive()
            if data[:1] == b"{" and (answer := json.loads(data)).get("id") == request["id"]:
                return dict(answer)

    def send(self, data: bytes) -> None:
        self._socket.send(data)

    async def receive(self) -> bytes:
        data = await asyncio.get_running_loop().sock_recv(self._socket, 65_535)
        self.received_bytes += len(data)
        return data

    async def is_silent(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self.receive()
        except TimeoutError:
            return True
        return False

    def close(self) -> None:
        self._socket.close()


@asynccontextmanager
async def met() -> AsyncIterator[tuple[Endpoint, list[Session]]]:
    told: list[Session] = []
    async with serve_bench(Endpoint.parse("udp4://localhost:0"), lambda session, peer: told.append(session)) as running:
        local = running.local
        yield local, told


def test_an_unknown_address_gets_a_cookie_and_no_more_than_it_sent(run: Run) -> None:
    async def main() -> None:
        async with met() as (where, _):
            stranger = Stranger(where)
            request = json.dumps({"bench": 1, "do": "open", "id": 1, "plan": PLAN}).encode()
            stranger.send(request)
            answer = await stranger.receive()
            assert set(json.loads(answer)) == {"cookie", "id"}
            assert len(answer) <= len(request)
            for small in (b"{}", b'{"id":1}', b'{"bench":1,"do":"open","id":1}'):
                stranger.send(small)
            stranger.send(b"{" * 100)
            stranger.send(b"\xff" * 100)
            stranger.send(HEADER.pack(PROBE, MEASURED, 0, 1, 0, 0))
            assert await stranger.is_silent(0.2)
            stranger.close()

    run(main())


def test_nonsense_is_no_request_and_ends_nothing(run: Run) -> None:
    async def main() -> None:
        async with met() as (where, _):
            stranger = Stranger(where)
            for nonsense in NONSENSE:
                stranger.send(nonsense)
            assert await stranger.is_silent(0.2)
            assert (await stranger.ask("open", plan=PLAN, nonce="n"))["session"]
            stranger.close()

    run(main())


def test_a_cookie_of_nonsense_is_answered_with_a_true_one(run: Run) -> None:
    async def main() -> None:
        async with met() as (where, _):
            stranger = Stranger(where)
            cookies: tuple[object, ...] = ("\ud800", "é", 7, None, [], {"a": 1}, "0" * 32)
            for cookie in cookies:
                stranger.send(json.dumps({"bench": 1, "do": "open", "cookie": cookie, "pad": "." * 60}).encode())
                assert set(json.loads(await stranger.receive())) == {"cookie"}
            stranger.close()

    run(main())


def test_few_may_probe_a_test(run: Run) -> None:
    async def main() -> None:
        async with met() as (where, _):
            control = Stranger(where)
            session = (await control.ask("open", plan=PLAN, nonce="n"))["session"]
            probers = [Stranger(where) for _ in range(answering.MOST_PROBING + 1)]
            answers = [await prober.ask("probe", session=session) for prober in probers]
            assert [("error" in answer) for answer in answers] == [False] * answering.MOST_PROBING + [True]
            assert "error" not in await probers[0].ask("probe", session=session)  # was sent again
            for stranger in (control, *probers):
                stranger.close()

    run(main())


def test_nothing_flows_to_who_has_gone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "LOST_SECONDS", 0.4)

    async def main() -> None:
        async with met() as (where, told):
            control, flow = Stranger(where), Stranger(where)
            session = (await control.ask("open", plan=PLAN, nonce="n"))["session"]
            assert (await flow.ask("join", session=session, direction="down", flow=0))["id"]
            assert "error" not in await control.ask("start", session=session, nonce="n")
            async with asyncio.timeout(5):
                while not told:  # which may be a moment after the last datagram came
                    await flow.is_silent(0.1)
                    await asyncio.sleep(0)
                while not await flow.is_silent(0.2):
                    pass
            (test,) = told
            assert test.side.outgoing[0].bytes < 8_000_000 / 8 * 2
            control.close()
            flow.close()

    run(main())


def test_a_test_is_its_opener_s(run: Run) -> None:
    async def main() -> None:
        async with met() as (where, _):
            opener, other = Stranger(where), Stranger(where)
            first = await opener.ask("open", plan=PLAN, nonce="n")
            assert (await opener.ask("open", plan=PLAN, nonce="n"))["session"] == first["session"]  # was sent again
            assert "somebody else" in (await other.ask("stop", session=first["session"], nonce="n"))["error"]
            assert "no such test" in (await other.ask("join", session="0" * 16, direction="down", flow=0))["error"]
            assert "version" in (await other.ask("open", plan=PLAN, nonce="m", bench=2))["error"]
            assert "a plan has" in (await other.ask("open", nonce="m"))["error"]
            for number in range(MOST_TESTS - 1):
                assert "session" in await other.ask("open", plan=PLAN, nonce=f"o{number}")
            assert "try again" in (await other.ask("open", plan=PLAN, nonce="last"))["error"]
            opener.close()
            other.close()

    run(main())


def test_probes_of_who_has_joined_come_back(run: Run) -> None:
    async def main() -> None:
        async with met() as (where, _):
            control, prober = Stranger(where), Stranger(where)
            session = (await control.ask("open", plan=PLAN, nonce="n"))["session"]
            await prober.ask("probe", session=session)
            probe = HEADER.pack(PROBE, MEASURED, 0, int(session, 16) & 0xFFFFFFFF, 3, 4).ljust(64, b"\0")
            prober.send(probe)
            assert await prober.receive() == probe
            control.close()
            prober.close()

    run(main())


def test_cookies_are_for_one_address_and_a_minute() -> None:
    cookies = Cookies()
    cookie = cookies.made("udp://192.0.2.1:7", 1_000.0)
    assert cookies.fits(cookie, "udp://192.0.2.1:7", 1_000.0 + COOKIE_SECONDS)
    assert not cookies.fits(cookie, "udp://192.0.2.1:8", 1_000.0)
    assert not cookies.fits(cookie, "udp://192.0.2.1:7", 1_000.0 + 2 * COOKIE_SECONDS)
    assert not cookies.fits(None, "udp://192.0.2.1:7", 1_000.0)
    assert not cookies.fits("é", "udp://192.0.2.1:7", 1_000.0)
    assert not Cookies().fits(cookie, "udp://192.0.2.1:7", 1_000.0)
