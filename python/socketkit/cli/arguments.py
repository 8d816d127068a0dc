"""What several commands take (an address, how to join it to standard input and output), and say of a peer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..endpoint import Endpoint
from ..errors import EndpointError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..connection import Peer

_C = TypeVar("_C", bound="Callable[..., Any]")


def address(name: str) -> Callable[[_C], _C]:
    """An argument of the command that is an address; it gets the Endpoint."""
    return click.argument(name, callback=_endpoint)


def address_option(name: str, text: str) -> Callable[[_C], _C]:
    """An option of the command that is an address; it gets the Endpoint, or None."""
    return click.option(name, metavar="ADDRESS", help=text, callback=_optional_endpoint)


def joining_options(command: _C) -> _C:
    command = click.option(
        "--linger",
        "linger_seconds",
        type=click.FloatRange(min=0),
        default=1.0,
        show_default=True,
        metavar="SECONDS",
        help="When the peer ends first: go on sending until the input is silent for so long (a terminal: not at all).",
    )(command)
    return click.option(
        "--crlf", is_flag=True, help="Send each line with CRLF at its end, whatever it was typed with."
    )(command)


def _endpoint(context: click.Context, parameter: click.Parameter, text: str) -> Endpoint:
    # Not a type of click's: that would wrap EndpointError, whose caret says more than click's words.
    endpoint = Endpoint.parse(text)
    if endpoint.scheme == "mem":
        raise EndpointError("mem:// reaches nobody outside this process", text, 0, "between programs: unix://@name")
    return endpoint


def _optional_endpoint(context: click.Context, parameter: click.Parameter, text: str | None) -> Endpoint | None:
    return None if text is None else _endpoint(context, parameter, text)


def described(peer: Peer) -> str:
    """The peer's endpoint; for one on a Unix socket, which seldom has a name, also who it is."""
    who = peer.credentials
    return f"{peer.endpoint} (pid {who.pid}, uid {who.uid})" if who else str(peer.endpoint)
