"""`socketkit serve mail` and its like: services with options of their own, each a command in `serve_NAME`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from typing import Any


class Serve(click.Command):
    """`socketkit serve`: hands its words to the command of a use, if the first of them names one."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if args and args[0] in USES:
            command = import_module(f".serve_{args[0]}", __package__).command
            assert isinstance(command, click.Command)
            return command.make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        with formatter.section("Commands"):
            formatter.write_dl(list(USES.items()))


# Said here as well, so that --help need not import the commands.
USES = {
    "mail": "Catch every mail that programs send.",
    "web": "Serve a folder, a file or an ASGI application.",
}
