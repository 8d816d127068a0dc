"""`Once`: one file that is given away once. When somebody has all of it, nobody else gets any."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .answers import refuse
from .pieces import MOST_PIECES, joined

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...http.asgi import Application, Receive, Scope, Send

__all__ = ["Once"]


class Once:
    """`application` gives one file of `size` bytes; `gone()` is called when somebody has had all of its bytes.

    He may have come several times for that: who lost his connection goes on with a Range. While one address is at it,
    others are asked to wait, for they could not all be the one.
    """

    def __init__(self, application: Application, size: int, gone: Callable[[], None]) -> None:
        self.given = False
        self._application = application
        self._size = size
        self._gone = gone
        self._running: dict[str, int] = {}
        self._had: dict[str, list[tuple[int, int]]] = {}
        self._broken: dict[str, list[int]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._application(scope, receive, send)
            return
        host = str((scope.get("client") or ("",))[0])
        if self.given:
            await refuse(scope, send, 410, "this was given away once, and is gone")
        elif any(other != host for other in self._running):
            await refuse(scope, send, 503, "somebody else is fetching it just now", [(b"retry-after", b"10")])
        else:
            await self._give(host, scope, receive, send)

    async def _give(self, host: str, scope: Scope, receive: Receive, send: Send) -> None:
        first, sent = -1, 0

        async def counted(event: Any) -> None:
            nonlocal first, sent
            if event["type"] == "http.response.start":
                first = _first_byte(event)
                await send(event)
                return
            await send(event)
            sent += event["count"] if event["type"] == "http.response.zerocopysend" else len(event.get("body", b""))

        self._running[host] = self._running.get(host, 0) + 1
        whole = False
        try:
            await self._application(scope, receive, counted)
            whole = True
        finally:
            self._running[host] -= 1
            if not self._running[host]:
                del self._running[host]
            if first >= 0:
                self._note(host, first, first + sent, whole=whole)

    def _note(self, host: str, first: int, end: int, *, whole: bool) -> None:
        # What went out before an answer broke, only he knows who got it: he says so by where he goes on.
        broken = self._broken.setdefault(host, [])
        merged = joined(
            [*self._had.get(host, []), (first, end), *((start, first) for start in broken if start < first)]
        )
        if not whole:
            del broken[MOST_PIECES:]
            broken.append(first)
        if len(self._had) >= MOST_HOSTS and host not in self._had:
            forgotten = next(iter(self._had))
            del self._had[forgotten]
            self._broken.pop(forgotten, None)
        self._had[host] = merged
        if not self.given and merged[0][0] == 0 and merged[0][1] >= self._size:
            self.given = True
            self._gone()


def _first_byte(start: Any) -> int:
    """Where in the file the answer begins; -1 if it has nothing of the file."""
    if start["status"] == 200:
        return 0
    for name, value in start["headers"]:
        if start["status"] == 206 and name == b"content-range":
            return int(value.removeprefix(b"bytes ").partition(b"-")[0])
    return -1


MOST_HOSTS = 1_024
