"""`socketkit listen`: whoever connects is joined to standard input and output."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..errors import BrokenConnection
from ..verbs import listen
from .arguments import address, described, joining_options

if TYPE_CHECKING:
    from ..endpoint import Endpoint

EPILOG = """\b
Examples:
  socketkit listen tcp://localhost:7000
  socketkit listen tcp://localhost:0 > file
  socketkit listen unix:///tmp/inbox.sock < file
  socketkit listen --keep tcp://localhost:7000 >> log
  socketkit listen 'tls://*:7000?public=yes' > file

\b
An address without a host, or with localhost, can be reached from this machine only. Over tls:// the
address that is printed has the key that callers must expect: they connect with it. Other machines are
let in if their keys are in authorized_peers (`socketkit trust`), or if the address says public=yes.
Plain text for other machines must be written out, too: 'tcp://*:7000?plaintext=yes'.
"""


@click.command("listen", epilog=EPILOG)
@address("url")
@click.option("--keep", is_flag=True, help="Accept the next connection when one has ended, until Ctrl-C.")
@joining_options
def command(url: Endpoint, keep: bool, crlf: bool, linger_seconds: float) -> None:
    """Accept a connection and join it to standard input and output.

    Says on stderr where it listens and who connected. After the first connection nobody else can connect; with --keep
    they wait for their turn.
    """
    from .running import run

    run(_listen(url, keep=keep, crlf=crlf, linger_seconds=linger_seconds))


async def _listen(url: Endpoint, *, keep: bool, crlf: bool, linger_seconds: float) -> None:
    from .joining import join
    from .standard_io import StandardInput, StandardOutput

    source, sink = StandardInput(), StandardOutput()
    async with listen(url) as listener:
        click.echo(f"listening on {listener.local}", err=True)
        async for stream in listener:
            click.echo(f"connection from {described(stream.peer)}", err=True)
            if not keep:
                await listener.aclose()
            try:
                await join(stream, source, sink, crlf=crlf, linger_seconds=linger_seconds)
            except BrokenConnection as failure:
                if not keep:
                    raise
                click.echo(f"socketkit: {failure}", err=True)
