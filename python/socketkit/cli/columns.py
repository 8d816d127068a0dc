"""Text in columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def columns(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[int] = (0,)) -> list[str]:
    """Lines: the header, then the rows; columns whose index is in `left` to the left, the others to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]

    line = "  ".join(
        f"{{:{'<' if index in left else '>'}{max(width, 1)}}}" for index, width in enumerate(widths)
    ).format
    return [line(*cells).rstrip() for cells in (header, *rows)]
