"""What one open page looks at, and what it is told: what has changed since it was told last.

Only the lines that it shows are told, so a hundred thousand sockets cost a page no more than fifty. A message is made
when the last one has been taken: a slow page gets fewer of them, each with the state of its moment, and no queue grows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeGuard

from ...errors import SelectionError
from ...inspect.selection import Selection
from ..watch_rows import ORDERS, VIEWS, Title, arranged, notes
from .rows import Numbers, bar_as_json, detail_as_json, finding_as_json, line, printable_lines, row_as_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ...inspect.watch import Watched
    from ..watch_rows import Source
    from .auditing import Audited
    from .rows import Value


class Look(NamedTuple):
    """What a page wants to see. `hold`: the lines stay where they are, and none comes."""

    view: str = VIEWS[0]
    filter: str = ""
    column: str = ""
    downwards: bool = False
    first: int = 0
    size: int = 60
    chosen: int = 0
    hold: bool = False

    @classmethod
    def of(cls, asked: Mapping[str, object]) -> Look:
        """ValueError for what no page asks for."""
        look = cls(
            view=str(asked.get("view", VIEWS[0])),
            filter=str(asked.get("filter", "")),
            column=str(asked.get("column", "")),
            downwards=_is_true(asked.get("downwards")),
            first=_number(asked.get("first", 0), MOST_LINES),
            size=_number(asked.get("size", 60), MOST_SHOWN),
            chosen=_number(asked.get("chosen", 0), LARGEST),
            hold=_is_true(asked.get("hold")),
        )
        if look.view not in VIEWS or (look.column and look.column not in ORDERS) or len(look.filter) > LONGEST_FILTER:
            raise ValueError("there is no such view, column or filter")
        return look


class Viewer:
    """One open page."""

    def __init__(self, source: Source, numbers: Numbers, look: Look) -> None:
        self._source = source
        self._numbers = numbers
        self._selection = Selection()
        self._problem = ""
        self._look = Look()
        self._held: list[Title | Watched] | None = None
        self._chosen: Watched | None = None
        self._told: Value = {}
        self._told_rows: dict[int, Value] = {}
        self.look_at(look)

    def look_at(self, look: Look) -> None:
        """From now on this."""
        try:
            self._selection = Selection(look.filter)
            self._problem = ""
        except SelectionError as failure:
            # With the caret; the rows stay those of the last words that said something.
            self._problem = printable_lines(str(failure))
        if not look.hold or look[:4] != self._look[:4]:
            self._held = None
        if look.chosen != self._look.chosen:
            self._chosen = self._numbers.row(look.chosen)
        self._look = look

    def message(self, audited: Audited) -> Value:
        """What is not yet known there: `rows` that are new or changed, `gone` those that are not shown any more."""
        source, look, now = self._source, self._look, self._source.now
        rows = [row for row in source.rows if self._selection.holds(row)]
        lines = self._lines(rows)
        first = max(0, min(look.first, len(lines) - look.size))
        shown = lines[first : first + look.size]
        fresh = {self._numbers.of(row): row_as_json(row, now, audited.severities) for row in shown if _is_row(row)}
        state: Value = {
            "total": len(lines),
            "first": first,
            "lines": [line(item, self._numbers) for item in shown],
            "bar": bar_as_json(source.totals, rows, now),
            "notes": notes(source),
            "problem": self._problem,
            "chosen": look.chosen if self._chosen is not None else 0,
            "detail": None if self._chosen is None else self._detail(self._chosen, audited),
            "audit": audited.version,
        }
        told = self._told
        news: Value = {name: value for name, value in state.items() if name not in told or told[name] != value}
        if "audit" in news:
            news["findings"] = {
                "found": [finding_as_json(one) for one in audited.findings[:MOST_FINDINGS]],
                "more": max(0, len(audited.findings) - MOST_FINDINGS),
                "unknown": [*audited.unknown],
                "looked": audited.at > 0,
            }
        news["rows"] = {number: value for number, value in fresh.items() if self._told_rows.get(number) != value}
        news["gone"] = [number for number in self._told_rows if number not in fresh]
        self._told, self._told_rows = state, fresh
        return news

    @property
    def kept(self) -> list[Watched]:
        """Rows that it shows though they may have gone."""
        held = [item for item in self._held or () if _is_row(item)]
        return held if self._chosen is None else [*held, self._chosen]

    def _detail(self, row: Watched, audited: Audited) -> Value:
        return detail_as_json(row, self._source.now, audited.findings, self._source.names(row))

    def _lines(self, rows: Sequence[Watched]) -> list[Title | Watched]:
        if self._held is None:
            lines = arranged(rows, self._look.view, self._look.column, downwards=self._look.downwards)
            if not self._look.hold:
                return lines
            self._held = lines
        return self._held


def _is_row(item: Title | Watched) -> TypeGuard[Watched]:
    return not isinstance(item, Title)


def _number(value: object, most: int) -> int:
    return max(0, min(int(str(value)), most))


def _is_true(value: object) -> bool:
    return value in (True, "true")


MOST_LINES = 10_000_000
MOST_SHOWN = 200
MOST_FINDINGS = 200
LONGEST_FILTER = 1_000
LARGEST = 2**53
