"""What the page is told of each row, of the figures above them, of findings: values for JSON.

The words are those of the screen (watch_rows.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..units import rate
from ..watch_rows import Title, capture_command, details, printable, said, told, trace_command

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ...inspect.watch import Totals, Watched
    from ...threats.finding import Finding

    Value = dict[str, object]


class Numbers:
    """A number for each row that a page was told of, by which the page asks for it; none is used twice."""

    def __init__(self) -> None:
        self._numbers: dict[int, tuple[int, Watched]] = {}  # by identity, which holds as long as the row is in here
        self._rows: dict[int, Watched] = {}
        self._last = 0

    def of(self, row: Watched) -> int:
        known = self._numbers.get(id(row))
        if known is not None:
            return known[0]
        self._last += 1
        self._numbers[id(row)] = self._last, row
        self._rows[self._last] = row
        return self._last

    def row(self, number: int) -> Watched | None:
        return self._rows.get(number)

    def keep(self, rows: Iterable[Watched]) -> None:
        """Forget all others."""
        there = {id(row) for row in rows}
        for identity, (number, _) in list(self._numbers.items()):
            if identity not in there:
                del self._numbers[identity], self._rows[number]

    def __len__(self) -> int:
        return len(self._rows)


def line(item: Title | Watched, numbers: Numbers) -> int | str:
    """A row by its number, a title by its text."""
    return item.text if isinstance(item, Title) else numbers.of(item)


def row_as_json(row: Watched, now: float, severities: Mapping[str, str]) -> Value:
    """`fade` goes from 0 to 1 while a closed row is about to go; `found` is the worst that an audit found of it."""
    from ...threats.view import name_of

    value: Value = dict(said(row)._asdict())
    value["spark"] = heights(row.spark)
    waits = row.entry.peer is None and row.entry.local is not None and row.closed_at is None
    value["exposure"] = row.entry.exposure if waits else ""
    value["within"] = row.entry.exposure in ("loopback", "machine")  # nobody on a network could read it
    value["ended"] = row.closed_at is not None
    value["fade"] = 0.0 if row.closed_at is None else round(min(1.0, (now - row.closed_at) / FADING_SECONDS), 1)
    value["fresh"] = not row.there_before and row.closed_at is None and now - row.first_seen < FRESH_SECONDS
    value["found"] = severities.get(name_of(row.entry), "") if severities else ""
    return value


def detail_as_json(row: Watched, now: float, findings: Sequence[Finding], names: Sequence[str] = ()) -> Value:
    """Everything of one socket; `names` led to its peer; `can_close`: the kernel can end it from outside."""
    from ...threats.view import name_of

    name = name_of(row.entry)
    commands = (capture_command(row), trace_command(row))
    return {
        "known": details(row, now, names),
        "spark": heights(row.spark),
        "most": rate(max(row.spark, default=0.0)),
        "began": None if row.there_before else max(0, round(now - row.first_seen)),
        "ended": None if row.closed_at is None else max(0, round(now - row.closed_at)),
        "findings": [finding_as_json(one) for one in findings if one.socket == name],
        "commands": [command for command in commands if command is not None],
        "can_close": row.closed_at is None and row.entry.scheme in ("tcp", "udp"),
    }


def bar_as_json(totals: Totals, rows: Sequence[Watched], now: float) -> Value:
    """The rates, in and out, and how many sockets there are."""
    value: Value = {"told": told(rows, totals)}
    for name, book in (("received", totals.received_spark), ("sent", totals.sent_spark)):
        values = book.values(now)
        latest = values[-2] if values else 0.0  # the last second that is over
        value[name] = {"rate": rate(latest), "most": rate(max(values, default=0.0)), "spark": heights(values)}
    return value


def finding_as_json(finding: Finding) -> Value:
    return {
        "id": finding.id,
        "severity": finding.severity,
        "title": finding.title,
        "where": "  ".join(filter(None, (finding.socket or finding.subject, finding.process))),
        "evidence": finding.evidence,
        "remedy": finding.remedy,
        "commands": list(finding.commands),
    }


def heights(values: Sequence[float]) -> str:
    """A letter for each second, from `0` (nothing) to `z` (the most of them); "" if there was nothing at all."""
    most = max(values, default=0.0)
    if most <= 0:
        return ""
    return "".join(HEIGHTS[max(1, round(value / most * 35))] if value > 0 else HEIGHTS[0] for value in values)


def printable_lines(text: str) -> str:
    """Several lines of text, each without what is not to be printed."""
    return "\n".join(printable(part) for part in text.split("\n"))


HEIGHTS = "0123456789abcdefghijklmnopqrstuvwxyz"
FADING_SECONDS = 10.0
FRESH_SECONDS = 2.0
