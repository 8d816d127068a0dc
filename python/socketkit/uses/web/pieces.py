"""Pieces of a file that somebody has had, as [start, end)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["MOST_PIECES", "joined"]

MOST_PIECES = 64
"""So many are remembered of one who comes for pieces: what lies between more of them counts as not had."""


def joined(pieces: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """In order, without overlaps; those that touch are one. At most `MOST_PIECES`, the first ones."""
    whole: list[tuple[int, int]] = []
    for start, end in sorted(pieces):
        if whole and start <= whole[-1][1]:
            whole[-1] = whole[-1][0], max(end, whole[-1][1])
        else:
            whole.append((start, end))
    return whole[:MOST_PIECES]
