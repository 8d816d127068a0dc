"""`Arrivals`: what became of numbered messages on their way, as the one who receives them sees it. No I/O, no clock.

Loss, order and copies come from the numbers, jitter from the times that messages carry. Jitter is RFC 3550 §6.4.1's:
of the difference between two messages' times on the way a sixteenth is taken over, so that the two clocks need not
agree, only run equally fast. iperf3 prints the same figure.
"""

from __future__ import annotations


class Arrivals:
    """Tells lost, late and doubled messages apart. They are numbered from 0 by their sender.

    Of what is missing the last `REMEMBERED` numbers are kept: a message that comes later than that many missing ones
    looks like a copy.
    """

    __slots__ = ("_missing", "_transit_ns", "duplicates", "expected", "jitter_ns", "received", "reordered")

    def __init__(self) -> None:
        self.received = 0
        """Different messages that came."""
        self.expected = 0
        """The largest number that came, and one."""
        self.reordered = 0
        """Those that came behind a later one."""
        self.duplicates = 0
        self.jitter_ns = 0.0
        self._transit_ns: int | None = None
        self._missing: dict[int, None] = {}  # in order of their numbers

    def note(self, number: int, sent_ns: int, arrived_ns: int) -> None:
        """A message has come. The two times may be of different clocks."""
        if number == self.expected:
            self.expected += 1
            self.received += 1
        elif not self._is_new(number):
            self.duplicates += 1
            return
        transit_ns = arrived_ns - sent_ns
        if self._transit_ns is not None:
            self.jitter_ns += (abs(transit_ns - self._transit_ns) - self.jitter_ns) / 16
        self._transit_ns = transit_ns

    def lost(self, sent: int | None = None) -> int:
        """How many did not come, of `sent`, or of those before the latest that came."""
        return max(0, max(self.expected, sent or 0) - self.received)

    def _is_new(self, number: int) -> bool:
        if number > self.expected:
            first = max(self.expected, number - REMEMBERED)
            self._missing.update(dict.fromkeys(range(first, number)))
            while len(self._missing) > REMEMBERED:
                del self._missing[next(iter(self._missing))]
            self.expected = number + 1
        elif number in self._missing:
            del self._missing[number]
            self.reordered += 1
        else:
            return False
        self.received += 1
        return True


REMEMBERED = 16_384
