"""The options of commands that host a service: where it is opened, and what ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from .units import parsed_span

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..hosting import Wanted

_C = TypeVar("_C", bound="Callable[..., Any]")


def ending_options(command: _C) -> _C:
    """--for, --once and --json; the command gets `seconds`, `once` and `as_json`."""
    command = click.option(
        "--json", "as_json", is_flag=True, help="Print what happens to stdout as JSON: an object a line."
    )(command)
    command = click.option("--once", is_flag=True, help="End when the first one that connected has gone.")(command)
    return click.option(
        "--for", "seconds", metavar="TIME", callback=_span, help="End after this time: 90s, 10m, 1h30m."
    )(command)


def place_options(command: _C) -> _C:
    """Where to open a service that is given no address; the command gets what `wanted_of` takes, and `qr`."""
    public = click.option("--public", is_flag=True, help="Serve whoever comes: no token in the link.")
    return place_options_with_token(public(command))


def place_options_with_token(command: _C) -> _C:
    """The same for what is never served without a token."""
    flags = (
        ("--tls", "Encrypt on this machine, too."),
        ("--plaintext", "On the network: do not encrypt, so that everybody on the way can read and change it."),
        ("--lan", "Open it to the local network; without this word only this machine reaches it."),
    )
    command = click.option("--qr/--no-qr", default=None, help="Show the link as a QR code (on a terminal: yes).")(
        command
    )
    command = click.option(
        "--addresses", is_flag=True, is_eager=True, expose_value=False, callback=_print_addresses,
        help="List the addresses of this machine, and end.",
    )(command)  # fmt: skip
    for name, text in flags:
        command = click.option(name, is_flag=True, help=text)(command)
    command = token_option(command)
    command = click.option(
        "--name", "names", multiple=True, metavar="NAME",
        help="In plain text: it is called by this name, too, as by a proxy before it; repeatable.",
    )(command)  # fmt: skip
    command = click.option("--port", type=click.IntRange(0, 65_535), help="The port (0: a free one).")(command)
    return click.option(
        "--on", metavar="INTERFACE|ADDRESS", help="Open it to the network there and nowhere else (*: everywhere)."
    )(command)


def token_option(command: _C) -> _C:
    """--token-file; the command gets `token_file`."""
    return click.option(
        "--token-file", type=click.Path(dir_okay=False), metavar="FILE",
        help="Keep the link's token in this file, so that the link stays good from start to start.",
    )(command)  # fmt: skip


def wanted_of(options: dict[str, Any], usual_port: int = 0) -> Wanted:
    """What `place_options` gave, taken out of a command's options. UsageError for words that contradict each other."""
    from ..hosting import Wanted

    given = {name: options.pop(name) for name in Wanted._fields if name in options}
    if given["port"] is None:
        given["port"] = usual_port
    wanted = Wanted(**given)
    if wanted.tls and wanted.plaintext:
        raise click.UsageError("--tls and --plaintext contradict each other")
    if wanted.plaintext and not (wanted.lan or wanted.on):
        raise click.UsageError("--plaintext is for the network: on this machine nothing is encrypted without --tls")
    if wanted.public and wanted.token_file is not None:
        raise click.UsageError("--token-file keeps the token of the link, and --public leaves it out")
    return wanted


def _span(context: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return parsed_span(text)
    except ValueError as failure:
        raise click.BadParameter(str(failure)) from None


def _print_addresses(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if not wanted or context.resilient_parsing:
        return
    from ..hosting.addresses import addresses
    from .columns import columns

    rows = [(known.host, known.interface, known.reach, known.why) for known in addresses()]
    for line in columns(("address", "interface", "reached from", "not chosen because"), rows, left=(0, 1, 2, 3)):
        click.echo(line)
    context.exit()
