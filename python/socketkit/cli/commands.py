"""`socketkit` itself: its options, and its commands by name."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence


def invoke(words: Sequence[str]) -> int:
    """Run a command line and return the exit status; what goes wrong is raised."""
    instruction = os.environ.get(COMPLETION_VARIABLE)
    if instruction is not None:
        from click.shell_completion import shell_complete

        return shell_complete(socketkit, {}, PROGRAM, COMPLETION_VARIABLE, instruction)
    # Not by click's main(): it takes a socket's broken pipe for that of stdout, and the end of a stream for Ctrl-D.
    with socketkit.make_context(PROGRAM, list(words)) as context:
        try:
            socketkit.invoke(context)
        except (click.ClickException, click.exceptions.Exit):
            raise
        except Exception as failure:
            if context.obj:
                from traceback import print_exc

                print_exc()
                for told in (failure, *getattr(failure, "attempts", ())):
                    told.__notes__ = []  # they are in the traceback
            raise
    return 0


class Commands(click.Group):
    """Imports a command's module when that command is asked for: `socketkit.cli.NAME`, which has it as `command`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(SUMMARIES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in SUMMARIES:
            return None
        command = import_module(f".{cmd_name.replace('-', '_')}", __package__).command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in SUMMARIES and not args[0].startswith("-"):
            ctx.fail(f"no such command: {args[0]}{_nearest(args[0])}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(SUMMARIES.items()))


def _nearest(word: str) -> str:
    from difflib import get_close_matches

    found = get_close_matches(word, SUMMARIES, 1)
    return f", did you mean {found[0]}?" if found else ""


def _print_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from .. import __version__

        click.echo(f"{PROGRAM} {__version__}")
        context.exit()


EPILOG = """\b
Examples:
  socketkit connect tcp://localhost:7000
  socketkit listen unix:///tmp/inbox.sock > received
  socketkit serve echo tcp://localhost:7000
  socketkit relay tcp://localhost:7001 unix:///run/app.sock
  socketkit listen udp://localhost:7000
  socketkit tour

\b
An address is tcp://HOST:PORT, tls://HOST:PORT, udp://HOST:PORT, unix:///PATH or unix://@NAME, and more.
No host is loopback, * every interface, port 0 a free port.

\b
Exit status: 0 done, 1 failed, 2 wrong command line, 130 Ctrl-C, 143 SIGTERM,
141 nobody reads the output any more.
"""


@click.group(
    cls=Commands,
    epilog=EPILOG,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("-v", "--verbose", is_flag=True, help="Log what happens, and show the traceback of an error.")
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_print_version, help="Show the version."
)
@click.pass_context
def socketkit(context: click.Context, verbose: bool) -> None:
    """Every kind of network socket, by one address."""
    context.obj = verbose
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(2)


PROGRAM = "socketkit"
COMPLETION_VARIABLE = "_SOCKETKIT_COMPLETE"

# Said here as well, so that --help need not import the commands.
SUMMARIES = {
    "connect": "Join a connection to standard input and output.",
    "listen": "Accept a connection and join it to standard input and output.",
    "serve": "Run a small service: echo, discard, time or bench.",
    "get": "Have a file come from a web server.",
    "send-mail": "Send a mail, encrypted, and say what became of it.",
    "relay": "Pass every connection on to another address.",
    "ls": "List the sockets of this machine, and what they are for.",
    "watch": "Watch what the sockets of this machine do, as they do it.",
    "history": "Show what was recorded: connections of a time, unused ports.",
    "capture": "Show what goes over an interface, or write it to files.",
    "ping": "Ask many hosts for an echo, and measure the round trips.",
    "trace": "Show the way to hosts, hop by hop, with loss and round trips.",
    "audit": "Find what is wrong with this machine's sockets, and what helps.",
    "scan": "Find the open ports of hosts, and what listens there.",
    "bench": "Measure throughput, loss, jitter, and latency under load.",
    "identity": "Show who you are to your peers, or make a new key.",
    "authority": "Make a certificate authority of your own, for browsers.",
    "trust": "List, add and remove the keys of peers that you trust.",
    "tour": "Open every kind of socket that this machine has.",
    "completion": "Print the completion script for a shell.",
}
