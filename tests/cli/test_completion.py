"""The completion scripts, in the shells that they are for."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.programs import Result, Start

Ran = Callable[..., Result]
Find = Callable[[str], str]

pytestmark = pytest.mark.slow


@pytest.fixture
def command(tmp_path: Path) -> Path:
    """`socketkit` as an executable of a folder."""
    path = tmp_path / "socketkit"
    path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m socketkit "$@"\n')
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("socketkit re", "relay"),
        ("socketkit serve d", "discard"),
        ("socketkit connect --c", "--crlf"),
        ("socketkit connect --messages le", "lengths"),
    ],
)
def test_bash(start: Start, program: Find, ran: Ran, command: Path, typed: str, completed: str) -> None:
    script = ran("completion", "bash").out.decode()
    words = typed.split(" ")
    asked = f"""{script}
complete -p socketkit >/dev/null || exit 3
PATH={shlex.quote(str(command.parent))}:$PATH
COMP_WORDS=({typed}) COMP_CWORD={len(words) - 1}
_socketkit_completion socketkit {words[-1]} {words[-2]}
echo "${{COMPREPLY[@]}}"
"""
    result = start([program("bash"), "--norc", "-c", asked]).finish()
    assert result == Result(0, f"{completed}\n".encode(), "")


@pytest.mark.parametrize(
    ("shell", "sign"), [("zsh", b"#compdef socketkit"), ("fish", b"complete --no-files --command")]
)
def test_other_shells(ran: Ran, shell: str, sign: bytes) -> None:
    result = ran("completion", shell)
    assert (result.status, result.err) == (0, "")
    assert sign in result.out
    assert b"_SOCKETKIT_COMPLETE" in result.out


def test_needs_no_bash(ran: Ran, tmp_path: Path) -> None:
    assert ran("completion", "bash", env={"PATH": str(tmp_path)}).status == 0


def test_unknown_shell(ran: Ran) -> None:
    assert ran("completion", "ksh").status == 2
