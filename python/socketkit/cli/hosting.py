"""A command that hosts a service: what it says when it listens and when it ends, and what ends it.

Its options are in hosting_options.py, and can be had from here as well.

Ctrl-C, SIGTERM, `q` and the end of its time let those finish who are there (`Limits.grace_seconds`); a second signal
does not wait for them.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from ..hosting import host
from ..listener import acts
from . import TERMINATED
from .hosting_options import ending_options, place_options, place_options_with_token, token_option, wanted_of
from .peer_screen import JsonEvents, screen
from .running import run
from .units import amount, plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from ..hosting import Hosted, Place
    from ..hosting.hosted import Running

__all__ = [
    "Manner",
    "ending_options",
    "place_options",
    "place_options_with_token",
    "run_hosted",
    "summary",
    "token_option",
    "wanted_of",
]


class Manner(NamedTuple):
    """How a service is hosted: when it ends by itself, and how it is shown."""

    seconds: float | None = None
    once: bool = False
    as_json: bool = False
    qr: bool | None = None
    """Whether to draw the link; None: on a terminal, if others are to come."""


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
