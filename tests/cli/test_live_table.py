"""The table that is written over."""

from __future__ import annotations

import asyncio
import sys

import pytest

from socketkit.cli import live_table
from socketkit.cli.live_table import fitting


def test_what_does_not_fit_is_counted() -> None:
    lines = [(f"line {number}", "") for number in range(20)]
    assert str(fitting(lines, 80, 6)).splitlines() == ["line 0", "line 1", "line 2", "and 16 more", "line 19"]
    assert str(fitting(lines, 80, 21)).splitlines() == [text for text, _ in lines]
    assert str(fitting([("a long line", "")], 6, 10)) == "a lon…"
    assert str(fitting([], 80, 24)) == ""


def test_nothing_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        async with live_table.live_table(lambda: [("shown", "")]):
            await asyncio.sleep(0)

    asyncio.run(main())
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("shown", [True, False])
def test_on_a_terminal_it_is_written_over(
    shown: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(live_table, "UPDATE_SECONDS", 0.001)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    asked = 0

    async def main() -> None:
        nonlocal asked
        enough = asyncio.Event()

        def lines() -> list[tuple[str, str]]:
            nonlocal asked
            asked += 1
            if asked >= 3:
                enough.set()
            return [(f"number {asked}", "bold")]

        async with live_table.live_table(lines, shown=shown, patience_seconds=0):
            if shown:
                await asyncio.wait_for(enough.wait(), 10)

    asyncio.run(main())
    out = capsys.readouterr().out
    assert ("number 1" in out, "number 2" in out) == (shown, shown)
    assert asked >= 3 or not shown


def test_a_run_that_is_over_at_once_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)

    async def main() -> None:
        async with live_table.live_table(lambda: [("shown", "")]):
            pass

    asyncio.run(main())
    assert capsys.readouterr().out == ""
