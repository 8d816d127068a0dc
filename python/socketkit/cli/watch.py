"""`socketkit watch`: the sockets of this machine on a screen of their own, on a page, or as lines of JSON."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import click

from .hosting_options import place_options_with_token, wanted_of
from .watch_recording import recording_of

if TYPE_CHECKING:
    from typing import Literal

    from ..inspect.watch import Watching
    from .watch_recording import Recording

EPILOG = """\b
Examples:
  socketkit watch
  socketkit watch exposed
  socketkit watch 'use=database or name=postgres*'
  socketkit watch --json !loopback > changes.jsonl
  sudo socketkit watch --quiet --record /var/lib/socketkit/history.db
  sudo socketkit watch --web
  socketkit watch --web --port 9464 --token-file ~/.config/socketkit/watch-token
  sudo socketkit watch --web --lan

\b
TERMs are those of `socketkit ls`. Keys: 1 to 4 choose the view (all, by process, by use, listeners),
/ filters, Enter shows everything of a socket, k closes it, c and t copy the command that captures
its packets or traces its way, q ends. The screen needs the extra `watch`.
--record keeps what happens in a file, which `socketkit history` reads; without a terminal, or with
--quiet, it does nothing else until SIGTERM.

\b
--web shows the same in a browser, and prints the link to open; it has a secret token. Without --lan
or --on only this machine reaches it. Prometheus scrapes /metrics there with that token, which
--token-file keeps. With --json it prints who comes and goes, an object a line.
"""


@click.command("watch", epilog=EPILOG)
@click.argument("terms", nargs=-1, metavar="[TERM]...")
@click.option("--own", is_flag=True, help="Only the network namespace of this program.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a line for each change.")
@click.option("--record", type=click.Path(dir_okay=False), metavar="FILE", help="Keep what happens in this file.")
@click.option("-q", "--quiet", is_flag=True, help="With --record: without a screen, as a service.")
@click.option("--max-size", metavar="SIZE", help="With --record: how large the file becomes (256Mi).")
@click.option("--max-age", metavar="TIME", help="With --record: how long it keeps what has ended (30d).")
@click.option("--web", is_flag=True, help="Serve a page, and print its link; the options below are the page's.")
@click.option("--allow-close", is_flag=True, help="The page may close sockets, after a question.")
@place_options_with_token
def command(
    terms: tuple[str, ...],
    own: bool,
    as_json: bool,
    record: str | None,
    quiet: bool,
    max_size: str | None,
    max_age: str | None,
    web: bool,
    allow_close: bool,
    qr: bool | None,
    **options: Any,
) -> None:
    """Watch what the sockets of this machine do, as they do it."""
    from ..inspect.watch import watch
    from .running import run

    if not web and (any(options.values()) or qr is not None or allow_close):
        raise click.UsageError("where it is opened, and --allow-close, are said of the page: add --web")
    if web and quiet:
        raise click.UsageError("--web excludes --quiet")
    namespaces: Literal["all", "own"] = "own" if own else "all"
    watching = watch(" ".join(terms), namespaces=namespaces)
    recording = recording_of(record, quiet=quiet, max_size=max_size, max_age=max_age)
    if web:
        from .hosting import Manner
        from .watch_web.serving import serve_page

        manner = Manner(as_json=as_json, qr=qr)
        serve_page(watching, wanted_of(options), manner, recording, may_close=allow_close, namespaces=namespaces)
        return
    if as_json:
        run(_print_json(watching, recording))
        return
    terminal = all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))  # it is drawn on stderr
    if recording is not None and (quiet or not terminal):
        run(recording.alone(watching))
        return
    try:
        import textual  # noqa: F401
    except ImportError:
        raise click.ClickException("the screen needs the package textual: pip install 'socketkit[watch]'") from None
    if not terminal:
        raise click.UsageError("the screen needs a terminal: --json prints changes, `socketkit ls --watch` lines")
    run(_show(watching, recording))


async def _print_json(watching: Watching, recording: Recording | None) -> None:
    import json

    from .ls_watch import change_as_json

    async with watching, recording.beside(watching) if recording is not None else nullcontext():
        async for change in watching:
            click.echo(json.dumps(change_as_json(change)))


async def _show(watching: Watching, recording: Recording | None) -> None:
    from .watch_screen import WatchApp

    app = WatchApp(watching)
    async with watching, recording.beside(watching, app.complain) if recording is not None else nullcontext():
        await app.run_async()
