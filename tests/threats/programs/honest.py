"""An honest client: asks at a steady rate, over new connections and over kept ones, and says how it was served.

Written without socketkit, so that its figures depend on the server alone. Requests start by the clock, whether or not
earlier ones are answered, and their latency counts from the moment they were due: a stalled server is not spared.

Settings: `target` (host, port), `tls`, `request` and `answer` (hexadecimal), `new_per_second`, `kept` (connections),
`kept_per_second`. Each word on standard input closes a window, and is answered with what happened in it.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections import Counter
from typing import Any

from tests.threats.programs.speaking import say, settings, words

PATIENCE_SECONDS = 2.0


class Window:
    """The requests that were due between two words."""

    def __init__(self) -> None:
        self.latencies_seconds: list[float] = []
        self.failures: Counter[str] = Counter()
        self.tasks: set[asyncio.Task[None]] = set()

    async def report(self) -> dict[str, Any]:
        if self.tasks:
            await asyncio.wait(self.tasks)
        ordered = sorted(self.latencies_seconds) or [PATIENCE_SECONDS]
        return {
            "served": len(self.latencies_seconds),
            "failed": self.failures.total(),
            "p50_ms": round(1000 * ordered[len(ordered) // 2], 2),
            "p99_ms": round(1000 * ordered[int(0.99 * (len(ordered) - 1))], 2),
            "worst_ms": round(1000 * ordered[-1], 2),
            "failures": dict(self.failures.most_common(5)),
        }


class Kept:
    """A connection that is kept; lost, it is made again with the next request."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._opened: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._lock = asyncio.Lock()

    async def ask(self) -> None:
        async with self._lock:
            try:
                if self._opened is None:
                    self._opened = await self._client.open()
                await self._client.exchange(*self._opened)
            except BaseException:
                if self._opened is not None:
                    self._opened[1].transport.abort()
                    self._opened = None
                raise


class Client:
    def __init__(self, given: dict[str, Any]) -> None:
        self._host, self._port = given["target"]
        self._tls = context() if given.get("tls") else None
        self._request, self._answer = bytes.fromhex(given["request"]), bytes.fromhex(given["answer"])
        self._new_per_second = given.get("new_per_second", 20)
        self._kept_per_second = given.get("kept_per_second", 30)
        self._kept = [Kept(self) for _ in range(given.get("kept", 5))]
        self.window = Window()

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self._host, self._port, ssl=self._tls, limit=1 << 20)

    async def exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self._request)
        answer = await reader.readexactly(len(self._answer))
        if answer != self._answer:
            raise ValueError("wrong answer")

    async def ask_anew(self) -> None:
        reader, writer = await self.open()
        try:
            await self.exchange(reader, writer)
        finally:
            writer.close()

    async def run(self) -> None:
        """Start the requests when they are due, in the order of their moments."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        new = kept = 0
        while True:
            next_new = start + new / self._new_per_second
            next_kept = start + kept / self._kept_per_second
            due = min(next_new, next_kept)
            await asyncio.sleep(due - loop.time())
            if next_new <= next_kept:
                new += 1
                asking = self.ask_anew()
            else:
                asking = self._kept[kept % len(self._kept)].ask()
                kept += 1
            task = loop.create_task(self._measured(asking, due, self.window))
            self.window.tasks.add(task)
            task.add_done_callback(self.window.tasks.discard)

    async def _measured(self, asking: Any, due: float, window: Window) -> None:
        try:
            async with asyncio.timeout_at(due + PATIENCE_SECONDS):
                await asking
        except (OSError, EOFError, ValueError, TimeoutError) as failure:
            window.failures[f"{type(failure).__name__}: {failure}"[:80]] += 1
        else:
            window.latencies_seconds.append(asyncio.get_running_loop().time() - due)


def context() -> ssl.SSLContext:
    """TLS without a look at the certificate: who the server is, other tests ask."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    return made


async def main() -> None:
    client = Client(settings())
    running = asyncio.create_task(client.run())
    running.add_done_callback(lambda task: task.cancelled() or task.result())
    async for _ in words():
        window, client.window = client.window, Window()
        say(**await window.report())
    running.cancel()


if __name__ == "__main__":
    os.nice(-10)  # it measures the server, and not its own wait for a processor that the attacker has
    asyncio.run(main())
