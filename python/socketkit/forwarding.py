"""`Forward`: every connection to a listener is relayed to a new one to a target.

Between sockets the engine accepts, connects and relays, and no connection becomes a Python object. What is under TLS or
exists only in this process (`mem://`), and a Unix target whose server must be asked for its user, is accepted and
connected here, and relayed by the engine pair by pair.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from typing import TYPE_CHECKING, Any, Protocol

from . import _core
from .connection import Stream
from .drivers import Driver, LoopDriver
from .errors import (
    ClosedConnection,
    ConnectError,
    MessageTooLarge,
    PeerViolation,
    SocketError,
    Unsupported,
    explain,
    from_errno,
    raisable,
)
from .listener import Listener
from .opening import connector, open_stream
from .race import interleave
from .relaying import Relay

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator

    from .endpoint import Endpoint
    from .limits import Limits
    from .listener import Listening


class Forward:
    """Forwards when awaited, until cancelled. Made by `relay(listener, address)`. The counters may be read at any time.

    The target's name is resolved once, at the start; its addresses are tried in order for each connection. A caller
    whose target cannot be reached is reset and counted in `failed`; the log says so, at most every ten seconds. With
    the listener's `Limits.connections` open, or out of descriptors, callers wait in the backlog.

    Cancelled: nothing more is accepted, connections have the listener's `Limits.grace_seconds` to end, then they are
    reset; a second cancellation skips the grace. The listener stays open, and is its owner's again. Closing it ends
    the forwarding in the same way, with ClosedConnection.
    """

    def __init__(self, listener: Listening, target: Endpoint) -> None:
        self._listener = listener
        self._target = target
        self._work: Work = NotStarted()

    @property
    def connections(self) -> int:
        """Open now, those that are being connected to the target included."""
        return self._work.connections

    @property
    def accepted(self) -> int:
        """In all."""
        return self._work.accepted

    @property
    def failed(self) -> int:
        """Those for which the target could not be reached."""
        return self._work.failed

    @property
    def broken(self) -> int:
        """Those that were cut short by one of the two sides; the other one saw that too."""
        return self._work.broken

    @property
    def a_to_b_bytes(self) -> int:
        """From the callers to the target."""
        return self._work.a_to_b_bytes

    @property
    def b_to_a_bytes(self) -> int:
        """From the target to the callers."""
        return self._work.b_to_a_bytes

    @property
    def last_error(self) -> str | None:
        """Why the last accept or connect that failed did so."""
        if isinstance(self._work, Pairs):
            return self._work.last_reason
        number = self._work.last_errno
        return None if number is None else explain(number)

    def __await__(self) -> Generator[Any, Any, None]:
        return self._run().__await__()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._listener.local} to {self._target}, {self.connections} connections>"

    async def _run(self) -> None:
        work = await self._start(LoopDriver.current())
        try:
            while await work.news():
                self._log()
        except GeneratorExit:
            work.halt()
            raise
        except BaseException:
            await self._stop(work)
            raise
        self._explain_end()

    def run(self, driver: Driver) -> None:
        """The same, blocking; for `socketkit.sync`. TimeoutError at the thread's deadline."""
        from .drivers import block, do

        work = block(self._start(driver))
        try:
            while do(work.news()):
                self._log()
        finally:
            work.halt()
        self._explain_end()

    async def _start(self, driver: Driver) -> Work:
        self._require_unused()
        targets = await addresses_of(self._target, driver)
        limits = self._listener._limits
        if targets is None or _accepted_here(self._listener.local):
            connector(self._target)  # An address that cannot be opened is said now, not to every caller.
            if not isinstance(self._listener, Listener):
                reason = (
                    "socketkit.sync relays listeners between TCP sockets and Unix sockets in folders of their owner's "
                    "alone, without TLS; socketkit.relay does all"
                )
                raise raisable(Unsupported)("relay", self._target, reason)
            self._work = Pairs(self._listener, self._target, limits)
            return self._work
        try:
            self._work = _core.Forward(
                self._listener,
                targets,
                # Each takes two descriptors.
                limits.connections or max(1, limits.most_connections() // 2),
                limits.connect_seconds / len(targets),
                limits.grace_seconds,
            )
        except SocketError:
            raise
        except OSError as failure:
            raise from_errno(ConnectError, "relay", self._target, failure.errno or 0) from failure
        return self._work

    def _require_unused(self) -> None:
        if not isinstance(self._work, NotStarted):
            raise RuntimeError("a relay is used once: call relay() again")

    async def _stop(self, work: Work) -> None:
        work.stop(self._listener._limits.grace_seconds)
        try:
            while await work.news():
                self._log()
        except BaseException:
            work.halt()
            raise

    def _explain_end(self) -> None:
        if self._listener.closed:
            raise raisable(ClosedConnection)(f"relay: this side has closed the listener {self._listener.local}")
        raise from_errno(SocketError, "relay", self._listener.local, self._work.last_errno or 0)

    def _log(self) -> None:
        _logger.warning(
            "relay %s to %s: %d of %d connections failed, the last one: %s",
            self._listener.local,
            self._target,
            self.failed,
            self.accepted,
            self.last_error,
        )


async def addresses_of(target: Endpoint, driver: Driver) -> list[tuple[Any, ...] | bytes] | None:
    """The target as the kernel knows it, best address first; None if it is not one that the engine connects to.

    Raises ConnectError if plain text may not go to any of its addresses; those to which it may not are left out.
    """
    match target.scheme:
        case "tcp" | "tcp4" | "tcp6":
            from .types import stream

            found = interleave(await stream.resolve(target, driver, "connect", ConnectError))
            return [sockaddr for _, sockaddr in stream.permitted(target, found)]
        case "unix":
            from .types import unix

            # The engine does not ask who listens there. Where others could, each connection is made here, which does.
            path = unix.unattended(target)
            return None if path is None else [os.fsencode(path)]
        case _:
            return None


def _accepted_here(endpoint: Endpoint) -> bool:
    """Whether what comes in there is more than a socket: it must shake hands first, or exists in this process only."""
    return endpoint.carrier in ("mem", "tls") or "tls" in endpoint.modifiers


class Work(Protocol):
    """What does the forwarding: the engine (`_core.Forward`), or `Pairs`."""

    @property
    def connections(self) -> int: ...
    @property
    def accepted(self) -> int: ...
    @property
    def failed(self) -> int: ...
    @property
    def broken(self) -> int: ...
    @property
    def a_to_b_bytes(self) -> int: ...
    @property
    def b_to_a_bytes(self) -> int: ...
    @property
    def last_errno(self) -> int | None: ...

    def news(self) -> Any:
        """Awaitable: True when something failed, at most every ten seconds; False once it is over."""

    def stop(self, grace_seconds: float) -> None: ...

    def halt(self) -> None:
        """Reset everything that is open, now."""


class NotStarted:
    """The counters before the start."""

    connections = accepted = failed = broken = a_to_b_bytes = b_to_a_bytes = 0
    last_errno: int | None = None

    async def news(self) -> bool:
        return False

    def stop(self, grace_seconds: float) -> None:
        pass

    def halt(self) -> None:
        pass


class Pairs:
    """Accepts and connects in this loop, and has the engine relay each pair. For messages: `message_forwarding`."""

    COUNTS: tuple[str, ...] = ("a_to_b_bytes", "b_to_a_bytes")

    def __init__(self, listener: Any, target: Endpoint, limits: Limits) -> None:
        self.accepted = self.failed = self.broken = 0
        self.last_errno: int | None = None
        self.last_reason: str | None = None
        self._listener = listener
        self._target = target
        self._limits = limits
        self._relays: dict[asyncio.Task[None], Any] = {}
        self._over = dict.fromkeys(self.COUNTS, 0)
        self._told_at = -NEWS_EVERY_SECONDS
        self._wake = asyncio.Event()
        self._failure: BaseException | None = None
        self._ending: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._accepting = self._loop.create_task(self._accept())
        self._accepting.add_done_callback(lambda _: self._wake.set())

    @property
    def connections(self) -> int:
        return len(self._relays)

    @property
    def a_to_b_bytes(self) -> int:
        return self._carried("a_to_b_bytes")

    @property
    def b_to_a_bytes(self) -> int:
        return self._carried("b_to_a_bytes")

    async def news(self) -> bool:
        while not (self._accepting.done() and not self._relays):
            self._wake.clear()
            await self._wake.wait()
            if self._accepting.done() and self._ending is None:
                self.stop(self._limits.grace_seconds)  # the listener was closed
            now = time.monotonic()
            if self.failed and self._failure is not None and now - self._told_at >= NEWS_EVERY_SECONDS:
                self._told_at, self._failure = now, None
                return True
        if self._ending is not None:
            self._ending.cancel()
        return False

    def stop(self, grace_seconds: float) -> None:
        self._accepting.cancel()
        if self._ending is None:
            self._ending = self._loop.call_later(grace_seconds, self._cancel_all)

    def halt(self) -> None:
        self._accepting.cancel()
        self._cancel_all()

    def _cancel_all(self) -> None:
        for task in self._relays:
            task.cancel()

    async def _accept(self) -> None:
        async for caller in self._callers():
            self.accepted += 1
            task = self._loop.create_task(self._forward(caller))
            self._relays[task] = None
            task.add_done_callback(self._forwarded)

    def _callers(self) -> AsyncIterator[Any]:
        callers: AsyncIterator[Any] = self._listener
        return callers

    async def _forward(self, caller: Any) -> None:
        sides = [caller]
        try:
            sides.append(await self._connected())
            task = asyncio.current_task()
            assert task is not None
            relay = self._relays[task] = self._relay(*sides)
            await relay
            for side in sides:
                await side.aclose()
        except (OSError, PeerViolation, MessageTooLarge) as failure:
            if len(sides) == 1:
                self.failed += 1
                self.last_errno, self._failure = getattr(failure, "errno", None), failure
                # What a number cannot say: who listens there instead, and what to write.
                self.last_reason = failure.reason if isinstance(failure, SocketError) else str(failure)
            else:
                self.broken += 1
                self._broke(failure)
        finally:
            for side in sides:
                side.abort()

    async def _connected(self) -> Any:
        """A connection of its own to the target."""
        return await open_stream(Stream, self._target, LoopDriver.current(), self._limits)

    def _relay(self, caller: Any, called: Any) -> Any:
        return Relay(caller, called)

    def _broke(self, failure: Exception) -> None:
        """A relay was cut short. That of two streams says so to both of them, and to nobody else."""

    def _forwarded(self, task: asyncio.Task[None]) -> None:
        relay = self._relays.pop(task)
        if relay is not None:
            for name in self.COUNTS:
                self._over[name] += getattr(relay, name)
        if not task.cancelled() and (failure := task.exception()) is not None:
            _logger.error("a relay's task failed", exc_info=failure)
        self._wake.set()

    def _carried(self, name: str) -> int:
        """By the relays that are over, and by those that go on."""
        return self._over[name] + sum(int(getattr(relay, name)) for relay in self._relays.values() if relay)


NEWS_EVERY_SECONDS = 10.0

_logger = logging.getLogger("socketkit")
