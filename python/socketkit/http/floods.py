"""How often a peer may make us work for nothing: a bound on cheap frames, by kind. No I/O, no clock.

In HTTP/2 resets right after requests (CVE-2023-44487), pings, settings, empty data and window updates cost the sender
a few bytes, and the receiver an answer, a task, or a look at everything. So do frames on streams that are over, which
are answered by a reset each (CVE-2019-9514), and requests that make us reset them (CVE-2025-8671). In WebSocket it is
what brings no message nearer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .frame_heads import (
    CONTINUATION,
    DATA,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .frame_heads import FrameHead


class Floods:
    """Counts in windows of time; `most` says how many of a kind are none too many."""

    def __init__(self, most: Mapping[str, int]) -> None:
        self.told = ""
        self._most = most
        self._since = 0.0
        self._counts: dict[str, int] = {}

    def passed(self, kind: str | None, now: float) -> bool:
        """Whether this one (None: nothing that counts) is one too many."""
        if kind is None:
            return False
        if now - self._since >= WINDOW_SECONDS:
            self._since = now
            self._counts.clear()
        count = self._counts[kind] = self._counts.get(kind, 0) + 1
        if count > self._most[kind]:
            self.told = f"more than {self._most[kind]} {kind} in {WINDOW_SECONDS:.0f} s"
            return True
        return False

    def excuse(self, kind: str, count: int) -> None:
        """As many more of this kind are no wonder: we have given the peer a reason."""
        self._counts[kind] = self._counts.get(kind, 0) - count


def kind_of(head: FrameHead) -> str | None:
    """What a frame of the peer counts as, if anything."""
    if head.kind == DATA:
        if head.ends_stream or head.content_bytes >= SMALL_BYTES:
            return None
        return "small data frames" if head.content_bytes else "empty data frames"
    if head.acknowledges:
        return "acknowledgements"
    return _KINDS.get(head.kind, "unknown frames") if head.kind not in _FREE else None


def kind_of_answer(head: FrameHead) -> str | None:
    """What a frame counts as that the peer has brought upon himself."""
    return "streams that had to be reset" if head.kind == RST_STREAM else None


_KINDS: Mapping[int, str] = {
    RST_STREAM: "resets",
    PING: "pings",
    SETTINGS: "settings",
    PRIORITY: "priorities",
    WINDOW_UPDATE: "window updates",
    CONTINUATION: "continuations",
}
# Requests are bounded by what runs, and the others end the connection.
_FREE = frozenset(range(10)) - _KINDS.keys()

WINDOW_SECONDS = 10.0
SMALL_BYTES = 64
# None of them may cost us more than as many bytes of honest requests do. A browser that leaves a page resets what was
# loading, once. What is under way when we reset a stream is answered by more resets.
MOST_OF_HTTP2: Mapping[str, int] = {
    "resets": 100,
    "pings": 100,
    "settings": 20,
    "acknowledgements": 100,
    "priorities": 1_000,
    "window updates": 4_000,
    "continuations": 500,
    "empty data frames": 100,
    "small data frames": 2_000,
    "unknown frames": 100,
    "streams that had to be reset": 500,
}

# Whoever takes an answer opens two windows for it, some clients all along. Not for each DATA frame: a window of a byte
# would pay for the next one.
UPDATES_OF_REQUEST = 2
BYTES_OF_UPDATE = 4_096

MOST_OF_WEBSOCKET: Mapping[str, int] = {
    "pings": 100,
    "pongs": 100,
    "empty fragments": 100,
    "small fragments": 2_000,
}
