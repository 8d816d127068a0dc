"""What several commands take (an address, how to join it to standard input and output), and say of a peer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..endpoint import Endpoint
from ..errors import EndpointError
from ..schemes import SCHEMES

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..connection import Peer
    from ..limits import Limits

_C = TypeVar("_C", bound="Callable[..., Any]")


def address(name: str) -> Callable[[_C], _C]:
    """An argument of the command that is an address; it gets the Endpoint."""
    return click.argument(name, callback=_endpoint)


def address_option(name: str, text: str) -> Callable[[_C], _C]:
    """An option of the command that is an address; it gets the Endpoint, or None."""
    return click.option(name, metavar="ADDRESS", help=text, callback=_optional_endpoint)


def joining_options(command: _C) -> _C:
    command = messages_option(command, "lines", "lengths", "whole")
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


def messages_option(command: _C, *cuts: str) -> _C:
    """What a message is where bytes have no borders; `cut_for` has the meaning when it is not given."""
    words = {
        "lines": "each line, without its end",
        "lengths": "behind its length, a big-endian u32",
        "whole": "all of the input",
    }
    known = "; ".join(f"{cut}: {words[cut]}" for cut in cuts)
    return click.option("--messages", "cut", type=click.Choice(cuts), help=f"What one message is ({known}).")(command)


def relayed_messages_option(command: _C) -> _C:
    return messages_option(command, "lines", "lengths")


def answer_ratio_option(command: _C) -> _C:
    return click.option(
        "--answer-ratio",
        type=click.FloatRange(min=0, max=1e9),
        metavar="RATIO",
        help="Over datagrams: answer strangers with so many bytes for each that they sent (1 if not given).",
    )(command)


def limits_of(answer_ratio: float | None) -> Limits:
    from ..limits import Limits

    return Limits() if answer_ratio is None else Limits(answer_ratio=answer_ratio)


def cut_for(url: Endpoint, cut: str | None) -> str | None:
    """How the input is cut into messages for this address; None if it has streams. UsageError if it cannot be."""
    shapes = SCHEMES[url.scheme].shapes
    if "Stream" in shapes and (cut is None or "Messages" not in shapes):
        if cut is not None:
            raise click.UsageError(f"{url.scheme}:// carries a stream, which has no messages: leave --messages out")
        return None
    return cut or "lines"


def shape_of(url: Endpoint) -> Any:
    """What a connection of this address is: `Stream`, or `Messages`."""
    if "Stream" in SCHEMES[url.scheme].shapes:
        from ..connection import Stream

        return Stream
    from ..messages import Messages

    return Messages


def require_joinable(a: Endpoint, b: Endpoint, cut: str | None) -> None:
    """UsageError if a relay between the two addresses must be told what a message is, or needs not."""
    streams = ["Stream" in SCHEMES[url.scheme].shapes for url in (a, b)]
    if streams[0] == streams[1] and cut is not None and b.scheme != "fd":
        what = "both sides are streams" if streams[0] else "both sides keep borders"
        raise click.UsageError(f"{what}: leave --messages out")
    if streams[0] != streams[1] and cut is None and b.scheme != "fd":
        stream = a if streams[0] else b
        raise click.UsageError(
            f"{stream.scheme}:// has no borders between messages, which {(b if streams[0] else a).scheme}:// has: say "
            "what one is in the stream, with --messages lines or --messages lengths"
        )


def require_no_crlf(cut: str | None, crlf: bool) -> None:
    if crlf and cut in ("lines", "lengths"):
        raise click.UsageError(f"--crlf changes the ends of lines, and --messages {cut} has none: use whole")


def require_connectable(url: Endpoint) -> None:
    """UsageError for a type that can only be listened to."""
    if SCHEMES[url.scheme].shapes == ("Datagrams",):
        raise click.UsageError(
            f"{url.scheme}:// has no connections: `socketkit listen` shows what comes, and sends what it reads"
        )


def require_echo_ends(url: Endpoint, what: str) -> None:
    """UsageError where an answer cannot be told from a question: whoever echoes there may answer himself for ever."""
    if url.scheme in ("icmp", "raw+ip", "raw+ethernet"):
        raise click.UsageError(
            f"{what}: {url.scheme}:// has no ports, so that answers would be taken for questions and answered, too"
        )


def is_bound(url: Endpoint) -> bool:
    """Whether nobody connects to such an address: whoever binds it hears from everybody."""
    shapes = SCHEMES[url.scheme].shapes
    return "Datagrams" in shapes and "Stream" not in shapes


def _endpoint(context: click.Context, parameter: click.Parameter, text: str) -> Endpoint:
    # Not a type of click's: that would wrap EndpointError, whose caret says more than click's words.
    endpoint = Endpoint.parse(text)
    if endpoint.scheme == "mem":
        raise EndpointError("mem:// reaches nobody outside this process", text, 0, "between programs: unix://@name")
    return endpoint


def endpoints(context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> list[Endpoint]:
    """For an option that is an address and may be given several times."""
    return [_endpoint(context, parameter, text) for text in texts]


def _optional_endpoint(context: click.Context, parameter: click.Parameter, text: str | None) -> Endpoint | None:
    return None if text is None else _endpoint(context, parameter, text)


def described(peer: Peer) -> str:
    """The peer's endpoint; for one on a Unix socket, which seldom has a name, also who it is."""
    who = peer.credentials
    return f"{peer.endpoint} (pid {who.pid}, uid {who.uid})" if who else str(peer.endpoint)
