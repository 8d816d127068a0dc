"""`socketkit connect`: a connection joined to standard input and output."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..errors import UntrustedPeer
from ..opening import is_over_stream, is_tls, open_stream
from ..verbs import connect
from .arguments import address, cut_for, joining_options, require_connectable, require_no_crlf

if TYPE_CHECKING:
    from typing import Any

    from ..endpoint import Endpoint

EPILOG = """\b
Examples:
  socketkit connect tcp://localhost:7000
  socketkit connect unix:///run/app.sock
  socketkit connect 'tls://nas.example:7000?pin=sk1:...'
  socketkit connect tcp://localhost:7000 < file
  socketkit connect tcp://localhost:7000 > file
  printf 'GET / HTTP/1.0\\n\\n' | socketkit connect --crlf tcp://localhost:8000
  printf 'GET / HTTP/1.0\\n\\n' | socketkit connect --crlf tls://localhost:8443
  printf 'one\\ntwo\\n' | socketkit connect udp://localhost:7000
  socketkit connect --messages whole seqpacket+unix:///run/app.sock < request > answer

\b
Over tls:// the peer must be the one that was meant: who has the key in the address, the key that is
known for the place (`socketkit trust`), or for a name a certificate of a public authority. For a peer
without a name whose key is not known yet you are asked, as by ssh; without a terminal it is refused.
"""


@click.command("connect", epilog=EPILOG)
@address("url")
@joining_options
@click.option(
    "--wait",
    "wait_seconds",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Where messages have no end (UDP): after the input's end, wait for answers until it is silent for so long.",
)
def command(url: Endpoint, crlf: bool, linger_seconds: float, cut: str | None, wait_seconds: float) -> None:
    """Join a connection to standard input and output.

    The end of the input (Ctrl-D on a terminal) is passed on as a half-close; it ends when the peer ends. When a file
    or a pipe is sent or received, the progress is shown on the terminal.

    Over types that carry messages each line is one, without its end; --messages says what else it is.
    """
    from .running import run

    require_connectable(url)
    cut = cut_for(url, cut)
    require_no_crlf(cut, crlf)
    run(_connect(url, cut, crlf=crlf, linger_seconds=linger_seconds, wait_seconds=wait_seconds))


async def _connect(url: Endpoint, cut: str | None, *, crlf: bool, linger_seconds: float, wait_seconds: float) -> None:
    from .joining import join
    from .standard_io import StandardInput, StandardOutput

    source, sink = StandardInput(), StandardOutput()
    if cut is None:
        from ..connection import Stream

        await join(await _opened(url, Stream), source, sink, crlf=crlf, linger_seconds=linger_seconds)
        return
    from ..messages import Messages
    from .message_bytes import MessageBytes

    joined = MessageBytes(await _opened(url, Messages), cut, wait_seconds)
    await join(joined, source, sink, crlf=crlf, linger_seconds=linger_seconds)


async def _opened(url: Endpoint, shape: Any) -> Any:
    """A peer whose key nothing is known of is trusted only by who sits at the terminal, as with ssh."""
    if not is_tls(url):
        return await connect(url, shape)
    from ..drivers import LoopDriver
    from ..limits import Limits
    from ..messages import FACES

    kind = FACES.records() if is_over_stream(url) else FACES.stream
    try:
        return await open_stream(kind, url, LoopDriver.current(), Limits(), first_use=False)
    except UntrustedPeer as failure:
        if not await _trusted_now(url, failure):
            raise
    return await connect(url, shape)


async def _trusted_now(url: Endpoint, failure: UntrustedPeer) -> bool:
    from asyncio import to_thread

    from ..known_peers import KnownPeers
    from ..types.tls import unknown_key
    from .prompt import ask_to_trust

    unknown = unknown_key(url, failure)
    # In a thread, so that Ctrl-C is heard while the question stands.
    if unknown is None or not await to_thread(ask_to_trust, *unknown):
        return False
    KnownPeers().add(*unknown, "first use")
    return True
