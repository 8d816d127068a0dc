"""A curve in characters: eighths of a block, one column for each value."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def plot(values: Sequence[float], width: int, height: int, most: float) -> list[str]:
    """Lines from the top down, of the last `width` values; `most` fills a column, and what is above it, too."""
    shown = values[-width:]
    eighths = [min(8 * height, max(0, round(8 * height * value / most))) if most else 0 for value in shown]
    lines = []
    for row in reversed(range(height)):
        lines.append("".join(BLOCKS[min(8, max(0, eighth - 8 * row))] for eighth in eighths))
    return lines


BLOCKS = " ▁▂▃▄▅▆▇█"
