"""`Bench`: the side of a bench that waits. Bounded tests at a time, each bounded in everything that it asks for.

A test ends with the connection that has opened it: whoever is gone is sent nothing more. Over datagrams there is no
such end; there a test lives for as long as requests come, and nobody is sent more than he has sent himself before he
has proved that he receives at his address, by sending back a cookie. No state is kept for that.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from ...connection import Stream
from ...errors import BrokenConnection, ClosedConnection, EndOfStream, PeerViolation, raisable
from ...verbs import bind, serve
from . import carriers
from .asking import words_of
from .carriers import shape_of, widen
from .flows import receive_chunks, receive_messages, send_chunks, send_messages
from .plan import Plan
from .protocol import Batch
from .session import Session, require_version

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from ...datagrams import Datagrams
    from ...endpoint import Endpoint
    from ...serving import Server

    Handler = Callable[[Any], Coroutine[Any, Any, object]]


class Bench:
    """All tests of one server. `tell(session, peer)` is called when a test is over."""

    def __init__(self, tell: Callable[[Session, str], None]) -> None:
        self._tell = tell
        self._running: dict[str, Driven] = {}

    async def handle(self, connection: Any) -> None:
        """Serve a connection, of a stream or of messages: the first request says what it is for."""
        words = words_of(connection)
        request = await words.receive()
        try:
            require_version(request)
            match request.get("do"):
                case "open":
                    await self._control(words, request, str(connection.peer.endpoint))
                case "join":
                    await self._flow(words, request, connection)
                case "probe":
                    driven = self.find(request)
                    await words.send({})
                    await driven.until(driven.closed, _echo(connection))
                case unknown:
                    raise raisable(PeerViolation)(f"no connection begins with {unknown!r}")
        except PeerViolation as fault:
            await words.send({"error": str(fault)})
            raise

    def open(self, request: dict[str, Any]) -> Driven:
        """A new test. PeerViolation if it asks for too much, or if there are too many."""
        import secrets

        plan = Plan.from_json(request.get("plan"))
        if len(self._running) >= MOST_TESTS:
            raise raisable(PeerViolation)(f"{MOST_TESTS} tests are running there: try again when one is done")
        driven = Driven(Session(secrets.token_hex(8), plan, time.monotonic_ns()))
        self._running[driven.session.token] = driven
        return driven

    def close(self, driven: Driven, peer: str) -> None:
        """A test is over, however. Idempotent."""
        if self._running.pop(driven.session.token, None):
            driven.close()
            if driven.session.started:
                self._tell(driven.session, peer)

    def find(self, request: dict[str, Any]) -> Driven:
        driven = self._running.get(str(request.get("session")))
        if driven is None:
            raise raisable(PeerViolation)("there is no such test any more")
        return driven

    @property
    def running(self) -> list[Driven]:
        return list(self._running.values())

    async def _control(self, words: Any, request: dict[str, Any], peer: str) -> None:
        driven = self.open(request)
        try:
            async with asyncio.timeout(driven.session.expires_ns() / 1e9):
                await words.send({"session": driven.session.token})
                while True:
                    await words.send(driven.answer(await words.receive()))
        except (EndOfStream, TimeoutError):
            pass
        finally:
            self.close(driven, peer)

    async def _flow(self, words: Any, request: dict[str, Any], connection: Any) -> None:
        driven = self.find(request)
        direction, number = driven.session.join(request)
        await words.send({})
        with suppress(EndOfStream, BrokenConnection, ClosedConnection):  # its peer is done
            if direction == "up":
                # To the test's end and not to its stop: messages that were on their way then count.
                await driven.until(driven.closed, _receiving(connection, driven.session, number))
            else:
                await driven.started.wait()
                await driven.until(driven.stopped, _sending(connection, driven.session, number))
        connection.abort()


@asynccontextmanager
async def serve_bench(
    endpoint: Endpoint,
    tell: Callable[[Session, str], None] = lambda session, peer: None,
    around: Callable[[Handler], Handler] = lambda handle: handle,
) -> AsyncIterator[Datagrams | Server]:
    """Serve tests for as long as the block runs; gives what listens. `around` the handler of each connection."""
    bench = Bench(tell)
    shape = shape_of(endpoint)
    if shape == "datagrams":
        from .answering import DatagramBench

        async with bind(endpoint) as datagrams:
            widen(datagrams)
            serving = asyncio.create_task(DatagramBench(bench, datagrams).serve())
            try:
                yield datagrams
            finally:
                serving.cancel()
                await asyncio.wait([serving])
    elif shape == "messages":
        from ...messages import Messages

        async with serve(endpoint, around(bench.handle), Messages, limits=LIMITS) as server:
            yield server
    else:
        async with serve(endpoint, around(bench.handle), limits=LIMITS) as server:
            yield server


class Driven:
    """A session, and the events that its flows wait for."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.started = asyncio.Event()
        self.stopped = asyncio.Event()
        self.closed = asyncio.Event()

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        answer = self.session.answer(request, time.monotonic_ns(), time.process_time_ns())
        if self.session.started:
            self.started.set()
        if self.session.stopped:
            self.stopped.set()
        return answer

    def close(self) -> None:
        self.session.stop(time.monotonic_ns(), time.process_time_ns())
        for event in (self.started, self.stopped, self.closed):
            event.set()

    async def until(self, event: asyncio.Event, moving: Coroutine[Any, Any, None]) -> None:
        """Run one flow until it ends, or the event comes."""
        task = asyncio.ensure_future(moving)
        stopping = asyncio.ensure_future(event.wait())
        try:
            await asyncio.wait([task, stopping], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
        finally:
            for each in (task, stopping):
                each.cancel()
            await asyncio.gather(task, stopping, return_exceptions=True)


def _receiving(connection: Any, session: Session, number: int) -> Coroutine[Any, Any, None]:
    flow = session.side.incoming[number]
    if isinstance(connection, Stream):
        return receive_chunks(connection, flow)
    return receive_messages(connection.receive_many, flow)


def _sending(connection: Any, session: Session, number: int) -> Coroutine[Any, Any, None]:
    flow, plan = session.side.outgoing[number], session.plan
    if isinstance(connection, Stream):
        return send_chunks(connection, flow, plan)
    return send_messages(connection.send_many, flow, plan, Batch(session.number, number, plan.message_bytes))


async def _echo(connection: Any) -> None:
    with suppress(EndOfStream, BrokenConnection):
        while True:
            await connection.send(await connection.receive())


MOST_TESTS = 8
# A test has a connection for each flow in each direction, one for its requests and one for its probes.
LIMITS = carriers.LIMITS.replace(
    source_connections=256, source_unproven=64, source_burst=512, source_rate_per_second=200
)
