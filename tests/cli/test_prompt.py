"""The questions at the terminal: only a clear yes is one, and without a terminal nobody is asked."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Thread

import pytest

from socketkit.cli import prompt
from tests.cli.terminals import Terminal
from tests.keys import A, B


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    terminal = Terminal()
    monkeypatch.setattr(prompt, "TERMINAL", terminal.device)
    yield terminal
    terminal.close()


class Asking(Thread):
    """The question, which waits for its answer on the terminal."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.trusted: bool | None = None
        self.start()

    def run(self) -> None:
        self.trusted = prompt.ask_to_trust("nas:7000", A)

    def end(self) -> bool | None:
        self.join(20)
        assert not self.is_alive()
        return self.trusted


@pytest.mark.parametrize(
    ("answer", "trusted"),
    [("yes", True), (" YES ", True), ("no", False), ("", False), (A, True), (A.upper(), True), (B, False)],
)
def test_answers(terminal: Terminal, answer: str, trusted: bool) -> None:
    asking = Asking()
    shown = terminal.asked("[yes / no / paste")
    assert "nas:7000 is not known here yet" in shown
    assert A in shown
    terminal.answer(answer)
    assert asking.end() is trusted
    if answer == B:
        terminal.asked("That is another key: somebody may sit in the middle.")


def test_key_with_a_wrong_character(terminal: Terminal) -> None:
    asking = Asking()
    terminal.asked("paste")
    terminal.answer(A[:-1] + "ab"[A[-1] == "a"])
    assert asking.end() is False
    terminal.asked("check digits do not match")


def test_asked_again_but_not_for_ever(terminal: Terminal) -> None:
    asking = Asking()
    for time in range(1, prompt.ATTEMPTS + 1):
        terminal.asked("Trust it", times=time)
        terminal.answer("y")
    assert asking.end() is False
    terminal.asked("Please write yes or no in full.")


def test_end_of_the_terminal_is_no(terminal: Terminal) -> None:
    asking = Asking()
    terminal.asked("Trust it")
    terminal.answer("\x04")
    assert asking.end() is False


def test_window_that_is_closed_is_no(terminal: Terminal) -> None:
    asking = Asking()
    terminal.asked("Trust it")
    terminal.hang_up()
    assert asking.end() is False


def test_what_was_typed_before_the_question_is_no_answer(terminal: Terminal) -> None:
    terminal.answer("yes")
    asking = Asking()
    terminal.asked("Trust it")
    terminal.answer("no")
    assert asking.end() is False


def test_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt, "TERMINAL", "/nonexistent/tty")
    assert prompt.ask_to_trust("nas:7000", A) is False
    assert prompt.confirm("Sure?") is None


@pytest.mark.parametrize(("answer", "confirmed"), [("yes", True), ("y", False), ("", False)])
def test_confirm(terminal: Terminal, answer: str, confirmed: bool) -> None:
    said: list[bool | None] = []
    asking = Thread(target=lambda: said.append(prompt.confirm("Sure?")), daemon=True)
    asking.start()
    terminal.asked("Sure? [yes / no] ")
    terminal.answer(answer)
    asking.join(20)
    assert said == [confirmed]
