"""`socketkit history`: what `socketkit watch --record` has kept: what was open at a time, and what nobody used."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, NamedTuple

import click

from .ls import COLUMNS as OF_LS
from .ls import Column, by_column
from .moments import Stretch, Zone, parsed
from .units import plural, span

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..inspect.history import Gap, History, Past, Unused
    from ..inspect.watch import Watched
    from .ls import Row

EPILOG = """\b
Examples:
  socketkit history history.db --at 03:00
  socketkit history history.db --since 2026-11-21 --until 2026-11-22 peer=10.0.0.0/8
  socketkit history history.db --since 2h name=nginx --sort received
  socketkit history history.db --unused
  socketkit history history.db --json --at 03:00 | jq -r .peer
  socketkit history history.db --columns opened,lasted,peer,process

\b
TERMs are those of `socketkit ls`. Without one, Unix sockets and what only listens are left out: --all.
03:00 is that minute, today or else yesterday; 2026-11-22 and 2026-11-22T03:00 are times, too; 2h is
two hours ago. What was not recorded is told on stderr.
"""


@click.command("history", epilog=EPILOG)
@click.argument("file", type=click.Path(dir_okay=False), metavar="FILE")
@click.argument("terms", nargs=-1, metavar="[TERM]...")
@click.option("--at", metavar="TIME", help="What was open then.")
@click.option("--since", metavar="TIME", help="What was open at any time from then on.")
@click.option("--until", metavar="TIME", help="And until then.")
@click.option("--unused", is_flag=True, help="TCP listeners that were open all the time, and nobody connected to.")
@click.option("-a", "--all", "everything", is_flag=True, help="Without a TERM: all kinds of sockets.")
@click.option("--columns", "names", metavar="NAMES", help="Which columns, parted by commas.")
@click.option("--sort", metavar="NAME", help="By this column, the largest first if it is a number.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a line for each socket.")
def command(
    file: str,
    terms: tuple[str, ...],
    at: str | None,
    since: str | None,
    until: str | None,
    unused: bool,
    everything: bool,
    names: str | None,
    sort: str | None,
    as_json: bool,
) -> None:
    """Show what was recorded: connections of a time, unused ports.

    FILE is what `socketkit watch --record FILE` writes. It may be read meanwhile.
    """
    from ..inspect.history import History
    from ..inspect.selection import Selection

    shown = [_column(name) for name in _names(names, unused=unused)]
    order = None if sort is None else _column(sort)[1]
    selection = Selection(" ".join(terms))
    asked = _asked(at, since, until, time.time())
    with History(file) as history:
        zone = Zone(asked.first if asked.first is not None else time.time())
        if unused:
            found = history.unused_listeners(since=asked.first, until=asked.last, select=selection)
            rows: Iterable[Past] = [one.row for one in found]
        else:
            found = []
            rows = history.sockets(since=asked.first, until=asked.last, select=selection)
            rows = (row for row in rows if everything or terms or _is_connection(row))
        if as_json:
            _print_json(rows, found)
        else:
            table = list(rows)
            _print_table(table if order is None else by_column(table, order), shown, zone)
        for line in _unknown(history, asked, zone) if not unused else _recorded(history, found, asked, zone):
            click.echo(line, err=True)


class Asked(NamedTuple):
    """The time that is asked for, in seconds since 1970; None is no bound."""

    first: float | None
    last: float | None


def _asked(at: str | None, since: str | None, until: str | None, now: float) -> Asked:
    if at is not None and (since is not None or until is not None):
        raise click.UsageError("--at is a time, --since and --until are others: give the one or the others")
    if at is not None:
        return Asked(*_stretch("--at", at, now))
    first = None if since is None else _stretch("--since", since, now).first
    last = None if until is None else _stretch("--until", until, now).first
    if first is not None and last is not None and first > last:
        raise click.UsageError("--until is before --since")
    return Asked(first, last)


def _stretch(option: str, text: str, now: float) -> Stretch:
    try:
        return parsed(text, now)
    except (ValueError, OverflowError) as failure:
        raise click.UsageError(f"{option}: {failure}") from None


def _is_connection(row: Past) -> bool:
    return row.entry.peer is not None and "unix" not in row.entry.scheme


# --- what is printed


def _print_json(rows: Iterable[Past], unused: Sequence[Unused]) -> None:
    """Row by row: there may be more of them than fit into memory."""
    for row, one in zip(rows, unused, strict=True) if unused else ((row, None) for row in rows):
        fields = row.as_json()
        if one is not None:
            fields |= {"recorded_since": one.since, "recorded_until": one.until}
            fields |= {"recorded_seconds": one.recorded_seconds, "open_seconds": one.open_seconds}
        click.echo(json.dumps(fields))


def _print_table(rows: Sequence[Past], shown: Sequence[tuple[str, Column]], zone: Zone) -> None:
    from .columns import columns
    from .watch_rows import printable

    left = [index for index, (_, column) in enumerate(shown) if column.left]
    cells = [
        [printable(_times(name, row, zone) or column.cell(row)) for name, column in shown]  # names are others' words
        for row in rows
    ]
    click.echo("\n".join(columns([name for name, _ in shown], cells, left=left)))


def _times(name: str, row: Past, zone: Zone) -> str:
    if name == "opened":
        return f"{'< ' if row.there_before else ''}{zone.text(row.opened_at)}"
    if name == "closed":
        return {"open": "open", "unknown": f"? > {zone.text(row.last_seen_at)}"}.get(
            row.end, zone.text(row.last_seen_at)
        )
    return ""


def _unknown(history: History, asked: Asked, zone: Zone) -> list[str]:
    """The zone, and what of the time that was asked for is not known."""
    spans = history.spans()
    if not spans:
        return ["nothing was ever recorded into it"]
    first, last = spans[0].since, max(span.until for span in spans)
    running = any(span.running for span in spans)
    low = first if asked.first is None else asked.first
    high = last if asked.last is None else asked.last
    lines = [f"times: {zone}; recorded from {zone.text(first)} to {'now' if running else zone.text(last)}"]
    if high < first or (low > last and not running):
        return [*lines, "nothing of that time was recorded"]
    if low < first:
        lines.append(f"not recorded: before {zone.text(first)}")
    lines += _gaps([gap for gap in history.gaps() if gap.until >= low and gap.since <= high], zone)
    if high > last and not running:
        lines.append(f"not recorded: after {zone.text(last)}")
    selections = sorted(
        {span.selection for span in spans if span.selection and span.until >= low and span.since <= high}
    )
    lines += [f"recorded was only: {text}" for text in selections]
    return lines


def _recorded(history: History, found: Sequence[Unused], asked: Asked, zone: Zone) -> list[str]:
    known = history.recorded(since=asked.first, until=asked.last)
    if not known:
        return [
            *_unknown(history, asked, zone),
            "of no time all TCP sockets were recorded: it needs a recorder without TERMs",
        ]
    seconds = sum(until - since for since, until in known)
    first, last = known[0][0], known[-1][1]
    lines = [
        f"times: {zone}; recorded {span(seconds)} from {zone.text(first)} to {zone.text(last)}",
        *_gaps([gap for gap in history.gaps() if gap.until >= first and gap.since <= last], zone),
    ]
    if not found:
        lines.append("no TCP listener was open all the time and never used")
    return lines


def _gaps(gaps: Sequence[Gap], zone: Zone) -> list[str]:
    lines = [
        f"not recorded: {zone.text(gap.since)} to {zone.text(gap.until)}"
        + ("" if gap.lost is None else f", {plural(gap.lost, 'change')} at most")
        for gap in gaps[:MOST_GAPS]
    ]
    more = len(gaps) - MOST_GAPS
    return [*lines, f"and {more:,} more such times"] if more > 0 else lines


# --- columns


def _names(names: str | None, *, unused: bool) -> list[str]:
    if names is None:
        return UNUSED_COLUMNS if unused else DEFAULT_COLUMNS
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if not wanted:
        raise click.UsageError("--columns names none")
    return wanted


def _column(name: str) -> tuple[str, Column]:
    if name not in COLUMNS:
        from ..schemes import did_you_mean

        hint = did_you_mean(name, tuple(COLUMNS)) or f"there are {', '.join(COLUMNS)}"
        raise click.UsageError(f"there is no column {name} ({hint})")
    return name, COLUMNS[name]


def _lasted(row: Row | Watched | Past) -> float | None:
    """At least so long, in seconds."""
    from ..inspect.history import Past

    return row.last_seen_at - row.opened_at if isinstance(row, Past) else None


def _lasted_cell(row: Row | Watched | Past) -> str:
    seconds, known = _lasted(row), row.entry.oldest_seconds
    return "-" if seconds is None else span(seconds) if known is not None else f"> {span(seconds)}"


def _of(name: str) -> Column:
    """A time: its cell needs the zone, and is made where that is known."""
    return Column(lambda row: "", lambda row: getattr(row, name))


# What is of a moment only is not kept, nor what bytes said.
NOT_KEPT = {"receive-queue", "send-queue", "quiet", "age", "cgroup", "reason"}
DEFAULT_COLUMNS = ["opened", "closed", "local", "peer", "process", "user", "use", "received", "sent"]
UNUSED_COLUMNS = ["local", "exposure", "process", "user", "unit", "opened"]
MOST_GAPS = 20

COLUMNS: dict[str, Column] = {
    "opened": _of("opened_at"),
    "closed": _of("last_seen_at"),
    "lasted": Column(_lasted_cell, _lasted, left=False),
    **{name: column for name, column in OF_LS.items() if name not in NOT_KEPT},
}
