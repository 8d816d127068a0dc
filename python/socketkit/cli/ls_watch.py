"""`socketkit ls --watch`: a line for each change, or on a terminal the table, written over while it changes."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING

import click

from ..inspect.processes import why_hidden
from .columns import columns
from .units import amount, plural

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..inspect.watch import Change, Watched, Watching
    from .live_table import Line
    from .ls import Column


class Cells:
    """The cells of rows that are watched: `ls`'s own, and what is known better of a row that is watched."""

    def __init__(self, names: Sequence[str], of_ls: dict[str, Column]) -> None:
        self.header = list(names)
        self.left = [index for index, name in enumerate(names) if of_ls[name].left]
        self._cells = [WATCHED.get(name, of_ls[name].cell) for name in names]
        self._widths = [len(name) for name in names]

    def of(self, row: Watched) -> list[str]:
        return [cell(row) for cell in self._cells]

    def line(self, row: Watched) -> str:
        """One line of many that come one by one: columns grow, and stay as wide as they once were."""
        cells = self.of(row)
        self._widths = [max(width, len(cell)) for width, cell in zip(self._widths, cells, strict=True)]
        padded = (
            cell.ljust(width) if index in self.left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(cells, self._widths, strict=True))
        )
        return "  ".join(padded).rstrip()


async def watched(
    watching: Watching,
    cells: Cells,
    *,
    shown: Callable[[Watched], bool],
    ordered: Callable[[list[Watched]], list[Watched]],
    as_json: bool,
) -> None:
    """Print until it is cancelled."""
    async with watching:
        if not watching.complete:
            click.echo(f"? is what cannot be known: {why_hidden()}", err=True)
        if as_json or not sys.stdout.isatty():
            await _print_changes(watching, cells, shown, as_json)
        else:
            await _show_table(watching, cells, shown, ordered)


async def _print_changes(watching: Watching, cells: Cells, shown: Callable[[Watched], bool], as_json: bool) -> None:
    async for change in watching:
        if not shown(change.row):
            continue
        if as_json:
            click.echo(json.dumps(change_as_json(change)))
        elif change.kind != "moved":
            click.echo(f"{SIGNS[change.kind]} {cells.line(change.row)}")


async def _show_table(
    watching: Watching,
    cells: Cells,
    shown: Callable[[Watched], bool],
    ordered: Callable[[list[Watched]], list[Watched]],
) -> None:
    from .live_table import live_table

    def lines() -> list[Line]:
        watching.take()
        return table_lines([row for row in watching.rows if shown(row)], cells, ordered, watching.now)

    async with live_table(lines, patience_seconds=0):
        await asyncio.Event().wait()


def table_lines(
    rows: list[Watched], cells: Cells, ordered: Callable[[list[Watched]], list[Watched]], now: float
) -> list[Line]:
    rows = ordered(rows)
    header, *texts = columns(cells.header, [cells.of(row) for row in rows], left=cells.left)
    lines = [(header, "bold"), *((text, _style(row, now)) for text, row in zip(texts, rows, strict=True))]
    closed = sum(row.closed_at is not None for row in rows)
    count = f"{plural(len(rows) - closed, 'socket')}, {closed:,} closed a moment ago. Ctrl-C ends."
    return [*lines, (count, "dim")]


def _style(row: Watched, now: float) -> str:
    if row.closed_at is not None:
        return "dim strike"
    return "green" if not row.there_before and now - row.first_seen < NEW_SECONDS else ""


def change_as_json(change: Change) -> dict[str, object]:
    """A change under stable names: those of `ls --json`, with the counts that it came to."""
    from ..inspect.table import as_json

    row = change.row
    fields = as_json(row.entry, row.processes)
    use = row.use
    return {
        "change": change.kind,
        "first_seen": row.first_seen,
        "closed_at": row.closed_at,
        **fields,
        "state": row.state,
        "received_bytes": row.received_bytes,
        "sent_bytes": row.sent_bytes,
        "received_per_second": row.received_per_second,
        "sent_per_second": row.sent_per_second,
        "use": {"name": use.name, "protocol": use.protocol, "confidence": use.confidence, "reason": use.reason},
        "encrypted": use.encrypted,
    }


def _process(row: Watched) -> str:
    if row.processes is None:
        return "?"
    names = [f"{process.name}[{process.pid}]" for process in row.processes]
    return " +".join([names[0], *([str(len(names) - 1)] if len(names) > 1 else [])]) if names else "-"


def _amount(count: int | None) -> str:
    return "-" if count is None else amount(count)


WATCHED: dict[str, Callable[[Watched], str]] = {
    "state": lambda row: row.state,
    "process": _process,
    "received": lambda row: _amount(row.received_bytes),
    "sent": lambda row: _amount(row.sent_bytes),
}
WATCHED_COLUMNS = ["state", "local", "peer", "process", "use", "received", "sent"]
SIGNS = {"opened": "+", "closed": "-"}
NEW_SECONDS = 2.0
