"""How often a peer of HTTP/2 may make us work for nothing: a bound on cheap frames, by kind. No I/O, no clock.

Resets right after requests (CVE-2023-44487), pings, settings, empty data and window updates cost the sender a few
bytes, and the receiver an answer, a task, or a look at everything. So do frames on streams that are over, which are
answered by a reset each (CVE-2019-9514), and requests that make us reset them (CVE-2025-8671).
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
    """Counts frames in windows of time."""

    def __init__(self) -> None:
        self.told = ""
        self._since = 0.0
        self._counts: dict[str, int] = {}

    def received(self, head: FrameHead, now: float) -> bool:
        """Whether this frame of the peer is one too many."""
        name = kind_of(head)
        return name is not None and self._passed(name, now)

    def sent(self, head: FrameHead, now: float) -> bool:
        """Whether this frame, which the peer has brought upon himself, is one too many."""
        return head.kind == RST_STREAM and self._passed("streams that had to be reset", now)

    def _passed(self, name: str, now: float) -> bool:
        if now - self._since >= WINDOW_SECONDS:
            self._since = now
            self._counts.clear()
        count = self._counts[name] = self._counts.get(name, 0) + 1
        if count > MOST[name]:
            self.told = f"more than {MOST[name]} {name} in {WINDOW_SECONDS:.0f} s"
            return True
        return False


def kind_of(head: FrameHead) -> str | None:
    """What it counts as, if anything."""
    if head.kind == DATA:
        if head.ends_stream or head.content_bytes >= SMALL_BYTES:
            return None
        return "small data frames" if head.content_bytes else "empty data frames"
    if head.acknowledges:
        return "acknowledgements"
    return _KINDS.get(head.kind, "unknown frames") if head.kind not in _FREE else None


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
# A browser that leaves a page resets what was loading, once; window updates come with each piece of a large answer.
# What is under way when we reset a stream is answered by more resets.
MOST: Mapping[str, int] = {
    "resets": 200,
    "pings": 100,
    "settings": 20,
    "acknowledgements": 100,
    "priorities": 1_000,
    "window updates": 100_000,
    "continuations": 500,
    "empty data frames": 100,
    "small data frames": 5_000,
    "unknown frames": 100,
    "streams that had to be reset": 500,
}
