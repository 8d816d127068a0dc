"""What the page is told of rows, as values."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from socketkit.cli.watch_rows import Title, arranged
from socketkit.cli.watch_web.rows import (
    Numbers,
    bar_as_json,
    detail_as_json,
    heights,
    line,
    printable_lines,
    row_as_json,
)
from socketkit.inspect.ledger import Watched
from socketkit.threats.finding import Check, Finding
from tests.cli.test_watch_rows import HIDDEN, LISTENER, WEB, Program, Scripted

OPEN = Check("OP1", "high", "A port is open", "open-ports")
FINDING = Finding(OPEN, "tcp://127.0.0.1:7000", "it is", "close it", ("true",), socket="tcp://127.0.0.1:7000")


def four() -> list[Watched]:
    """One that moves, a listener, one of which nobody knows, one that was closed."""
    return arranged(Scripted().rows, "all")  # type: ignore[return-value]


def test_a_number_is_of_one_row_and_never_used_again() -> None:
    numbers, rows = Numbers(), four()
    assert [numbers.of(row) for row in (*rows, *rows)] == [1, 2, 3, 4, 1, 2, 3, 4]
    assert numbers.row(2) is rows[1]
    numbers.keep(rows[2:])
    assert (numbers.row(2), numbers.row(3), len(numbers)) == (None, rows[2], 2)
    assert numbers.of(rows[0]) == 5
    assert (line(rows[0], numbers), line(Title("web  3"), numbers)) == (5, "web  3")


def test_rows() -> None:
    moving, listener, hidden, closed = (row_as_json(row, 107.0, {}) for row in four())
    assert (moving["encrypted"], moving["received"], moving["exposure"]) == ("yes", "4.00 kB/s", "")
    assert (listener["exposure"], listener["fade"], listener["within"]) == ("everywhere", 0.0, False)
    assert (hidden["process"], hidden["within"]) == ("?", True)
    assert (closed["state"], closed["received"], closed["fade"]) == ("closed", "70.0 kB", 0.5)
    assert str(moving["spark"]).endswith("z")
    json.dumps([moving, listener, hidden, closed])


def test_new_rows_and_those_with_findings() -> None:
    moving, listener, *_ = four()
    assert row_as_json(moving, 102.5, {})["fresh"]
    assert not row_as_json(moving, 104.5, {})["fresh"]
    assert not row_as_json(listener, 100.5, {})["fresh"]  # it was there before
    assert row_as_json(listener, 102.0, {"tcp://127.0.0.1:7000": "high"})["found"] == "high"
    assert row_as_json(moving, 102.0, {"tcp://127.0.0.1:7000": "high"})["found"] == ""


def test_names_are_text_that_can_be_printed() -> None:
    scripted = Scripted()
    look: Any = scripted.ledger.seen
    look([LISTENER, HIDDEN, replace(WEB, cookie=9, processes=(Program("\x1b[2J<script>\u202e"),))], 103.0)
    row = next(row for row in scripted.rows if row.entry.cookie == 9)
    assert row_as_json(row, 103.0, {})["process"] == "·[2J<script>·[7]"


def test_details() -> None:
    moving, listener, _, closed = four()
    told = detail_as_json(moving, 107.0, [FINDING], ["www.example"])
    assert ("asked for", "www.example") in told["known"]  # type: ignore[operator]
    assert (told["began"], told["ended"], told["can_close"], told["findings"]) == (6, None, True, [])
    assert told["most"] == "4.10 kB/s"
    told = detail_as_json(listener, 107.0, [FINDING])
    assert told["began"] is None
    assert [one["id"] for one in told["findings"]] == ["OP1"]  # type: ignore[attr-defined]
    assert told["commands"] == ["sudo socketkit capture any tcp and port 7000"]
    told = detail_as_json(closed, 107.0, [])
    assert (told["ended"], told["can_close"]) == (5, False)


def test_bar() -> None:
    scripted = Scripted()
    told: Any = bar_as_json(scripted.totals, scripted.rows, 103.0)
    assert told["told"] == "3 sockets, 2 opened, 1 closed"
    assert told["received"]["rate"] == "74.0 kB/s"
    assert told["received"]["spark"].endswith("z0")


def test_heights() -> None:
    assert heights(()) == heights((0.0, 0.0)) == ""
    assert heights((0.0, 0.001, 35.0, 17.5)) == "01zi"


def test_lines_stay_lines() -> None:
    assert printable_lines("there is no \x1b[31m\n    ^") == "there is no ·[31m\n    ^"
