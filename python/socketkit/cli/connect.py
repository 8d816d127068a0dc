"""`socketkit connect`: a connection joined to standard input and output."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..errors import UntrustedPeer
from ..opening import is_tls, open_stream
from ..verbs import connect
from .arguments import address, joining_options

if TYPE_CHECKING:
    from ..connection import Stream
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

\b
Over tls:// the peer must be the one that was meant: who has the key in the address, the key that is
known for the place (`socketkit trust`), or for a name a certificate of a public authority. For a peer
without a name whose key is not known yet you are asked, as by ssh; without a terminal it is refused.
"""


@click.command("connect", epilog=EPILOG)
@address("url")
@joining_options
def command(url: Endpoint, crlf: bool, linger_seconds: float) -> None:
    """Join a connection to standard input and output.

    The end of the input (Ctrl-D on a terminal) is passed on as a half-close; it ends when the peer ends. When a file
    or a pipe is sent or received, the progress is shown on the terminal.
    """
    from .running import run

    run(_connect(url, crlf=crlf, linger_seconds=linger_seconds))


async def _connect(url: Endpoint, *, crlf: bool, linger_seconds: float) -> None:
    from .joining import join
    from .standard_io import StandardInput, StandardOutput

    stream = await _opened(url)
    await join(stream, StandardInput(), StandardOutput(), crlf=crlf, linger_seconds=linger_seconds)


async def _opened(url: Endpoint) -> Stream:
    """A peer whose key nothing is known of is trusted only by who sits at the terminal, as with ssh."""
    if not is_tls(url):
        return await connect(url)
    from ..connection import Stream
    from ..drivers import LoopDriver
    from ..limits import Limits

    try:
        return await open_stream(Stream, url, LoopDriver.current(), Limits(), first_use=False)
    except UntrustedPeer as failure:
        if not await _trusted_now(url, failure):
            raise
    return await connect(url)


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
