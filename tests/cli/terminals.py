"""A terminal for a command: what it asks there can be read, and answered."""

from __future__ import annotations

import fcntl
import os
import select
import termios
from collections.abc import Callable
from typing import Any

from tests.cli.programs import SECONDS


class Terminal:
    """A pseudo-terminal. `device` is the path that programs open."""

    def __init__(self) -> None:
        self.ours, self.theirs = os.openpty()
        self.device = os.ttyname(self.theirs)
        self.shown = ""

    def asked(self, words: str, times: int = 1) -> str:
        """All that it shows, once these words are so many times in it."""
        while self.shown.count(words) < times:
            readable, _, _ = select.select([self.ours], [], [], SECONDS)
            assert readable, f"it never asked {words!r}, but showed {self.shown!r}"
            self.shown += os.read(self.ours, 65536).decode()
        return self.shown

    def answer(self, text: str) -> None:
        os.write(self.ours, f"{text}\n".encode())

    def options(self) -> dict[str, Any]:
        """For `subprocess.Popen`: this is the program's controlling terminal."""
        return {"start_new_session": True, "preexec_fn": self._take}

    @property
    def _take(self) -> Callable[[], None]:
        def take(theirs: int = self.theirs) -> None:
            fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

        return take

    def hang_up(self) -> None:
        os.close(self.ours)
        self.ours = os.dup(self.theirs)  # to be closed

    def close(self) -> None:
        os.close(self.ours)
        os.close(self.theirs)
