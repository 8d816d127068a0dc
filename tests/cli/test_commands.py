"""The commands by name: each loaded on demand, each with help that shows how it is used."""

from __future__ import annotations

import itertools
import re
import shlex

import click
import pytest

from socketkit.cli import main
from socketkit.cli.commands import SUMMARIES, socketkit

context = click.Context(socketkit, info_name="socketkit")


@pytest.mark.parametrize("name", SUMMARIES)
def test_examples_are_command_lines(name: str) -> None:
    """Each is taken apart as it would be typed: the options exist, and the addresses are addresses."""
    command = socketkit.get_command(context, name)
    assert command is not None
    shown = command.epilog or ""
    for line in re.findall(r"socketkit [^\n]*", shown):
        lexer = shlex.shlex(line.partition("`")[0].replace("\\n", ""), posix=True, punctuation_chars="|<>;()")
        lexer.whitespace_split = True
        words = list(itertools.takewhile(lambda word: not set(word) & set("|<>;()"), lexer))
        if "..." in line or words[1:2] != [name] or isinstance(command, click.Group):
            continue  # a key that is left out, another command, or a command of its own
        command.make_context(name, words[2:])


@pytest.mark.parametrize("name", SUMMARIES)
def test_every_command_has_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"Usage: socketkit {name}" in text
    assert f"socketkit {name} " in text.partition("Options:")[2]


@pytest.mark.parametrize("name", SUMMARIES)
def test_summary_says_what_the_command_says(name: str) -> None:
    command = socketkit.get_command(context, name)
    assert command is not None
    assert (command.help or "").startswith(SUMMARIES[name].removesuffix("."))


def test_help_lists_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for name, summary in SUMMARIES.items():
        assert f"  {name} " in text
        assert summary in text


def test_unknown_command_is_none() -> None:
    assert socketkit.get_command(context, "__init__") is None


def test_verbose_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-v", "connect", "quic://localhost:1"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1].startswith("socketkit: connect quic://localhost:1: ")


def test_shell_asks_for_completions(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("_SOCKETKIT_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "socketkit co")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert main([]) == 0
    assert capsys.readouterr().out.splitlines() == ["plain,connect", "plain,completion"]
