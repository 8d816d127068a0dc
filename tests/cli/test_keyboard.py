"""Single keys."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import termios
from collections.abc import Callable

import pytest

from socketkit.cli.keyboard import keyboard, keys
from tests.cli.terminals import Terminal
from tests.conftest import Run

PROGRAM = """
import asyncio, sys
from socketkit.cli.keyboard import keyboard
async def main():
    done = asyncio.Event()
    def pressed(key):
        print("key", key, flush=True)
        if key == "q":
            done.set()
    with keyboard(pressed) as there:
        print("ready", there, flush=True)
        await done.wait()
asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("data", "pressed"),
    [
        (b"q", ["q"]),
        (b"\x1b[A\x1bOBx", ["up", "down", "x"]),
        (b"\x1b[1;5A", ["up"]),
        (b"\x1b[3~q", ["q"]),
        (b"\x1b[", []),
        (b"\xc3\xa4", ["ä"]),
        (b"\x1b", ["\x1b"]),
    ],
)
def test_keys(data: bytes, pressed: list[str]) -> None:
    assert list(keys(data)) == pressed


@pytest.mark.slow
def test_terminal_is_as_it_was() -> None:
    terminal = Terminal()
    try:
        before = termios.tcgetattr(terminal.theirs)
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM], stdin=terminal.theirs, stdout=terminal.theirs, **terminal.options()
        )
        terminal.asked("ready True")
        assert not termios.tcgetattr(terminal.theirs)[3] & (termios.ICANON | termios.ECHO)
        os.write(terminal.ours, b"j\x1b[A")
        terminal.asked("key up")
        os.write(terminal.ours, b"q")
        assert process.wait(20) == 0
        assert terminal.asked("key q").count("key ") == 3
        assert termios.tcgetattr(terminal.theirs) == before
    finally:
        terminal.close()


def test_without_a_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        with open(os.devnull) as nothing:
            monkeypatch.setattr(sys, "stdin", nothing)
            pressed: Callable[[str], None] = lambda key: None  # noqa: E731
            with keyboard(pressed) as there:
                await asyncio.sleep(0)
                assert not there

    run(main())
