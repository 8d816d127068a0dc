"""How `socketkit serve` finds the command of a use."""

from __future__ import annotations

import click
import pytest

from socketkit.cli.commands import invoke
from socketkit.cli.serve import command
from socketkit.cli.serve_uses import USES


@pytest.mark.parametrize("use", USES)
def test_each_use_is_a_command(use: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(click.exceptions.Exit):
        invoke(["serve", use, "--help"])
    shown = capsys.readouterr().out
    assert shown.startswith(f"Usage: socketkit serve {use} [OPTIONS]")
    assert "--json" in shown


def test_uses_are_listed() -> None:
    with click.Context(command, info_name="serve") as context:
        shown = command.get_help(context)
    width = max(len(use) for use in USES)
    assert all(f"\n  {use:{width}}  {summary}" in shown for use, summary in USES.items())


def test_services_are_as_before() -> None:
    with pytest.raises(click.UsageError, match="echo"):
        invoke(["serve", "nothing", "tcp://localhost:0"])
