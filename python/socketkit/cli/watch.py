"""`socketkit watch`: the sockets of this machine on a screen of their own, or as lines of JSON."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..inspect.watch import Watching

EPILOG = """\b
Examples:
  socketkit watch
  socketkit watch exposed
  socketkit watch 'use=database or name=postgres*'
  socketkit watch --json !loopback > changes.jsonl

\b
TERMs are those of `socketkit ls`. Keys: 1 to 4 choose the view (all, by process, by use, listeners),
/ filters, Enter shows everything of a socket, k closes it, c and t copy the command that captures
its packets or traces its way, q ends. The screen needs the extra `watch`.
"""


@click.command("watch", epilog=EPILOG)
@click.argument("terms", nargs=-1, metavar="[TERM]...")
@click.option("--own", is_flag=True, help="Only the network namespace of this program.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a line for each change.")
def command(terms: tuple[str, ...], own: bool, as_json: bool) -> None:
    """Watch what the sockets of this machine do, as they do it."""
    from ..inspect.watch import watch
    from .running import run

    watching = watch(" ".join(terms), namespaces="own" if own else "all")
    if as_json:
        run(_print_json(watching))
        return
    try:
        import textual  # noqa: F401
    except ImportError:
        raise click.ClickException("the screen needs the package textual: pip install 'socketkit[watch]'") from None
    if not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):  # it is drawn on stderr
        raise click.UsageError("the screen needs a terminal: --json prints changes, `socketkit ls --watch` lines")
    run(_show(watching))


async def _print_json(watching: Watching) -> None:
    import json

    from .ls_watch import change_as_json

    async with watching:
        async for change in watching:
            click.echo(json.dumps(change_as_json(change)))


async def _show(watching: Watching) -> None:
    from .watch_screen import WatchApp

    async with watching:
        await WatchApp(watching).run_async()
