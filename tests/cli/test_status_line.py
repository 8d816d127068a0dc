"""The line that is written over and over."""

from __future__ import annotations

import asyncio
import io
from types import SimpleNamespace

import pytest

from socketkit.cli import status_line
from socketkit.cli.status_line import RETURN_AND_ERASE, StatusLine, kept_up_to_date


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    terminal = Terminal()
    monkeypatch.setattr(status_line, "sys", SimpleNamespace(stderr=terminal))  # pytest sets the real one anew
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setattr(status_line, "UPDATE_SECONDS", 0.001)
    return terminal


def test_is_written_over_and_cleared(terminal: Terminal) -> None:
    line = StatusLine()
    line.write("first")
    line.write("second")
    line.clear()
    line.clear()
    assert terminal.getvalue().split(RETURN_AND_ERASE) == ["", "first", "second", ""]


def test_never_wraps(terminal: Terminal) -> None:
    StatusLine().write("x" * 100)
    assert terminal.getvalue() == RETURN_AND_ERASE + "x" * 19


def test_hidden_for_good(terminal: Terminal) -> None:
    line = StatusLine()
    line.write("here")
    line.hide()
    line.write("gone")
    assert terminal.getvalue() == f"{RETURN_AND_ERASE}here{RETURN_AND_ERASE}"


def test_nothing_is_written_to_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr(status_line, "sys", SimpleNamespace(stderr=file))
    line = StatusLine()
    line.write("text")
    line.clear()
    assert file.getvalue() == ""


def test_kept_up_to_date_until_the_end_of_the_block(terminal: Terminal) -> None:
    async def main() -> None:
        texts = iter(range(1_000_000))
        third = asyncio.Event()

        def text() -> str:
            number = next(texts)
            if number == 3:
                third.set()
            return f"text {number}"

        async with kept_up_to_date(StatusLine(), text):
            await third.wait()

    asyncio.run(main())
    written = terminal.getvalue().split(RETURN_AND_ERASE)
    assert written[:4] == ["", "text 0", "text 1", "text 2"]
    assert written[-1] == ""
