"""`Measurement`: the side of a bench that asks. It opens the flows, lets them run, and knows what came of it.

`run` measures; `report` can be asked for at any time, and after `run` was cancelled has what was measured until then.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...connection import Stream
from .asking import Asking
from .carriers import opened, shape_of, usual_bytes, widen
from .counting import Side
from .flows import receive_chunks, receive_messages, send_chunks, send_messages
from .probing import IDLE_PROBES, Prober
from .protocol import Batch, session_number
from .reporting import Report

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...endpoint import Endpoint
    from .plan import Plan
    from .reporting import Counted, Interval


class Measurement:
    """One test against `socketkit serve bench` at an endpoint."""

    def __init__(self, endpoint: Endpoint, plan: Plan, *, fit: bool = False) -> None:
        """`fit`: take the size of messages from the connection, as `carriers.usual_bytes` has it."""
        self.endpoint = endpoint
        self.plan = plan
        self.shape = shape_of(endpoint)
        self.report = Report(plan, self.shape)
        self._fit = fit
        self._side = Side(0, 0)
        self._session = ""
        self._before: Counted = {}, {}
        self._moving: list[asyncio.Task[None]] = []

    async def run(self, tell: Callable[[Interval], None] = lambda _: None) -> Report:
        """Measure, and call `tell` each second. Once only.

        Raises ConnectError when nobody is there, BrokenConnection when the other side goes in the middle of it,
        PeerViolation when it refuses.
        """
        async with AsyncExitStack() as stack:
            control = await stack.enter_async_context(opened(self.endpoint, self.shape))
            self._tell = tell
            self._describe(control)
            if self._fit:
                self.plan = self.report.plan = replace(self.plan, message_bytes=usual_bytes(control, self.shape))
            self._asking = Asking(control, lossy=self.shape == "datagrams")
            try:
                await self._open(stack)
                await self._timed()
            finally:
                self._side.end(time.monotonic_ns(), time.process_time_ns())
                await self._cancel()
        return self.report

    def moved(self) -> tuple[float, dict[str, int]] | None:
        """For a plot: the time, and how many bytes this side has sent (`up`) and received (`down`); None before."""
        if not self._moving:
            return None
        counted: dict[str, int] = {}
        if self.plan.up:
            counted["up"] = sum(flow.bytes for flow in self._side.outgoing)
        if self.plan.down:
            counted["down"] = sum(flow.bytes for flow in self._side.incoming)
        return time.monotonic(), counted

    async def _open(self, stack: AsyncExitStack) -> None:
        """The test, its flows and its probes; then the latency of the idle line."""
        import secrets

        # In every request: over datagrams it says whose the test is, and that a second request to open is the first.
        self._asking.always["nonce"] = secrets.token_hex(8)
        answer = await self._asking.ask("open", plan=self.plan.to_json())
        self._session = self._asking.always["session"] = str(answer["session"])
        number, plan = session_number(self._session), self.plan
        self._side = Side(plan.flows if plan.down else 0, plan.flows if plan.up else 0)
        probing = await self._joined(stack, "probe")
        self._ups = [await self._flow(stack, at, "up") for at in range(len(self._side.outgoing))]
        self._downs = [await self._flow(stack, at, "down") for at in range(len(self._side.incoming))]
        self._prober = Prober(probing)
        self._prober.begin(number)
        self._start(self._prober.receive())
        await self._prober.send(IDLE_PROBES)
        self.report.idle = self._prober.all

    async def _flow(self, stack: AsyncExitStack, flow: int, direction: str) -> Any:
        return await self._joined(stack, "join", flow=flow, direction=direction)

    async def _joined(self, stack: AsyncExitStack, do: str, **words: Any) -> Any:
        connection = await stack.enter_async_context(opened(self.endpoint, self.shape))
        stack.callback(connection.abort)  # what is queued when it is over is of no use
        if self.shape == "datagrams":
            widen(connection)
        asking = Asking(connection, lossy=self.shape == "datagrams")
        await asking.ask(do, session=self._session, **words)
        return connection

    async def _timed(self) -> None:
        number, plan = session_number(self._session), self.plan
        for flow, connection in zip(self._side.incoming, self._downs, strict=True):
            if isinstance(connection, Stream):
                self._start(receive_chunks(connection, flow))
            else:
                self._start(receive_messages(connection.receive_many, flow))
        await self._asking.ask("start")
        if not plan.warm_up_seconds:
            self._begin()
        sending = []
        for at, (out, connection) in enumerate(zip(self._side.outgoing, self._ups, strict=True)):
            if isinstance(connection, Stream):
                sending.append(self._start(send_chunks(connection, out, plan)))
            else:
                batch = Batch(number, at, plan.message_bytes)
                sending.append(self._start(send_messages(connection.send_many, out, plan, batch)))
        self._start(self._prober.send())
        if plan.warm_up_seconds:
            await self._watch(plan.warm_up_seconds)
            self._begin()
            await self._asking.ask("mark")
        await self._intervals()
        await self._stop(sending)

    def _begin(self) -> None:
        self._side.begin(time.monotonic_ns(), time.process_time_ns())
        self._prober.begin(session_number(self._session))
        self.report.loaded = self._prober.all

    async def _intervals(self) -> None:
        end = time.monotonic() + self.plan.seconds
        at = time.monotonic() + INTERVAL_SECONDS
        # A last one that is very short says nothing. Its end is the answer to `stop`: nothing runs while that is
        # waited for.
        while end - at > INTERVAL_SECONDS / 4:
            await self._watch(at - time.monotonic())
            self._counted(await self._asking.ask("count"))
            self._tell_interval()
            at += INTERVAL_SECONDS
        await self._watch(end - time.monotonic())

    async def _stop(self, sending: list[asyncio.Task[None]]) -> None:
        """Stop both sides at once, then wait for messages that are still on their way."""
        self._moving = [task for task in self._moving if task not in sending]
        for task in sending:
            task.cancel()
        await asyncio.gather(*sending, return_exceptions=True)
        self._side.end(time.monotonic_ns(), time.process_time_ns())
        sent = [flow.number for flow in self._side.outgoing]
        self._counted(await self._asking.ask("stop", sent=sent))
        changed_at, seen = time.monotonic(), -1
        while self.shape != "stream" and self._missing(sent) and time.monotonic() - changed_at < DRAIN_SECONDS:
            await asyncio.sleep(DRAIN_SECONDS / 10)
            self._counted(await self._asking.ask("count"))
            if (missing := self._missing(sent)) != seen:
                changed_at, seen = time.monotonic(), missing
        self.report.complete = True
        self._tell_interval()

    def _missing(self, sent: list[int]) -> int:
        """Messages that were sent and have not come, in both directions."""
        theirs = self.report.theirs
        came = sum(flow.arrivals.received for flow in self._side.incoming)
        return int(sum(sent) - theirs["received"]["messages"] + sum(theirs["sent"]["messages"]) - came)

    def _counted(self, theirs: dict[str, Any]) -> None:
        """Both sides' counters, as of now."""
        self.report.theirs = theirs
        self._count_ours()

    def _count_ours(self) -> None:
        theirs = self.report.theirs
        sent = theirs["sent"]["messages"] if theirs.get("ended") and self._side.incoming else None
        self.report.ours = self._side.report(time.monotonic_ns(), time.process_time_ns(), sent)
        self.report.probes_sent = self._prober.sent

    def _tell_interval(self) -> None:
        self._before = self.report.add_interval(self._before, self._prober.recent())
        self._tell(self.report.intervals[-1])

    async def _watch(self, seconds: float) -> None:
        """Wait, but not for flows that have failed."""
        done, _ = await asyncio.wait(self._moving, timeout=max(0.0, seconds), return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    def _start(self, moving: Any) -> asyncio.Task[None]:
        self._moving.append(asyncio.ensure_future(moving))
        return self._moving[-1]

    async def _cancel(self) -> None:
        for task in self._moving:
            task.cancel()
        await asyncio.gather(*self._moving, return_exceptions=True)

    def _describe(self, control: Any) -> None:
        report = self.report
        report.endpoint, report.peer = str(self.endpoint), str(control.peer.endpoint)
        report.encrypted, report.ciphers = control.encrypted, control.ciphers


INTERVAL_SECONDS = 1.0
DRAIN_SECONDS = 0.2
