"""Which part of a file comes next, where several connections fetch parts of it. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .partial import Partial


class Claims:
    """The parts of `partial` that somebody is at; false if nobody is. Its size must be known before one is taken."""

    def __init__(self, partial: Partial, connections: int) -> None:
        self._partial = partial
        self._connections = connections
        self._taken: list[tuple[int, int]] = []

    def __bool__(self) -> bool:
        return bool(self._taken)

    def take(self) -> tuple[int, int] | None:
        """A part that is missing, and that nobody is at: [start, end). None: there is none."""
        total = self._partial.total or 0
        at = 0
        while True:
            start, end = self._partial.gap(at)
            end = total if end is None else end
            if start >= total:
                return None
            for taken, until in sorted(self._taken):
                if taken <= start < until:
                    start = until
                elif start < taken < end:
                    end = taken
            if start < end:
                # Large parts cost few questions; smaller ones at the end have all connections finish together.
                share = (total - self._partial.count) // (2 * self._connections)
                size = max(PART_BYTES, min(MOST_PART_BYTES, share))
                part = (start, min(end, start + size))
                self._taken.append(part)
                return part
            at = max(start, end, at + 1)

    def give_back(self, part: tuple[int, int]) -> None:
        """Nobody is at it any more; what is missing of it can be taken again."""
        self._taken.remove(part)

    def clear(self) -> None:
        self._taken.clear()


PART_BYTES = 1_048_576
MOST_PART_BYTES = 33_554_432
