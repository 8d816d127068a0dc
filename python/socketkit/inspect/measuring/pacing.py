"""`Pacer`: how many messages are due by now, at a steady rate. No I/O; the time is an argument.

They are due in groups, not one by one: an event loop sleeps for a millisecond at least, and a group is one system call.
"""

from __future__ import annotations


class Pacer:
    """Keeps `bits_per_second` of messages of one size; 0 is as fast as it goes.

    Who was held up catches up, but for no more than `CATCH_UP_NS`: a pause must not become a flood.
    """

    def __init__(self, bits_per_second: int, message_bytes: int, most: int, now_ns: int) -> None:
        self.most = most
        self._gap_ns = message_bytes * 8e9 / bits_per_second if bits_per_second else 0.0
        self._next_ns = float(now_ns)

    def due(self, now_ns: int) -> int:
        """How many to send now, `most` at most. They count as sent."""
        if not self._gap_ns:
            return self.most
        self._next_ns = max(self._next_ns, now_ns - CATCH_UP_NS)
        count = (
            min(self.most, max(0, int((now_ns - self._next_ns) / self._gap_ns) + 1)) if now_ns >= self._next_ns else 0
        )
        self._next_ns += count * self._gap_ns
        return count

    def wait_seconds(self, now_ns: int) -> float:
        """How long to sleep until something is due."""
        return max(0.0, self._next_ns - now_ns) / 1e9


CATCH_UP_NS = 1_000_000_000
