"""`socketkit trace`: the way to hosts, hop by hop."""

from __future__ import annotations

import json
import signal
import sys
from typing import TYPE_CHECKING, Any

import click

from .units import duration, plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..inspect.route import Hop, Route, RouteEvent
    from ..inspect.trace import Tracing
    from .live_table import Line

EPILOG = """\b
Examples:
  socketkit trace nas.example
  socketkit trace --report -c 10 192.0.2.1 2001:db8::1
  socketkit trace --tcp -p 443 nas.example
  socketkit trace --mtu 192.0.2.1
  socketkit trace --json -c 1 192.0.2.1 | jq -c 'select(.event == "answer")'

\b
On a terminal a table that is kept up to date until Ctrl-C, or for -c rounds. Elsewhere, and with --report,
the table at the end, after 3 rounds unless -c says more. Behind a hop: why the way ends there (!H host, !N
network, !P protocol unreachable, !X prohibited, !S source route, !<type-code>), or the MTU of its next
network (!F-MTU). Several addresses at a hop: routes that are taken in turn.

\b
UDP and TCP probes need no rights; --icmp needs what `socketkit ping` needs.

\b
Exit status: 0 if every host was reached, 1 if not, 2 if a name has no address, or this user may not.
"""


@click.command("trace", epilog=EPILOG)
@click.argument("hosts", nargs=-1, required=True, metavar="HOST...")
@click.option("-4", "family", flag_value=4, type=int, help="IPv4 addresses only.")
@click.option("-6", "family", flag_value=6, type=int, help="IPv6 addresses only.")
@click.option("--udp", "kind", flag_value="udp", default=True, help="Probe with UDP datagrams (the default).")
@click.option("--icmp", "kind", flag_value="icmp", help="Probe with echo requests.")
@click.option("--tcp", "kind", flag_value="tcp", help="Probe with attempts to connect.")
@click.option("-p", "--port", type=int, help="The port that UDP (33434) or TCP (80) probes go to.")
@click.option("-c", "--count", "rounds", type=int, help="So many rounds.")
@click.option(
    "-i",
    "--interval",
    "interval_seconds",
    type=float,
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="From one round to the next.",
)
@click.option(
    "-W",
    "--wait",
    "wait_seconds",
    type=float,
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="For how long an answer is waited for.",
)
@click.option("-m", "--max-hops", type=int, default=30, show_default=True, help="Look no farther than this.")
@click.option("--mtu", "find_mtu", is_flag=True, help="Find the largest packet that gets through.")
@click.option("-n", "numeric", is_flag=True, help="Do not look for the names of hops.")
@click.option("--report", is_flag=True, help="No live table: print it at the end.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a line for each event, then the summary.")
@click.pass_context
def command(
    context: click.Context, /, hosts: tuple[str, ...], numeric: bool, report: bool, as_json: bool, **options: Any
) -> None:
    """Show the way to hosts, hop by hop, with loss and round trips.

    A HOST is a name or an address. All hops are probed at once: the whole way is there after one round trip.
    """
    from ..errors import SocketError
    from ..inspect.targets import TargetError
    from .running import run

    live = not as_json and not report and sys.stdout.isatty()
    if options["rounds"] is None and not live:
        options["rounds"] = ROUNDS
    try:
        status = run(_trace(hosts, {**options, "names": not numeric}, live=live, as_json=as_json))
    except (SocketError, TargetError) as failure:
        raise _Impossible(str(failure)) from failure
    context.exit(status)


class _Impossible(click.ClickException):
    exit_code = 2  # 1 says that a host was not reached


async def _trace(hosts: Sequence[str], options: dict[str, Any], *, live: bool, as_json: bool) -> int:
    from asyncio import get_running_loop

    from ..inspect.trace import trace
    from .live_table import live_table

    tracing = trace(hosts, **options)
    async with live_table(lambda: lines(tracing), shown=live, patience_seconds=0.05), tracing:
        get_running_loop().add_signal_handler(signal.SIGINT, tracing.stop)
        async for event in tracing:
            if as_json:
                click.echo(json.dumps(_described(event)))
        if not live:
            await tracing.named()
    if as_json:
        click.echo(json.dumps(_summary(tracing)))
    else:
        for line, _ in lines(tracing):
            click.echo(line)
    if any(not route.address for route in tracing.routes):
        return 2
    return 0 if all(route.reached for route in tracing.routes) else 1


def lines(tracing: Tracing) -> list[Line]:
    """The routes, one table each; the last line says how long it has taken."""
    shown: list[Line] = []
    for route in tracing.routes:
        shown += [(_title(route), "bold"), *_table(route, tracing.names), ("", "")]
    routes = plural(len(tracing.routes), "route")
    rounds = plural(max((route.round for route in tracing.routes), default=0), "round")
    return [*shown, (f"{routes}, {rounds} with {tracing.plan.kind.upper()} in {duration(tracing.seconds)}", "dim")]


def _title(route: Route) -> str:
    where = route.host if route.address in ("", route.host) else f"{route.host} ({route.address})"
    mtu = f", MTU {route.mtu_bytes:,}" if route.mtu_bytes else ""
    if route.reached:
        return f"{where}: {plural(len(route.hops), 'hop')}{mtu}"
    if route.end is not None:
        return f"{where}: ends at hop {route.end}, {route.remark}"
    return f"{where}: {route.remark or 'not reached'}"


def _table(route: Route, names: dict[str, str]) -> list[Line]:
    from .columns import columns

    rows: list[list[str]] = []
    styles = [""]
    for hop in route.hops:
        first, *others = hop.addresses or {"*": 0}
        times = (hop.last, hop.average, hop.min, hop.max, hop.deviation)
        rows.append(
            [
                f"{hop.number:2}",
                _named(first, names),
                f"{100 * hop.loss:.0f} %" if hop.sent else "",
                f"{hop.sent:,}",
                *("" if seconds is None else duration(seconds) for seconds in times),
                _remark(hop, route),
            ]
        )
        rows += [["", _named(other, names), *[""] * 8] for other in others]
        styles += [_style(hop), *[_style(hop)] * len(others)]
    if not rows:
        return []
    header = ("", "", "loss", "sent", "last", "avg", "best", "worst", "stddev", "")
    return list(zip(columns(header, rows, left=(0, 1, 9)), styles, strict=True))


def _named(address: str, names: dict[str, str]) -> str:
    return f"{names[address]} ({address})" if address in names else address


def _remark(hop: Hop, route: Route) -> str:
    mtus = [f"!F-{route.narrow[address]}" for address in hop.addresses if address in route.narrow]
    return " ".join([*mtus, *([hop.mark] if hop.mark else [])])


def _style(hop: Hop) -> str:
    if hop.mark:
        return "red"
    if not hop.received:
        return "dim"
    return "yellow" if hop.loss else ""


def _described(event: RouteEvent) -> dict[str, Any]:
    return {"event": type(event).__name__.lower(), **event._asdict()}


def _summary(tracing: Tracing) -> dict[str, Any]:
    return {
        "event": "summary",
        "seconds": round(tracing.seconds, 6),
        "kind": tracing.plan.kind,
        "routes": [route.summary() for route in tracing.routes],
        "names": tracing.names,
    }


ROUNDS = 3
