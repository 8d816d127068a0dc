"""`socketkit watch`: the sockets of this machine on a screen of their own, on a page, or as lines of JSON."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING

import click

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

\b
TERMs are those of `socketkit ls`. Keys: 1 to 4 choose the view (all, by process, by use, listeners),
/ filters, Enter shows everything of a socket, k closes it, c and t copy the command that captures
its packets or traces its way, q ends. The screen needs the extra `watch`.
--record keeps what happens in a file, which `socketkit history` reads; without a terminal, or with
--quiet, it does nothing else until SIGTERM.

\b
--web shows the same in a browser, and prints the address to open; it has a secret token. Only this
machine reaches it. Prometheus scrapes /metrics there with that token; --token-file keeps it.
"""


@click.command("watch", epilog=EPILOG)
@click.argument("terms", nargs=-1, metavar="[TERM]...")
@click.option("--own", is_flag=True, help="Only the network namespace of this program.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a line for each change.")
@click.option("--record", type=click.Path(dir_okay=False), metavar="FILE", help="Keep what happens in this file.")
@click.option("-q", "--quiet", is_flag=True, help="With --record: without a screen, as a service.")
@click.option("--max-size", metavar="SIZE", help="With --record: how large the file becomes (256Mi).")
@click.option("--max-age", metavar="TIME", help="With --record: how long it keeps what has ended (30d).")
@click.option("--web", is_flag=True, help="Serve a page on 127.0.0.1, and print its address.")
@click.option("--port", type=click.IntRange(0, 65_535), metavar="N", help="With --web: this port, not a free one.")
@click.option("--token-file", type=click.Path(dir_okay=False), help="With --web: keep the token in this file.")
@click.option("--allow-close", is_flag=True, help="With --web: the page may close sockets, after a question.")
def command(
    terms: tuple[str, ...],
    own: bool,
    as_json: bool,
    record: str | None,
    quiet: bool,
    max_size: str | None,
    max_age: str | None,
    web: bool,
    port: int | None,
    token_file: str | None,
    allow_close: bool,
) -> None:
    """Watch what the sockets of this machine do, as they do it."""
    from ..inspect.watch import watch
    from .running import run

    if not web and (port is not None or token_file is not None or allow_close):
        raise click.UsageError("--port, --token-file and --allow-close are those of the page: add --web")
    if web and (as_json or quiet):
        raise click.UsageError("--web excludes --json and --quiet")
    namespaces: Literal["all", "own"] = "own" if own else "all"
    watching = watch(" ".join(terms), namespaces=namespaces)
    recording = recording_of(record, quiet=quiet, max_size=max_size, max_age=max_age)
    if web:
        from .watch_web.serving import serve_page

        run(
            serve_page(
                watching,
                recording,
                port=port or 0,
                token_file=token_file,
                may_close=allow_close,
                namespaces=namespaces,
            )
        )
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
