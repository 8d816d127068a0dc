"""`Listener`: where connections come in, one `accept()` after the other, never more open than the limit."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from . import _core
from .errors import PeerViolation, explain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Self

    from .connection import Connection
    from .drivers import Driver
    from .endpoint import Endpoint
    from .limits import Limits

_Listening = TypeVar("_Listening", bound="Listening")
_Accepted = TypeVar("_Accepted")


class Listening(_core.Listener):
    """What `Listener` and `sync.Listener` share: everything but the waiting."""

    __slots__ = (
        "__weakref__",
        "_blamed_at",
        "_bounds",
        "_endpoint",
        "_guarded",
        "_kind",
        "_limits",
        "_logged_at",
        "_reactor",
        "_remove",
        "_told",
        "_violations",
    )

    _endpoint: Endpoint
    _reactor: _core.Reactor | None
    _guarded: bool
    _bounds: _core.Bounds
    _limits: Limits
    _kind: type[Any]
    _remove: Callable[[], None]
    _logged_at: float
    _told: dict[str, Any]
    _violations: int
    _blamed_at: float

    @property
    def local(self) -> Endpoint:
        """The endpoint that was taken; `connect(str(listener.local))` reaches it."""
        return self._endpoint

    @property
    def stats(self) -> dict[str, Any]:
        """What it did, and what its limits did (docs/limits.md).

        `connections` open now, `unproven` ones among them, `accepted` in all, `exhausted`: how often it paused for want
        of descriptors. How often a limit has acted: `refused_rate`, `refused_source`, `refused_penalty`,
        `refused_handshake`, `evicted`, `first_message`, `idle`, `slow`, `write_stalled`, `memory`, `abuse`; and
        `sources`: the same of the 16 addresses that met limits most, {address: {what: times}}.
        """
        return self._counters

    def shut(self) -> None:
        """Stop listening now.

        Connections that were accepted live on; callers still in the backlog are reset by the kernel.
        """
        if not self.closed:
            super().shut()
            self._remove()

    def __del__(self) -> None:
        if not self.closed and hasattr(self, "_remove"):
            import warnings

            told = f"{self!r} was dropped without being closed"
            self.shut()
            warnings.warn(told, ResourceWarning, stacklevel=2)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._endpoint}, {'closed' if self.closed else 'open'}>"

    def _exhausted(self, number: int) -> None:
        """Called by the engine when it cannot accept; says so in the log, not at every caller's pace."""
        now = time.monotonic()
        if now - self._logged_at >= LOG_SECONDS:
            import logging

            self._logged_at = now
            logging.getLogger("socketkit").warning("accept %s: %s; callers wait", self._endpoint, explain(number))

    def _tell_limits(self) -> None:
        """Called by the engine when limits have acted, every ten seconds at most; says so in the log."""
        import logging

        now = self._counters
        news = {name: now[name] - self._told.get(name, 0) for name in _ACTS}
        self._told = now
        logging.getLogger("socketkit").warning("limits of %s: %s; see its `stats`", self._endpoint, acts(news))

    def _blame(self, failure: BaseException) -> None:
        """Log that a peer's fault has ended a handler: each in a line of level INFO, at times a warning of how many.

        Without tracebacks: a peer must not be able to fill the log.
        """
        import logging

        logger = logging.getLogger("socketkit")
        # Not the exception itself: a handler that keeps its records would keep the frames of the traceback.
        logger.info("%s", str(failure))
        if not isinstance(failure, PeerViolation):
            return
        self._violations += 1
        now = time.monotonic()
        if now - self._blamed_at >= LOG_SECONDS:
            noun = "peer" if self._violations == 1 else "peers"
            logger.warning(
                "%s: %d %s broke the rules; the last: %s", self._endpoint, self._violations, noun, str(failure)
            )
            self._blamed_at, self._violations = now, 0


class Listener(Listening, Generic[_Accepted]):
    """Listening sockets under one endpoint. Made by `listen`.

    `await accept()` gives the next connection; cancelled, it has taken none: the caller stays in the backlog. With
    `Limits.connections` open, or while the process is out of descriptors, it waits and the backlog keeps the callers.
    `async for stream in listener` accepts until the listener is closed.
    """

    __slots__ = ()

    if TYPE_CHECKING:

        def accept(self) -> _core.Operation[_Accepted]: ...
        def __aiter__(self) -> Self: ...
        def __anext__(self) -> _core.Operation[_Accepted]: ...

    async def aclose(self) -> None:
        """Stop listening. Idempotent; tasks that wait in `accept` get ClosedConnection."""
        self.shut()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.shut()


def make_listener(
    kind: type[_Listening],
    stream_kind: type[Any],
    endpoint: Endpoint,
    driver: Driver,
    limits: Limits,
    *,
    fds: list[int] | None = None,
    port: _core.MemoryPort | None = None,
    tls: _core.ServerTls | None = None,
    remove: Callable[[], None] = lambda: None,
    unix: bool | None = None,
    make: Callable[[Any, _core.Arrival], object] | None = None,
) -> _Listening:
    """A listener on listening descriptors, which it owns from here on, or on a port in memory."""
    import logging  # noqa: F401  # for `_exhausted`: out of descriptors, no module can be loaded

    bounds = limits.bounds(limits.most_connections())
    if unix is None:
        unix = endpoint.carrier in ("unix", "mem", "vsock")
    listener = kind(fds or [], port, driver.reactor, bounds, unix, tls, make or _accepted)
    listener._endpoint = endpoint
    listener._reactor = driver.reactor
    listener._guarded = endpoint.carrier != "mem"
    listener._bounds = bounds
    listener._limits = limits
    listener._kind = stream_kind
    listener._remove = remove
    listener._logged_at = -LOG_SECONDS
    listener._told = {}
    listener._violations = 0
    listener._blamed_at = -LOG_SECONDS
    return listener


def acts(stats: Mapping[str, Any]) -> str:
    """What limits did, in words; "" if they did nothing."""
    told = ((stats.get(name, 0), *words) for name, words in _ACTS.items())
    return ", ".join(f"{count:,} {noun}{'s' * (count != 1)} {did}" for count, noun, did in told if count)


def _accepted(listener: Listening, arrival: _core.Arrival) -> Connection:
    # What `adopt` does, without asking for each caller what is the same for all.
    kind = cast("type[Connection]", listener._kind)
    stream = kind(arrival, listener._reactor, False, listener._bounds, listener, False, listener._guarded)
    stream._endpoint = listener._endpoint
    stream._local = stream._peer = stream._called = stream._sockaddr = None
    return stream


LOG_SECONDS = 10.0

# What each limit did, in the words of the log: of one, and `s` behind the noun for more.
_ACTS = {
    "refused_rate": ("caller", "came too fast"),
    "refused_source": ("caller", "had too many connections"),
    "refused_penalty": ("caller", "had a penalty"),
    "refused_handshake": ("handshake", "failed or took too long"),
    "evicted": ("silent connection", "made room for a newer one"),
    "first_message": ("first message", "did not come in time"),
    "idle": ("connection", "had been idle for too long"),
    "slow": ("message", "came too slowly"),
    "write_stalled": ("peer", "took nothing of what was sent"),
    "memory": ("connection", "kept too much memory"),
    "abuse": ("peer", "did what no honest one does"),
}
