"""HTTP/2: requests side by side, flow control, ends; and clients that we did not write."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import pytest

from socketkit import Limits, Stream, connect
from socketkit.http import Access, serve
from socketkit.http.multiplexed import Multiplexed
from tests.conftest import Run

from .applications import answer, echo, hello, require_http

pytestmark = pytest.mark.usefixtures("no_leaks")

URL = "tls://127.0.0.1:0"


class Client:
    """A client of HTTP/2 that does as it is told."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        self.events: list[h2.events.Event] = []
        self.acknowledges = True

    async def flush(self) -> None:
        await self.stream.send(self.h2.data_to_send())

    async def ask(
        self, *fields: tuple[bytes, bytes], path: bytes = b"/", method: bytes = b"GET", end: bool = True
    ) -> int:
        number = self.h2.get_next_available_stream_id()
        pseudo = [(b":method", method), (b":path", path), (b":scheme", b"https"), (b":authority", b"example.org")]
        self.h2.send_headers(number, [*pseudo, *fields], end_stream=end)
        await self.flush()
        return number

    async def until(self, wanted: Callable[[h2.events.Event], bool]) -> Any:
        """The first event that is wanted."""
        while True:
            for event in self.events:
                if wanted(event):
                    self.events.remove(event)
                    return event
            for event in self.h2.receive_data(await self.stream.receive()):
                if isinstance(event, h2.events.DataReceived) and self.acknowledges:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                self.events.append(event)
            with suppress(OSError):  # what came may have been a farewell
                await self.flush()

    async def answer(self, number: int) -> tuple[int, dict[bytes, bytes], bytes]:
        """(status, fields, body)"""
        begin = await self.until(
            lambda event: isinstance(event, h2.events.ResponseReceived) and event.stream_id == number
        )
        await self.until(lambda event: isinstance(event, h2.events.StreamEnded) and event.stream_id == number)
        body = b"".join(
            event.data
            for event in self.events
            if isinstance(event, h2.events.DataReceived) and event.stream_id == number
        )
        fields = dict(begin.headers)
        return int(fields[b":status"]), fields, body


@asynccontextmanager
async def client_of(service: Any) -> Any:
    address = str(service.local).replace("h2,http/1.1", "h2")
    async with connect(address) as stream:
        client = Client(stream)
        client.h2.initiate_connection()
        await client.flush()
        yield client
        stream.abort()  # the service must not wait for what a test has left open


def test_requests_run_side_by_side(run: Run) -> None:
    async def main() -> list[bytes]:
        gates = {b"/1": asyncio.Event(), b"/2": asyncio.Event()}

        async def app(scope: Any, receive: Any, send: Any) -> None:
            require_http(scope)
            await gates[scope["raw_path"]].wait()
            await answer(send, scope["raw_path"])

        async with serve(URL, app) as service, client_of(service) as client:
            first, second = await client.ask(path=b"/1"), await client.ask(path=b"/2")
            gates[b"/2"].set()
            early = (await client.answer(second))[2]
            gates[b"/1"].set()
            return [early, (await client.answer(first))[2]]

    assert run(main()) == [b"/2", b"/1"]


def test_answers_of_one_turn_leave_together(run: Run) -> None:
    async def main() -> int:
        count, waiting, gate = 0, 0, asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            nonlocal waiting
            require_http(scope)
            waiting += 1
            await gate.wait()
            await answer(send, b"hello")

        class Counting:
            """The stream below, and how often it was sent to."""

            def __init__(self, stream: Stream) -> None:
                self._stream = stream

            def __getattr__(self, name: str) -> Any:
                return getattr(self._stream, name)

            async def send(self, data: bytes) -> None:
                nonlocal count
                count += 1
                await self._stream.send(data)

        async with serve(URL, app) as service, client_of(service) as client:
            numbers = [await client.ask() for _ in range(20)]
            while waiting < 20:
                await asyncio.sleep(0.001)
            (connection,) = service._conversing
            assert isinstance(connection, Multiplexed)
            connection.stream = Counting(connection.stream)  # type: ignore[assignment]
            gate.set()
            for number in numbers:
                await client.answer(number)
            return count

    assert run(main()) <= 3


def test_the_scope_is_that_of_http_2(run: Run) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        require_http(scope)
        seen.append(scope)
        await answer(send, b"")

    async def main() -> None:
        async with serve(URL, app) as service, client_of(service) as client:
            await client.answer(await client.ask((b"cookie", b"a=b"), (b"cookie", b"c=d"), path=b"/%C3%BC?x=y"))

    run(main())
    (scope,) = seen
    assert (scope["http_version"], scope["scheme"], scope["path"], scope["query_string"]) == (
        "2",
        "https",
        "/ü",
        b"x=y",
    )
    assert scope["headers"] == [(b"host", b"example.org"), (b"cookie", b"a=b; c=d")]


def test_large_bodies_go_both_ways(run: Run) -> None:
    sent = bytes(range(256)) * 8192

    async def main() -> bytes:
        async with serve(URL, echo) as service, client_of(service) as client:
            number = await client.ask(method=b"POST", end=False)
            left = memoryview(sent)
            while left:
                room = min(client.h2.local_flow_control_window(number), client.h2.max_outbound_frame_size, len(left))
                if not room:
                    await client.until(lambda event: isinstance(event, h2.events.WindowUpdated))
                    continue
                client.h2.send_data(number, bytes(left[:room]), end_stream=room == len(left))
                left = left[room:]
                await client.flush()
            return (await client.answer(number))[2]

    assert run(main()) == sent


def test_a_closed_window_makes_the_application_wait(run: Run) -> None:
    async def main() -> tuple[int, int]:
        sent = 0

        async def endless(scope: Any, receive: Any, send: Any) -> None:
            nonlocal sent
            require_http(scope)
            await send({"type": "http.response.start", "status": 200})
            for _ in range(1000):
                await send({"type": "http.response.body", "body": bytes(10_000), "more_body": True})
                sent += 10_000
            await send({"type": "http.response.body"})

        async with serve(URL, endless, limits=Limits(grace_seconds=0)) as service, client_of(service) as client:
            number = await client.ask()
            for _ in range(100):
                await asyncio.sleep(0.001)
            waited_at = sent
            await client.until(lambda event: isinstance(event, h2.events.StreamEnded) and event.stream_id == number)
        return waited_at, sent

    waited_at, sent = run(main())
    assert waited_at <= 65_535
    assert sent == 10_000_000


def test_a_reset_ends_the_wait_of_an_application(run: Run) -> None:
    async def main() -> str:
        told: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        running = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            require_http(scope)
            await receive()
            running.set()
            told.set_result((await receive())["type"])

        async with serve(URL, app) as service, client_of(service) as client:
            number = await client.ask()
            await running.wait()
            client.h2.reset_stream(number)
            await client.flush()
            return await told

    assert run(main()) == "http.disconnect"


def test_applications_that_fail(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def fails(scope: Any, receive: Any, send: Any) -> None:
        require_http(scope)
        if scope["path"] == "/late":
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"a", "more_body": True})
        if scope["path"] != "/silent":
            raise ZeroDivisionError

    async def main() -> tuple[int, int, int]:
        async with serve(URL, fails) as service, client_of(service) as client:
            early = await client.answer(await client.ask())
            silent = await client.answer(await client.ask(path=b"/silent"))
            number = await client.ask(path=b"/late")
            reset = await client.until(lambda event: isinstance(event, h2.events.StreamReset))
            assert reset.stream_id == number
            return early[0], silent[0], int(reset.error_code)

    assert run(main()) == (500, 500, 2)
    assert len(caplog.records) == 3
    caplog.clear()


def test_a_body_over_the_bound_is_refused(run: Run) -> None:
    async def main() -> int:
        async with serve(URL, echo, body_bytes=10) as service, client_of(service) as client:
            number = await client.ask(method=b"POST", end=False)
            client.h2.send_data(number, b"x" * 11)
            await client.flush()
            return (await client.answer(number))[0]

    assert run(main()) == 413


def test_every_answer_is_told(run: Run) -> None:
    told: list[Access] = []

    async def main() -> None:
        async with serve(URL, hello, access=told.append) as service, client_of(service) as client:
            await client.answer(await client.ask(path=b"/a?b"))

    run(main())
    assert [(access.version, access.target, access.status, access.sent_bytes) for access in told] == [
        ("2", "/a?b", 200, 5)
    ]


def test_head_has_no_body(run: Run) -> None:
    async def main() -> tuple[int, dict[bytes, bytes], bytes]:
        async with serve(URL, hello) as service, client_of(service) as client:
            return await client.answer(await client.ask(method=b"HEAD"))

    status, fields, body = run(main())
    assert (status, body) == (200, b"")
    assert fields[b"date"].endswith(b" GMT")


@pytest.mark.parametrize(
    "fields",
    [[(b":path", b"/a b")], [(b":path", b"x")], [(b":path", b"*")]],
)
def test_odd_requests_are_refused(run: Run, fields: list[tuple[bytes, bytes]]) -> None:
    async def main() -> int:
        async with serve(URL, hello) as service, client_of(service) as client:
            number = client.h2.get_next_available_stream_id()
            usual = {b":method": b"GET", b":path": b"/", b":scheme": b"https", b":authority": b"a"}
            client.h2.send_headers(number, list((usual | dict(fields)).items()), end_stream=True)
            await client.flush()
            return (await client.answer(number))[0]

    assert run(main()) == 400


# --- the end


def test_the_end_is_announced_and_what_runs_is_finished(run: Run) -> None:
    async def main() -> bytes:
        running, go_on = asyncio.Event(), asyncio.Event()

        async def slow(scope: Any, receive: Any, send: Any) -> None:
            require_http(scope)
            running.set()
            await go_on.wait()
            await answer(send, b"late")

        async with serve(URL, slow) as service, client_of(service) as client:
            number = await client.ask()
            await running.wait()
            closing = asyncio.create_task(service.aclose())
            end = await client.until(lambda event: isinstance(event, h2.events.ConnectionTerminated))
            assert (end.error_code, end.last_stream_id) == (0, number)
            go_on.set()
            # h2 counts the connection as over with the GOAWAY: the rest is read by hand.
            rest = b"".join([chunk async for chunk in client.stream])
            await closing
            return rest

    assert b"late" in run(main())


def test_a_silent_connection_does_not_hold_the_end_up(run: Run) -> None:
    async def main() -> None:
        async with serve(URL, hello) as service:
            async with client_of(service) as client:
                await client.answer(await client.ask())
                await service.aclose()

    run(main(), seconds=4)


# --- peers that we did not write


@pytest.mark.parametrize("words", [["--http2"], ["--http1.1"]])
def test_curl(run: Run, program: Callable[[str], str], words: list[str]) -> None:
    async def main() -> bytes:
        async with serve(URL, echo) as service:
            url = f"https://127.0.0.1:{service.local.port}/"
            command = [program("curl"), "-ksS", *words, "-w", "%{http_version}", "-d", "@-", url]
            process = await asyncio.create_subprocess_exec(
                *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            told, _ = await process.communicate(b"x" * 200_000)
            return told[200_000:]

    assert run(main()) == (b"2" if words == ["--http2"] else b"1.1")


@pytest.mark.slow
def test_h2load(run: Run, program: Callable[[str], str]) -> None:
    async def main() -> str:
        async with serve(URL, hello) as service:
            url = f"https://127.0.0.1:{service.local.port}/"
            process = await asyncio.create_subprocess_exec(
                program("h2load"), "-n300", "-c3", "-m20", url, stdout=subprocess.PIPE
            )
            told, _ = await process.communicate()
            return told.decode()

    assert "300 succeeded, 0 failed" in run(main())
