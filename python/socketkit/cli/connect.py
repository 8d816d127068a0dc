"""`socketkit connect`: a connection joined to standard input and output."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..verbs import connect
from .arguments import address, joining_options

if TYPE_CHECKING:
    from ..endpoint import Endpoint

EPILOG = """\b
Examples:
  socketkit connect tcp://localhost:7000
  socketkit connect unix:///run/app.sock
  socketkit connect tcp://localhost:7000 < file
  socketkit connect tcp://localhost:7000 > file
  printf 'GET / HTTP/1.0\\n\\n' | socketkit connect --crlf tcp://localhost:8000
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

    stream = await connect(url)
    await join(stream, StandardInput(), StandardOutput(), crlf=crlf, linger_seconds=linger_seconds)
