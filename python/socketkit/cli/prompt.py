"""Questions to the person at the terminal: standard input and output are the connection's, and are never asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import IdentityError
from ..fingerprint import canonical

if TYPE_CHECKING:
    from io import FileIO


def ask_to_trust(place: str, fingerprint: str) -> bool:
    """Ask whether this is the key of that place, as ssh does on first use.

    False without a terminal: the error that follows (`Decision.reason`) has the command that adds the key.
    """
    terminal = _terminal()
    if terminal is None:
        return False
    with terminal:
        _say(terminal, f"{place} is not known here yet. Its key is\n  {fingerprint}\n")
        _say(terminal, "`socketkit identity` shows it at the other end. ")
        for _ in range(ATTEMPTS):
            answer = _answer(terminal, "Trust it from now on? [yes / no / paste the key that it should be] ")
            if answer in ("yes", "no", ""):
                return answer == "yes"
            if answer.startswith("sk1:"):
                return _is_the_same(terminal, answer, fingerprint)
            _say(terminal, "Please write yes or no in full. ")
    return False


def confirm(question: str) -> bool | None:
    """The answer to a question of yes or no; None if there is no terminal to ask."""
    terminal = _terminal()
    if terminal is None:
        return None
    with terminal:
        return _answer(terminal, f"{question} [yes / no] ") == "yes"


def _is_the_same(terminal: FileIO, answer: str, fingerprint: str) -> bool:
    try:
        same = canonical(answer) == fingerprint
    except IdentityError as failure:
        _say(terminal, f"{failure}\n")
        return False
    if not same:
        _say(terminal, "That is another key: somebody may sit in the middle.\n")
    return same


def _answer(terminal: FileIO, question: str) -> str:
    """What was typed; nothing at the terminal's end (Ctrl-D, or its window is closed)."""
    try:
        _say(terminal, question)
        return terminal.readline().decode(errors="replace").strip().lower()
    except OSError:
        return ""


def _say(terminal: FileIO, text: str) -> None:
    terminal.write(text.encode())


def _terminal() -> FileIO | None:
    import os
    import termios
    from io import FileIO

    try:
        fd = os.open(TERMINAL, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:  # a service, a job of cron: nobody is there
        return None
    # What was typed before the question was seen is no answer to it: it may be meant for the connection.
    termios.tcflush(fd, termios.TCIFLUSH)
    return FileIO(fd, "r+")


TERMINAL = "/dev/tty"
ATTEMPTS = 3
