"""A bench over datagrams: all of its tests on one socket, told apart by the header of each datagram.

Addresses can be forged, so a request is first answered with a cookie, shorter than the request: who sends it back
receives at his address. Only then there is a test, a flow to him, or an answer to his probes. He has to go on asking:
after `LOST_SECONDS` without a request nothing more is sent.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ... import _core
from ...errors import PeerViolation, SocketError, raisable
from .flows import RECEIVED_AT_ONCE, send_messages
from .protocol import HEADER, MOST_REQUEST_BYTES, PROBE, Batch, decode, encode
from .session import require_version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .serving import Bench, Driven


class DatagramBench:
    """Answers requests, counts what flows in, sends what flows out, and gives probes back."""

    def __init__(self, bench: Bench, datagrams: Any) -> None:
        self._bench = bench
        self._datagrams = datagrams
        self._cookies = Cookies()
        self._opened: dict[str, tuple[Driven, str]] = {}
        """By the number that their opener has drawn: a request that is sent again opens no second test."""
        self._incoming: dict[tuple[int, int], _core.Arrivals] = {}
        """By session and flow, as headers have them."""
        self._probed: set[tuple[int, str]] = set()
        self._sending: dict[tuple[int, int], asyncio.Task[None]] = {}

    async def serve(self) -> None:
        """Until cancelled."""
        sweeping = asyncio.create_task(self._sweep())
        try:
            while True:
                with suppress(SocketError):  # somebody who was answered is gone: no reason to leave the others
                    await self._take(await self._datagrams.receive_many(RECEIVED_AT_ONCE))
        finally:
            sweeping.cancel()
            for driven, peer in list(self._opened.values()):
                self._close(driven, peer)
            await asyncio.gather(sweeping, return_exceptions=True)

    async def _take(self, batch: list[Any]) -> None:
        probes = []
        for datagram in _core.count_arrivals(batch, self._incoming, time.time_ns()):
            data = datagram.data
            kind, _, _, session, _, _ = HEADER.unpack_from(data)
            if kind == PROBE:
                if (session, str(datagram.peer)) in self._probed:
                    probes.append(datagram)
            elif data[:1] == b"{" and len(data) <= MOST_REQUEST_BYTES and datagram.peer is not None:
                await self._request(datagram)
        if probes:
            await self._datagrams.send_many(probes)

    async def _request(self, datagram: Any) -> None:
        try:
            request = decode(datagram.data)
        except PeerViolation:
            return
        if "bench" not in request:
            return  # others speak JSON, too
        peer, now = str(datagram.peer), time.monotonic()
        if not self._cookies.fits(request.get("cookie"), peer, now):
            answer: dict[str, Any] = {"cookie": self._cookies.made(peer, now)}
        else:
            self._datagrams.validate(datagram.peer)
            try:
                require_version(request)
                answer = self._answer(request, datagram.peer)
            except PeerViolation as fault:
                answer = {"error": str(fault)}
        if isinstance(number := request.get("id"), int):
            answer["id"] = number
        encoded = encode(answer)
        if "cookie" not in answer or len(encoded) <= len(datagram.data):
            await self._datagrams.answer(datagram, encoded)

    def _answer(self, request: dict[str, Any], peer: Any) -> dict[str, Any]:
        match request.get("do"):
            case "open":
                return {"session": self._open(request, str(peer)).session.token}
            case "join":
                self._join(request, peer)
                return {}
            case "probe":
                self._probe(self._bench.find(request), str(peer))
                return {}
        driven = self._bench.find(request)
        if self._opened.get(str(request.get("nonce")), (None, ""))[1] != str(peer):
            raise raisable(PeerViolation)("this test belongs to somebody else")
        return driven.answer(request)

    def _open(self, request: dict[str, Any], peer: str) -> Driven:
        nonce = str(request.get("nonce"))
        if nonce in self._opened and self._opened[nonce][1] == peer:
            return self._opened[nonce][0]
        driven = self._bench.open(request)
        self._opened[nonce] = driven, peer
        return driven

    def _join(self, request: dict[str, Any], peer: Any) -> None:
        driven = self._bench.find(request)
        session = driven.session
        direction, flow = session.join(request)
        if direction == "up":
            self._incoming[session.number, flow] = session.side.incoming[flow].arrivals
        elif (session.number, flow) not in self._sending:
            self._sending[session.number, flow] = asyncio.create_task(self._send(driven, flow, peer))

    def _probe(self, driven: Driven, peer: str) -> None:
        place = driven.session.number, peer
        if place not in self._probed and sum(number == place[0] for number, _ in self._probed) >= MOST_PROBING:
            raise raisable(PeerViolation)(f"{MOST_PROBING} addresses probe this test already")
        self._probed.add(place)

    async def _send(self, driven: Driven, flow: int, peer: Any) -> None:
        session = driven.session

        async def send_many(messages: Sequence[memoryview]) -> None:
            await self._datagrams.send_many(messages, to=peer)

        await driven.started.wait()
        batch = Batch(session.number, flow, session.plan.message_bytes)
        try:
            await driven.until(
                driven.stopped, send_messages(send_many, session.side.outgoing[flow], session.plan, batch)
            )
        except SocketError:  # its address is no longer reached; the requests that stop coming end the test
            return

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(LOST_SECONDS / 4)
            now_ns = time.monotonic_ns()
            for driven, peer in list(self._opened.values()):
                if driven.session.abandoned(now_ns, LOST_SECONDS):
                    self._close(driven, peer)

    def _close(self, driven: Driven, peer: str) -> None:
        number = driven.session.number
        self._bench.close(driven, peer)
        self._opened = {nonce: kept for nonce, kept in self._opened.items() if kept[0] is not driven}
        self._incoming = {place: kept for place, kept in self._incoming.items() if place[0] != number}
        self._probed = {kept for kept in self._probed if kept[0] != number}
        for place in [place for place in self._sending if place[0] == number]:
            self._sending.pop(place).cancel()


class Cookies:
    """Proofs that who sends one has received it at his address, for a minute at most. Nothing is remembered."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)

    def made(self, peer: str, now_seconds: float) -> str:
        return self._of(peer, int(now_seconds // COOKIE_SECONDS))

    def fits(self, cookie: object, peer: str, now_seconds: float) -> bool:
        turn = int(now_seconds // COOKIE_SECONDS)
        if not isinstance(cookie, str):
            return False
        shown = cookie.encode(errors="replace")  # JSON may say what no UTF-8 can
        return any(hmac.compare_digest(shown, self._of(peer, each).encode()) for each in (turn, turn - 1))

    def _of(self, peer: str, turn: int) -> str:
        return hmac.digest(self._secret, f"{turn} {peer}".encode(), "sha256").hex()[:COOKIE_DIGITS]


COOKIE_DIGITS = 32
COOKIE_SECONDS = 30
MOST_PROBING = 8
"""Addresses of a test: each is remembered, and who has an IPv6 network has no end of them. The client needs one."""
LOST_SECONDS = 3.0
