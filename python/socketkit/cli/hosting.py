"""A command that hosts a service: its options, what it says when it listens and when it ends, and what ends it.

Ctrl-C, SIGTERM, `q` and the end of its time let those finish who are there (`Limits.grace_seconds`); a second signal
does not wait for them.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from ..hosting import host
from ..hosting.places import Place, Wanted
from ..listener import acts
from . import TERMINATED
from .peer_screen import JsonEvents, screen
from .running import run
from .units import amount, parsed_span, plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from ..hosting import Hosted
    from ..hosting.hosted import Running

_C = TypeVar("_C", bound="Callable[..., Any]")


class Manner(NamedTuple):
    """How a service is hosted: when it ends by itself, and how it is shown."""

    seconds: float | None = None
    once: bool = False
    as_json: bool = False
    qr: bool | None = None
    """Whether to draw the link; None: on a terminal, if others are to come."""


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


def run_hosted(
    open_service: Callable[[Hosted], AbstractAsyncContextManager[Running]],
    place: Place,
    manner: Manner,
    *,
    facts: Callable[[], dict[str, Any]] = dict,
    words: Callable[[Hosted], str] | None = None,
    hint: Callable[[Hosted], str] | None = None,
) -> None:
    """Host a service until something ends it, and say at the end what it did.

    `facts` go into the last object of --json, `words` are the same for a person, and `hint` is said when it listens.
    """
    number = run(_until_stopped(open_service, place, manner, facts, words or summary, hint))
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    if number == signal.SIGTERM:
        raise SystemExit(TERMINATED)


async def _until_stopped(
    open_service: Callable[[Hosted], AbstractAsyncContextManager[Running]],
    place: Place,
    manner: Manner,
    facts: Callable[[], dict[str, Any]],
    words: Callable[[Hosted], str],
    hint: Callable[[Hosted], str] | None,
) -> int | None:
    """The number of the signal that ended it; None if it was something else."""
    loop = asyncio.get_running_loop()
    received: list[int] = []
    hosted: Hosted | None = None
    show = screen(as_json=manner.as_json)

    def stop(number: signal.Signals) -> None:
        received.append(number)
        if hosted is None or len(received) > 1:
            serving.cancel()
        else:
            hosted.stop(number.name)

    async def serve() -> None:
        nonlocal hosted
        try:
            async with host(open_service, place, seconds=manner.seconds, once=manner.once, tell=show.tell) as hosted:
                _say_where(hosted, manner)
                if hint is not None:
                    click.echo(hint(hosted), err=True)
                async with show.shown(hosted):
                    await hosted.wait()
                if len(hosted.peers) and not manner.as_json:
                    again = "; Ctrl-C again does not wait" if received else ""
                    click.echo(f"ending: {plural(len(hosted.peers), 'connection')} may finish{again}", err=True)
        finally:
            if hosted is not None:
                _say_end(hosted, manner, facts, words)

    serving = asyncio.create_task(serve())
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    try:
        await serving
    except asyncio.CancelledError:
        if not received:
            raise
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
    return received[0] if received else None


def _say_where(hosted: Hosted, manner: Manner) -> None:
    place = hosted.place
    if manner.as_json:
        shown = place.shown
        JsonEvents().say(
            event="listening",
            endpoint=str(hosted.local),
            url=hosted.link.url,
            browser_fingerprint=shown.fingerprint if shown else None,
            authority=shown.authority.name if shown and shown.authority else None,
            **({"services": hosted.addresses} if "" not in hosted.addresses else {}),
        )
    elif place.web:
        for line in _picture(hosted, manner):
            click.echo(line, err=True)
    for name, address in hosted.addresses.items():
        click.echo(f"{name}: listening on {address}" if name else f"listening on {address}", err=True)
    if place.web and place.shown is not None and place.shown.authority is None and not manner.as_json:
        click.echo(
            f"browsers warn once, for this machine vouches for itself; SHA-256 of its certificate to compare:\n"
            f"  {place.shown.fingerprint}\n"
            "`socketkit authority` makes that go away",
            err=True,
        )


def _picture(hosted: Hosted, manner: Manner) -> Iterator[str]:
    """The link as a QR code, if it is wanted."""
    others = hosted.place.endpoint.host is not None
    if manner.qr is False or (manner.qr is None and not (others and sys.stderr.isatty())):
        return
    from .qr import drawn

    try:
        yield drawn(hosted.link.url, coloured=sys.stderr.isatty())
    except click.ClickException:
        if manner.qr:
            raise  # else the link is enough


def _say_end(
    hosted: Hosted, manner: Manner, facts: Callable[[], dict[str, Any]], words: Callable[[Hosted], str]
) -> None:
    peers = hosted.peers
    if manner.as_json:
        JsonEvents().say(
            event="ended",
            reason=hosted.reason,
            endpoint=str(hosted.local),
            connections=peers.served,
            received_bytes=peers.received_bytes,
            sent_bytes=peers.sent_bytes,
            **facts(),
            stats=hosted.stats,
        )
    else:
        click.echo(words(hosted), err=True)


def summary(hosted: Hosted) -> str:
    """What a service did, and what its limits did."""
    peers = hosted.peers
    limited = acts(hosted.stats)
    return (
        f"served {plural(peers.served, 'connection')}: "
        f"received {amount(peers.received_bytes)}, sent {amount(peers.sent_bytes)}"
        + (f"\nlimits: {limited}" if limited else "")
    )


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
