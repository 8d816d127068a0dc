"""`socketkit ping`: echo requests to many hosts at once."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import click

from .units import duration, plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..inspect.ping import Event, Pinging
    from ..inspect.round_trips import HostStatistics
    from .live_table import Line

EPILOG = """\b
Examples:
  socketkit ping 192.0.2.1
  socketkit ping -c 3 nas.example 192.0.2.1 2001:db8::1
  socketkit ping 192.0.2.0/24
  socketkit ping --json -c 10 -i 0.2 nas.example | jq -c 'select(.event != "reply")'

\b
One host: a line for each reply. Several: a table, alive on a terminal, at the end elsewhere. Of a
network, which is asked once unless -c says more, those that answer are shown. Ctrl-C ends it, and
prints the statistics.

\b
Exit status: 0 if there was a reply, 1 if there was none, 2 if a name has no address, or this user
may not ping.
"""


@click.command("ping", epilog=EPILOG)
@click.argument("hosts", nargs=-1, required=True, metavar="HOST...")
@click.option("-4", "family", flag_value=4, type=int, help="IPv4 addresses only.")
@click.option("-6", "family", flag_value=6, type=int, help="IPv6 addresses only.")
@click.option("-c", "--count", type=click.IntRange(min=1), help="Requests to each host (until Ctrl-C; a network: 1).")
@click.option(
    "-i", "--interval", "interval_seconds", type=float, metavar="SECONDS", help="Between two requests to a host (1)."
)
@click.option(
    "-s", "--size", "payload_bytes", type=int, default=56, show_default=True, metavar="BYTES", help="The payload."
)
@click.option(
    "-W",
    "--wait",
    "wait_seconds",
    type=float,
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="For how long a reply is waited for.",
)
@click.option("--hops", type=int, help="How many hops a request may take (its TTL).")
@click.option("--flood", is_flag=True, help="Allow any interval; without -i: as fast as the replies come.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a line for each event, then the summary.")
@click.pass_context
def command(context: click.Context, /, hosts: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Ask many hosts for an echo, and measure the round trips.

    A HOST is a name, an address, or a network such as 192.0.2.0/24. No root is needed where net.ipv4.ping_group_range
    has the user's group; otherwise CAP_NET_RAW.
    """
    from ..errors import SocketError
    from ..inspect.targets import TargetError
    from .running import run

    if options["interval_seconds"] is None:
        options["interval_seconds"] = 0.0 if options["flood"] else 1.0
    if options["count"] is None and any("/" in host for host in hosts):
        options["count"] = 1
    try:
        status = run(_ping(hosts, options, as_json=as_json))
    except (SocketError, TargetError) as failure:
        raise _Impossible(str(failure)) from failure
    context.exit(status)


class _Impossible(click.ClickException):
    exit_code = 2  # 1 says that nobody answered


async def _ping(hosts: Sequence[str], options: dict[str, Any], *, as_json: bool) -> int:
    from asyncio import get_running_loop

    from ..inspect.ping import ping
    from .live_table import live_table

    pinging = ping(hosts, **options)
    one_by_one = as_json or (len(hosts) == 1 and "/" not in hosts[0])
    async with pinging:
        get_running_loop().add_signal_handler(signal.SIGINT, pinging.stop)
        async with live_table(lambda: _lines(pinging, VISIBLE_ROWS), shown=not one_by_one):
            async for event in pinging:
                if as_json:
                    click.echo(json.dumps({"event": type(event).__name__.lower(), **event._asdict()}))
                elif one_by_one:
                    click.echo(said(event))
    if as_json:
        click.echo(json.dumps(_summary(pinging)))
    elif one_by_one:
        click.echo(_statistics(pinging.hosts[0], pinging.seconds) if pinging.hosts else "")
    else:
        for line, _ in _lines(pinging):
            click.echo(line)
    return _status(pinging.hosts)


def said(event: Event) -> str:
    """One event as a line."""
    from ..inspect.ping import Lost, Refused, Reply

    where = event.host if event.host == event.address or not event.address else f"{event.host} ({event.address})"
    match event:
        case Reply():
            words = [f"reply {event.sequence} from {where}: {duration(event.rtt_seconds)}"]
            words += [f"{event.hops_left} hops left"] if event.hops_left is not None else []
            words += [word for word in ("duplicate", "reordered", "late") if getattr(event, word)]
            words += [f"CORRUPTED: {event.corrupted}"] if event.corrupted else []
            return ", ".join(words)
        case Refused():
            return f"no reply {event.sequence} from {where}: {event.source} says: {event.reason}"
        case Lost():
            return f"no reply {event.sequence} from {where} in time"
    return f"{where}: {event.reason}" if not event.sequence else f"not sent {event.sequence} to {where}: {event.reason}"


def _statistics(host: HostStatistics, seconds: float) -> str:
    counts = [f"{host.transmitted:,} sent", f"{host.received:,} received", f"{_percent(host.loss)} lost"]
    for name in ("duplicates", "reordered", "corrupted", "late", "errors"):
        if number := getattr(host, name):
            counts.append(_named(number, name))
    lines = [f"{host.host}: {', '.join(counts)} in {duration(seconds)}"]
    if host.min is not None and host.max is not None and host.average is not None and host.deviation is not None:
        times = {"min": host.min, "avg": host.average, "max": host.max, "mdev": host.deviation}
        lines.append("rtt " + ", ".join(f"{name} {duration(value)}" for name, value in times.items()))
    return "\n".join(lines)


def _lines(pinging: Pinging, at_most: int | None = None) -> list[Line]:
    """The table, and what came of it all. Rows beyond `at_most` are there, but empty."""
    from .columns import columns

    # Of a swept network nobody wants a row for each address that is not in use, whatever says so.
    shown = [host for host in pinging.hosts if not host.swept or host.received]
    header = ("host", "sent", "received", "lost", "last", "min", "avg", "max", "mdev", "")
    table = columns(header, [_row(host) for host in shown[:at_most]], left=(0, 9)) if shown else []
    styles = ["bold", *(_style(host) for host in shown[:at_most])]
    hidden = [("", "")] * max(0, len(shown) - at_most if at_most else 0)
    answered = sum(1 for host in pinging.hosts if host.received)
    silent = len(pinging.hosts) - answered
    total = f"{plural(len(pinging.hosts), 'host')}: {answered:,} answered, {silent:,} did not, in "
    return [*zip(table, styles, strict=False), *hidden, (total + duration(pinging.seconds), "")]


def _row(host: HostStatistics) -> list[str]:
    name = host.host if host.host == host.address or not host.address else f"{host.host} ({host.address})"
    remarks = [host.remark] if host.remark else []
    for word in ("duplicates", "reordered", "corrupted"):
        if number := getattr(host, word):
            remarks.append(_named(number, word))
    times = (host.last, host.min, host.average, host.max, host.deviation)
    return [
        name,
        f"{host.transmitted:,}",
        f"{host.received:,}",
        _percent(host.loss) if host.transmitted else "",
        *("" if seconds is None else duration(seconds) for seconds in times),
        ", ".join(remarks),
    ]


def _named(number: int, name: str) -> str:
    """`1 duplicate`, `2 duplicates`, `2 late`."""
    return f"{number:,} {name.removesuffix('s') if number == 1 else name}"


def _style(host: HostStatistics) -> str:
    if host.errors or (host.transmitted and not host.received and host.remark):
        return "red"
    return "yellow" if host.remark or host.corrupted else ""


def _percent(share: float) -> str:
    percent = 100 * share
    return f"{percent:.0f} %" if percent == round(percent) else f"{percent:.1f} %"


def _summary(pinging: Pinging) -> dict[str, Any]:
    return {
        "event": "summary",
        "seconds": round(pinging.seconds, 6),
        "ignored": pinging.core.ignored,
        "hosts": [host.summary() for host in pinging.hosts],
    }


VISIBLE_ROWS = 200  # no terminal has more


def _status(hosts: Sequence[HostStatistics]) -> int:
    if any(not host.address for host in hosts):
        return 2
    return 0 if any(host.received for host in hosts) else 1
