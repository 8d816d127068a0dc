"""How often a peer of HTTP/2 may make us work for nothing: a bound on cheap frames, by kind. No I/O, no clock.

Resets right after requests (CVE-2023-44487), pings, settings, empty data and window updates cost the sender a few
bytes, and the receiver an answer, a task, or a look at everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import h2.events

if TYPE_CHECKING:
    from collections.abc import Mapping


class Floods:
    """Counts events in windows of time."""

    def __init__(self) -> None:
        self.told = ""
        self._since = 0.0
        self._counts: dict[str, int] = {}

    def passed(self, event: h2.events.Event, now: float) -> bool:
        """Whether `event` is one too many."""
        name = _KINDS.get(type(event))
        if name is None:
            return False
        if name == "empty data frames" and (event.data or event.stream_ended):  # type: ignore[attr-defined]
            return False
        if now - self._since >= WINDOW_SECONDS:
            self._since = now
            self._counts.clear()
        count = self._counts[name] = self._counts.get(name, 0) + 1
        if count > MOST[name]:
            self.told = f"more than {MOST[name]} {name} in {WINDOW_SECONDS:.0f} s"
            return True
        return False


_KINDS: Mapping[type[h2.events.Event], str] = {
    h2.events.StreamReset: "resets",
    h2.events.PingReceived: "pings",
    h2.events.RemoteSettingsChanged: "settings",
    h2.events.PriorityUpdated: "priorities",
    h2.events.WindowUpdated: "window updates",
    h2.events.DataReceived: "empty data frames",
    h2.events.UnknownFrameReceived: "unknown frames",
}

WINDOW_SECONDS = 10.0
# A browser that leaves a page resets what was loading, once; window updates come with each piece of a large answer.
MOST: Mapping[str, int] = {
    "resets": 200,
    "pings": 100,
    "settings": 20,
    "priorities": 1_000,
    "window updates": 100_000,
    "empty data frames": 100,
    "unknown frames": 100,
}
