"""`socketkit listen`: whoever connects is joined to standard input and output."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..errors import BrokenConnection
from ..exposure import is_loopback
from ..verbs import listen
from .arguments import (
    address,
    answer_ratio_option,
    cut_for,
    described,
    is_bound,
    joining_options,
    limits_of,
    require_echo_ends,
    require_no_crlf,
)

if TYPE_CHECKING:
    from typing import Any

    from ..endpoint import Endpoint

EPILOG = """\b
Examples:
  socketkit listen tcp://localhost:7000
  socketkit listen tcp://localhost:0 > file
  socketkit listen unix:///tmp/inbox.sock < file
  socketkit listen --keep tcp://localhost:7000 >> log
  socketkit listen 'tls://*:7000?public=yes' > file
  socketkit listen udp://localhost:7000
  socketkit listen --echo udp://localhost:7000
  socketkit listen --keep --messages lengths seqpacket+unix:///tmp/records.sock > records

\b
An address without a host, or with localhost, can be reached from this machine only. Over tls:// the
address that is printed has the key that callers must expect: they connect with it. Other machines are
let in if their keys are in authorized_peers (`socketkit trust`), or if the address says public=yes.
Plain text for other machines must be written out, too: 'tcp://*:7000?plaintext=yes'.
"""


@click.command("listen", epilog=EPILOG)
@address("url")
@click.option("--keep", is_flag=True, help="Accept the next connection when one has ended, until Ctrl-C.")
@click.option("--echo", is_flag=True, help="Over datagrams: send back what comes, too; standard input is not read.")
@click.option(
    "--wait",
    "wait_seconds",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Over datagrams: end when it is silent for so long behind the first one (never, if not given).",
)
@answer_ratio_option
@joining_options
def command(
    url: Endpoint,
    keep: bool,
    echo: bool,
    wait_seconds: float | None,
    answer_ratio: float | None,
    crlf: bool,
    linger_seconds: float,
    cut: str | None,
) -> None:
    """Accept a connection and join it to standard input and output.

    Says on stderr where it listens and who connected. After the first connection nobody else can connect; with --keep
    they wait for their turn.

    Over datagrams (udp://, dgram+unix://) nobody connects: it shows what comes, from anybody, until Ctrl-C, and what it
    reads goes to who spoke last.
    """
    from .running import run

    cut = cut_for(url, cut)
    require_no_crlf(cut, crlf)
    if is_bound(url):
        if echo:
            require_echo_ends(url, "--echo")
        assert cut is not None
        run(_hear(url, cut, echo=echo, wait_seconds=wait_seconds, answer_ratio=answer_ratio, crlf=crlf))
        return
    for given, option in ((echo, "--echo"), (wait_seconds is not None, "--wait"), (answer_ratio, "--answer-ratio")):
        if given:
            raise click.UsageError(f"{option} is for datagrams: {url.scheme}:// has connections")
    run(_listen(url, cut, keep=keep, crlf=crlf, linger_seconds=linger_seconds))


async def _listen(url: Endpoint, cut: str | None, *, keep: bool, crlf: bool, linger_seconds: float) -> None:
    from ..connection import Stream
    from ..messages import Messages
    from .joining import join
    from .message_bytes import MessageBytes
    from .standard_io import StandardInput, StandardOutput

    source, sink = StandardInput(), StandardOutput()
    shape: Any = Stream if cut is None else Messages
    async with listen(url, shape) as listener:
        click.echo(f"listening on {listener.local}", err=True)
        async for connection in listener:
            click.echo(f"connection from {described(connection.peer)}", err=True)
            if not keep:
                await listener.aclose()
            joined = connection if cut is None else MessageBytes(connection, cut, 0)
            try:
                await join(joined, source, sink, crlf=crlf, linger_seconds=linger_seconds)
            except BrokenConnection as failure:
                if not keep:
                    raise
                click.echo(f"socketkit: {failure}", err=True)


async def _hear(
    url: Endpoint, cut: str, *, echo: bool, wait_seconds: float | None, answer_ratio: float | None, crlf: bool
) -> None:
    from ..verbs import bind
    from .joining import join
    from .message_bytes import DatagramBytes, NoInput
    from .standard_io import StandardInput, StandardOutput

    sink = StandardOutput()
    source = NoInput() if echo else StandardInput()

    def trusted(peer: Endpoint) -> bool:
        """Nobody else sends from an address of this machine; and who types sees whom he answers."""
        from_here = peer.carrier.startswith("udp") and is_loopback((peer.host or "",))
        return source.terminal or peer.carrier == "unix" or from_here

    async with bind(url, limits=limits_of(answer_ratio)) as datagrams:
        click.echo(f"listening on {datagrams.local}", err=True)
        joined = DatagramBytes(
            datagrams,
            cut,
            echo=echo,
            named=sink.terminal,
            trusted=(lambda peer: False) if echo else trusted,
            wait_seconds=wait_seconds,
        )
        await join(joined, source, sink, crlf=crlf, linger_seconds=0)
