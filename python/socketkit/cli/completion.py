"""`socketkit completion`: what makes a shell complete socketkit's commands and options."""

from __future__ import annotations

import click

from .commands import COMPLETION_VARIABLE, PROGRAM

SHELLS = ("bash", "zsh", "fish")

EPILOG = """\b
For bash, once and for all (package bash-completion):
  mkdir -p ~/.local/share/bash-completion/completions
  socketkit completion bash > ~/.local/share/bash-completion/completions/socketkit

\b
For this shell only:
  eval "$(socketkit completion bash)"

\b
For zsh, into a folder of $fpath, before compinit runs in ~/.zshrc:
  mkdir -p ~/.zfunc
  socketkit completion zsh > ~/.zfunc/_socketkit
  and in ~/.zshrc: fpath+=~/.zfunc; autoload -Uz compinit; compinit

\b
For fish:
  mkdir -p ~/.config/fish/completions
  socketkit completion fish > ~/.config/fish/completions/socketkit.fish
"""


@click.command("completion", epilog=EPILOG)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the completion script for a shell."""
    from click.shell_completion import get_completion_class

    completion = get_completion_class(shell)
    assert completion is not None
    root = context.find_root().command
    # Not source(): for bash that starts a bash to ask for its version, and this may be printed for another machine.
    script = completion(root, {}, PROGRAM, COMPLETION_VARIABLE)
    click.echo(script.source_template % script.source_vars())
