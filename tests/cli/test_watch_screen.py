"""The screen, with its keys pressed: over rows that the test made up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.strip import Strip
from textual.widgets import Input, Static

from socketkit.cli.watch_rows import Title
from socketkit.cli.watch_screen import Detail, Question, Rows, WatchApp
from socketkit.errors import SocketError
from socketkit.inspect.processes import why_hidden
from tests.cli.test_watch_rows import Scripted

pytestmark = pytest.mark.slow

Play = Callable[[WatchApp, Pilot[None]], Coroutine[Any, Any, None]]


def played(play: Play, **options: Any) -> None:
    async def main() -> None:
        app = WatchApp(Scripted(), **options)
        async with app.run_test(size=(150, 24)) as pilot:
            await pilot.pause()
            app.update()
            await play(app, pilot)

    asyncio.run(main())


def shown(app: WatchApp) -> list[object]:
    lines = app.screen_stack[0].query_one(Rows).lines
    return [line.text.split()[0] if isinstance(line, Title) else line.entry.cookie for line in lines]


def text(app: WatchApp, name: str) -> str:
    return str(app.screen.query_one(name, Static).render())


def test_views_by_their_keys() -> None:
    async def play(app: WatchApp, pilot: Pilot[None]) -> None:
        assert shown(app) == [2, 1, 3, 4]
        await pilot.press("2")
        assert shown(app) == ["nginx[7]", 2, "-", 1, "?", 3, 4]
        await pilot.press("3")
        assert shown(app) == ["web", 2, 3, 4, "unknown", 1]
        await pilot.press("4")
        assert shown(app) == [1]
        rates = text(app, "#rates")
        assert "2 opened, 1 closed  listeners" in rates
        assert why_hidden() in rates
        assert "needs CAP_NET_RAW" in rates

    played(play)


def test_a_look_that_comes_after_the_screen_is_gone_shows_nothing() -> None:
    ended: list[WatchApp] = []

    async def play(app: WatchApp, pilot: Pilot[None]) -> None:
        ended.append(app)

    played(play)
    (app,) = ended
    app._screen_stacks = {name: [] for name in app._screen_stacks}  # as it is while the timer is stopped
    app.update()


def test_only_lines_that_changed_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play(app: WatchApp, pilot: Pilot[None]) -> None:
        table = app.query_one(Rows)
        row = next(line for line in table.lines if not isinstance(line, Title) and line.entry.cookie == 1)
        at, drawn, draw = table.lines.index(row), list[int](), table.render_line

        def render_line(y: int) -> Strip:
            drawn.append(y)
            return draw(y)

        await pilot.pause()
        monkeypatch.setattr(table, "render_line", render_line)
        app.update()
        await pilot.pause()
        assert drawn == []
        entry: Any = row.entry
        row.entry = replace(entry, state="closing")
        app.update()
        await pilot.pause()
        assert set(drawn) == {at}
        await pilot.press("down")
        assert set(drawn) > {at}

    played(play)


def test_filter_as_it_is_typed() -> None:
    async def play(app: WatchApp, pilot: Pilot[None]) -> None:
        await pilot.press("slash")
        line = app.query_one("#filter", Input)
        assert app.focused is line
        line.value = "listening"
        await pilot.pause()
        assert shown(app) == [1]
        line.value = "listening prot=80"
        await pilot.pause()
        assert "there is no prot" in text(app, "#problem")
        assert "^" in text(app, "#problem")
        assert shown(app) == [1]
        line.value = ""
        await pilot.press("enter")
        assert (text(app, "#problem"), shown(app)) == ("", [2, 1, 3, 4])
        assert isinstance(app.focused, Rows)

    played(play)


def test_the_chosen_row_stays_chosen() -> None:
    async def play(app: WatchApp, pilot: Pilot[None]) -> None:
        table = app.query_one(Rows)
        await pilot.press("down", "down")
        assert table.chosen is not None and table.chosen.entry.cookie == 3
        await pilot.press("2")
        assert table.chosen is not None and table.chosen.entry.cookie == 3
        await pilot.press("home")
        assert table.chosen is not None and table.chosen.entry.cookie == 2
        await pilot.press("end")
        assert table.chosen is not None and table.chosen.entry.cookie == 4

    played(play)


def test_detail() -> None:
    async def play(app: WatchApp, pilot: Pilot[None]) -> None:
        await pilot.press("enter")
        assert isinstance(app.screen, Detail)
        assert "its first bytes are TLS" in text(app, "#detail")
        await pilot.press("escape")
        assert not isinstance(app.screen, Detail)

    played(play)


def test_closing_asks_first() -> None:
    closed: list[int] = []

    def close_socket(row: Any) -> None:
        closed.append(row.entry.cookie)
        raise SocketError("destroy", None, "needs CAP_NET_ADMIN", 1)

    async def play(app: WatchApp, pilot: Pilot[None]) -> None:
        await pilot.press("k")
        assert isinstance(app.screen, Question)
        await pilot.press("enter")
        assert closed == []
        await pilot.press("k", "y")
        await pilot.pause()
        assert closed == [2]
        assert any("CAP_NET_ADMIN" in notice.message for notice in app._notifications)
        await pilot.press("end", "k")
        assert not isinstance(app.screen, Question)  # it is closed already

    played(play, close_socket=close_socket)


def test_commands_are_copied() -> None:
    async def play(app: WatchApp, pilot: Pilot[None]) -> None:
        await pilot.press("c")
        assert app.clipboard.startswith("sudo socketkit capture any tcp and port 7000")
        await pilot.press("t")
        assert app.clipboard == "socketkit trace 192.0.2.9"
        await pilot.press("4", "t")
        assert any("no address" in notice.message for notice in app._notifications)

    played(play)


def test_only_visible_lines_are_drawn(tmp_path: Path) -> None:
    async def play(app: WatchApp, pilot: Pilot[None]) -> None:
        table = app.query_one(Rows)
        drawn: list[int] = []
        render = table.render_line
        table.render_line = lambda y: drawn.append(y) or render(y)  # type: ignore[assignment, func-returns-value]
        table.show_lines(table.lines * 10_000, 102.0)
        await pilot.pause()
        assert 0 < len(set(drawn)) < 24
        picture = app.export_screenshot()
        (tmp_path / "watch.svg").write_text(picture)
        assert "established" in picture

    played(play)


def test_q_ends() -> None:
    async def play(app: WatchApp, pilot: Pilot[None]) -> None:
        await pilot.press("q")
        await pilot.pause()
        assert not app.is_running

    played(play)
