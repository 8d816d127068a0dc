"""What an open page is told: what it looks at, and of that what is new."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from socketkit.cli.watch_web.auditing import Audited
from socketkit.cli.watch_web.rows import Numbers
from socketkit.cli.watch_web.viewer import Look, Viewer
from socketkit.inspect.processes import why_hidden
from tests.cli.test_watch_rows import HIDDEN, LISTENER, WEB, Scripted
from tests.cli.watch_web.test_rows import FINDING

NONE = Audited()


class Watching(Scripted):
    def look(self, *entries: Any, now: float) -> None:
        seen: Any = self.ledger.seen
        seen(entries, now)
        self.now = now


def viewer(source: Any = None, **look: Any) -> Viewer:
    return Viewer(source or Watching(), Numbers(), Look(**look))


def shown(viewer: Viewer, message: Any) -> list[str]:
    return [viewer._numbers.row(line).state if isinstance(line, int) else line for line in message["lines"]]  # type: ignore[union-attr]


def test_the_first_message_tells_everything() -> None:
    page = viewer()
    message: Any = page.message(NONE)
    assert shown(page, message) == ["established", "listening", "established", "closed"]
    assert set(message["rows"]) == set(message["lines"])
    assert (message["total"], message["first"], message["gone"], message["problem"]) == (4, 0, [], "")
    assert why_hidden() in message["notes"][0]
    assert message["bar"]["told"] == "3 sockets, 2 opened, 1 closed"


def test_afterwards_what_is_new() -> None:
    source = Watching()
    page = viewer(source)
    first: Any = page.message(NONE)
    again: Any = page.message(NONE)
    assert set(again) == {"rows", "gone"}
    assert (again["rows"], again["gone"]) == ({}, [])
    source.look(LISTENER, HIDDEN, replace(WEB, received_bytes=9_000, sent_bytes=100), now=103.0)
    later: Any = page.message(NONE)
    moved = later["rows"][first["lines"][0]]
    assert moved["received"] == "5.00 kB/s"
    assert first["lines"][1] not in later["rows"]  # the listener is as it was
    source.look(LISTENER, HIDDEN, replace(WEB, received_bytes=9_000, sent_bytes=100), now=113.0)
    assert page.message(NONE)["gone"] == [first["lines"][3]]  # the closed one has faded


def test_only_lines_that_can_be_seen_are_told() -> None:
    source = Watching()
    source.look(*(replace(WEB, cookie=1_000 + number) for number in range(5_000)), now=103.0)
    page = viewer(source, first=200, size=50)
    message: Any = page.message(NONE)
    assert message["total"] > 5_000
    assert (message["first"], len(message["lines"]), len(message["rows"])) == (200, 50, 50)
    assert len(page._numbers) == 50
    page.look_at(Look(first=9_999_999, size=50))
    assert page.message(NONE)["first"] == message["total"] - 50


def test_a_filter_and_its_fault() -> None:
    page = viewer(filter="listening")
    assert page.message(NONE)["total"] == 1
    page.look_at(Look(filter="listening prot=80"))
    message: Any = page.message(NONE)
    first, *rest = message["problem"].split("\n")
    assert "there is no prot" in first
    assert rest[-1].strip() == "^"
    assert "total" not in message  # the rows stay those of the last words that said something
    page.look_at(Look())
    message = page.message(NONE)
    assert (message["problem"], message["total"]) == ("", 4)


def test_views_and_order() -> None:
    page = viewer(view="by use")
    assert shown(page, page.message(NONE))[0] == "web  3  4.10 kB/s"
    page.look_at(Look(view="listeners"))
    assert shown(page, page.message(NONE)) == ["listening"]
    page.look_at(Look(column="state", downwards=True))
    assert shown(page, page.message(NONE)) == ["listening", "established", "established", "closed"]


def test_held_lines_stay_and_live() -> None:
    source = Watching()
    page = viewer(source, hold=True)
    first: Any = page.message(NONE)
    source.look(LISTENER, replace(HIDDEN, received_bytes=90_000), replace(WEB, cookie=50), now=103.0)
    source.look(LISTENER, replace(HIDDEN, received_bytes=90_000), replace(WEB, cookie=50), now=120.0)
    message: Any = page.message(NONE)
    assert "lines" not in message
    assert len(page.kept) == 4
    assert message["rows"][first["lines"][0]]["state"] == "closed"
    page.look_at(Look())
    assert first["lines"][0] not in page.message(NONE)["lines"][:3]
    assert page.kept == []


def test_the_chosen_row_is_told_though_it_has_gone() -> None:
    source = Watching()
    page = viewer(source)
    first: Any = page.message(NONE)
    page.look_at(Look(chosen=first["lines"][0]))
    detail: Any = page.message(NONE)["detail"]
    assert ("state", "established") in detail["known"]
    source.look(LISTENER, HIDDEN, now=103.0)
    source.look(LISTENER, HIDDEN, now=104.0)
    source.look(LISTENER, HIDDEN, now=120.0)
    page._numbers.keep([*source.rows, *page.kept])
    detail = page.message(NONE)["detail"]
    assert ("state", "closed") in detail["known"]
    assert page._numbers.row(first["lines"][0]) is not None
    page.look_at(Look(chosen=12_345))
    assert page.message(NONE)["chosen"] == 0


def test_findings_are_told_when_there_was_an_audit() -> None:
    page = viewer()
    message: Any = page.message(NONE)
    assert message["findings"] == {"found": [], "more": 0, "unknown": [], "looked": False}
    audited = Audited([FINDING] * 250, ["whose some are"], 100.0, 1)
    message = page.message(audited)
    assert len(message["findings"]["found"]) == 200
    assert (message["findings"]["more"], message["findings"]["unknown"]) == (50, ["whose some are"])
    listener = next(row for row in message["rows"].values() if row["state"] == "listening")
    assert listener["found"] == "high"
    assert "findings" not in page.message(audited)


@pytest.mark.parametrize(
    "asked",
    [
        {"view": "nothing"},
        {"column": "nothing"},
        {"filter": "x" * 1_001},
        {"first": "x"},
        {"size": None},
        {"first": []},
    ],
)
def test_what_no_page_asks_for(asked: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Look.of(asked)


def test_looks_are_bounded() -> None:
    look = Look.of({"first": -5, "size": "100000", "chosen": 10**40, "downwards": "true", "hold": True})
    assert (look.first, look.size, look.chosen, look.downwards, look.hold) == (0, 200, 2**53, True, True)
    assert Look.of({}) == Look()
