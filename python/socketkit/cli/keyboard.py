"""Single keys from the terminal while something is shown on it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import termios
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def keyboard(pressed: Callable[[str], None]) -> Iterator[bool]:
    """Call `pressed(key)` for each key for as long as the block runs; False if nobody can press one.

    A key is its letter, or "up" and "down". Ctrl-C and Ctrl-Z mean what they always mean. The terminal is afterwards as
    it was.
    """
    fd = 0
    if not (sys.stdin is not None and sys.stdin.isatty() and _in_front(fd)):
        yield False
        return
    loop = asyncio.get_running_loop()
    before = termios.tcgetattr(fd)

    def take() -> None:
        try:
            data = os.read(fd, 256)
        except OSError:
            data = b""
        if not data:  # the window is closed
            loop.remove_reader(fd)
        for key in keys(data):
            pressed(key)

    # Who stops the program (Ctrl-Z) gets his terminal back from the shell, and the shell leaves it so.
    loop.add_signal_handler(signal.SIGCONT, _letter_by_letter, fd, before)
    _letter_by_letter(fd, before)
    loop.add_reader(fd, take)
    try:
        yield True
    finally:
        loop.remove_reader(fd)
        loop.remove_signal_handler(signal.SIGCONT)
        with suppress(termios.error):
            termios.tcsetattr(fd, termios.TCSADRAIN, before)


def keys(data: bytes) -> Iterator[str]:
    """The keys in what a terminal has sent at once."""
    text = data.decode("utf-8", "replace")
    at = 0
    while at < len(text):
        if text.startswith(("\x1b[", "\x1bO"), at):
            end = at + 2
            while end < len(text) and not "@" <= text[end] <= "~":
                end += 1
            name = ARROWS.get(text[end : end + 1])
            if name:
                yield name
            at = end + 1
        else:
            yield text[at]
            at += 1


def _letter_by_letter(fd: int, before: list[object]) -> None:
    if not _in_front(fd):
        return
    mode = list(before)
    mode[3] = termios.tcgetattr(fd)[3] & ~(termios.ICANON | termios.ECHO)
    termios.tcsetattr(fd, termios.TCSADRAIN, mode)  # type: ignore[arg-type]


def _in_front(fd: int) -> bool:
    """Whether the terminal is ours to read: a job in the background would be stopped."""
    try:
        return os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:
        return False


ARROWS = {"A": "up", "B": "down"}
