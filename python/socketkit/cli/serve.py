"""`socketkit serve`: small services, to try other programs against."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..connection import Stream
from ..hosting import at
from ..verbs import serve
from .arguments import address, answer_ratio_option, is_bound, limits_of, require_echo_ends, shape_of
from .hosting import Manner, ending_options, run_hosted
from .serve_uses import Serve

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..endpoint import Endpoint
    from ..hosting import Present

EPILOG = """\b
Services:
  echo      sends back what it receives (RFC 862)
  discard   receives, and sends nothing (RFC 863)
  time      sends the date and time of day in words, then closes (daytime, RFC 867)
  bench     is the other side of `socketkit bench`
  mail      catches every mail that programs send (`serve mail --help` has its options)
  web       serves a folder, a file or an ASGI application (`serve web --help`)

\b
Examples:
  socketkit serve echo tcp://localhost:7000
  socketkit serve discard unix:///tmp/sink.sock
  socketkit serve time tcp://localhost:0
  socketkit serve --json echo tcp://localhost:7000 > events.json
  socketkit serve --for 10m echo tcp://localhost:7000
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


@click.command("serve", cls=Serve, epilog=EPILOG)
@click.argument("service", metavar="SERVICE", type=click.Choice([*SERVICES, "bench"]))
@address("url")
@answer_ratio_option
@ending_options
def command(
    service: str, url: Endpoint, answer_ratio: float | None, seconds: float | None, once: bool, as_json: bool
) -> None:
    """Run a small service: echo, discard, time or bench.

    Says on stderr where it listens and who comes and goes (on a terminal: a list of those who are there, with keys),
    serves any number of connections until Ctrl-C, then says what it did, and what its limits did. Messages come back
    one by one.
    """
    manner = Manner(seconds, once, as_json)
    if answer_ratio is not None and (service == "bench" or not is_bound(url)):
        raise click.UsageError("--answer-ratio is for echo and time over datagrams")
    if service in ("echo", "time"):
        require_echo_ends(url, service)
    if once and is_bound(url):
        raise click.UsageError(f"--once is for connections, and {url.scheme}:// has none: --for ends after a time")
    if service == "bench":
        from .bench_service import serve_bench

        serve_bench(url, manner)
    elif shape_of(url) is Stream:
        _serve(service, url, manner)
    else:
        from .message_services import serve_datagrams, serve_messages

        if is_bound(url):
            serve_datagrams(service, url, limits_of(answer_ratio), manner)
        else:
            serve_messages(service, url, manner)


def _serve(service: str, url: Endpoint, manner: Manner) -> None:
    handler = SERVICES[service]

    async def served(stream: Stream, _: Present) -> None:
        await handler(stream)

    run_hosted(lambda hosted: serve(url, hosted.peers.handled(served, service)), at(url), manner)


DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
