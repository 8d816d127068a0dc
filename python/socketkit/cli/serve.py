"""`socketkit serve`: small services, to try other programs against."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import click

from ..connection import Stream
from ..listener import acts
from ..verbs import serve
from .arguments import address, answer_ratio_option, is_bound, limits_of, require_echo_ends, shape_of
from .units import amount, plural

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    from ..endpoint import Endpoint

EPILOG = """\b
Services:
  echo      sends back what it receives (RFC 862)
  discard   receives, and sends nothing (RFC 863)
  time      sends the date and time of day in words, then closes (daytime, RFC 867)
  bench     is the other side of `socketkit bench`

\b
Examples:
  socketkit serve echo tcp://localhost:7000
  socketkit serve discard unix:///tmp/sink.sock
  socketkit serve time tcp://localhost:0
  socketkit serve --json echo tcp://localhost:7000 > summary.json
  socketkit serve echo 'tls://*:7000?public=yes'
  socketkit serve echo udp://localhost:7000
  socketkit serve time seqpacket+unix:///tmp/time.sock
  socketkit serve bench tcp://localhost:5201

\b
tls:// encrypts, and the address that is printed has the key that callers must expect: they connect
with it. Other machines are served if their keys are in authorized_peers (`socketkit trust`), or if
the address says public=yes.

\b
Over datagrams nobody gets more bytes than he has sent (--answer-ratio allows more): whoever forges the
address of somebody else would have him flooded by the answers.
"""


async def echo(stream: Stream) -> None:
    async for chunk in stream:
        await stream.send(chunk)


async def discard(stream: Stream) -> None:
    async for _ in stream:
        pass


async def daytime(stream: Stream) -> None:
    await stream.send(date_and_time())


def date_and_time() -> bytes:
    """In the form that RFC 867 proposes; in UTC, and in English whatever the locale."""
    from datetime import UTC, datetime

    now = datetime.now(UTC)
    text = f"{DAYS[now.weekday()]}, {MONTHS[now.month - 1]} {now.day}, {now.year} {now:%H:%M:%S}-UTC\r\n"
    return text.encode()


SERVICES: dict[str, Callable[[Stream], Awaitable[None]]] = {"echo": echo, "discard": discard, "time": daytime}


@click.command("serve", epilog=EPILOG)
@click.argument("service", metavar="SERVICE", type=click.Choice([*SERVICES, "bench"]))
@address("url")
@answer_ratio_option
@click.option("--json", "as_json", is_flag=True, help="At the end, print the summary to stdout as JSON.")
def command(service: str, url: Endpoint, answer_ratio: float | None, as_json: bool) -> None:
    """Run a small service: echo, discard, time or bench.

    Says on stderr where it listens, serves any number of connections until Ctrl-C, then says what it did, and what its
    limits did. Messages come back one by one.
    """
    from .running import run

    if answer_ratio is not None and (service == "bench" or not is_bound(url)):
        raise click.UsageError("--answer-ratio is for echo and time over datagrams")
    if service in ("echo", "time"):
        require_echo_ends(url, service)
    if service == "bench":
        from .bench_service import serve_bench

        run(serve_bench(url, as_json=as_json))
    elif shape_of(url) is Stream:
        run(_serve(service, url, as_json=as_json))
    else:
        from .message_services import serve_datagrams, serve_messages

        if is_bound(url):
            run(serve_datagrams(service, url, limits_of(answer_ratio), as_json=as_json))
        else:
            run(serve_messages(service, url, as_json=as_json))


async def _serve(service: str, url: Endpoint, *, as_json: bool) -> None:
    from asyncio import get_running_loop

    handler, tally = SERVICES[service], Tally()

    async def counted(stream: Stream) -> None:
        tally.connections += 1
        try:
            await handler(stream)
            await stream.aclose()  # what is still queued is not sent yet, and would not be counted
        finally:
            tally.received_bytes += stream.received_bytes
            tally.sent_bytes += stream.sent_bytes

    try:
        async with serve(url, counted) as server:
            tally.endpoint = str(server.local)
            click.echo(f"listening on {server.local}", err=True)
            await get_running_loop().create_future()
    finally:
        if tally.endpoint:
            tally.stats = server.stats
            click.echo(json.dumps(asdict(tally)) if as_json else str(tally), err=not as_json)


@dataclass
class Tally:
    """What was served."""

    endpoint: str = ""
    connections: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0
    stats: dict[str, Any] = field(default_factory=dict)
    """The listener's counters, of what its limits did above all."""

    def __str__(self) -> str:
        limited = acts(self.stats)
        return (
            f"served {plural(self.connections, 'connection')}: "
            f"received {amount(self.received_bytes)}, sent {amount(self.sent_bytes)}"
            + (f"\nlimits: {limited}" if limited else "")
        )


DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
