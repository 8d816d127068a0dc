"""`socketkit scan`: which ports of hosts are open, what listens there, and whether that is what was declared."""

from __future__ import annotations

import json
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import click

from .units import duration, plural

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from ..inspect.expected_ports import Difference
    from ..inspect.scan import HostReport, OpenPort, Scanning, Tls

EPILOG = """\b
Examples:
  socketkit scan 192.0.2.7
  socketkit scan -p 22,80,8000-8100,udp:53 nas.example
  socketkit scan -p - 192.0.2.0/28
  socketkit scan --expect ports.toml
  socketkit scan --json 192.0.2.7 | jq -r 'select(.event == "open") | .endpoint'

\b
Ports: numbers and ranges of TCP; udp:53 of UDP; udp: the UDP ports whose services are known; - all of TCP.
Not told, they are the system ports and some hundred that servers use.

\b
Closed: something said so. Silent: nothing came, in any round; mostly a filter. A silent UDP port may be open.
Scan what is yours: a network that is not private is pointed out, and scanned gently.

\b
A file for --expect has the ports of each host, with the identity behind TLS where it is to be a certain one:
  "192.0.2.7" = ["22/tcp", "443/tcp sk1:..."]

\b
Exit status: 0; 1 if --expect differs from what there is, 2 if a name has no address, or this user may not.
"""


@click.command("scan", epilog=EPILOG)
@click.argument("hosts", nargs=-1, metavar="HOST[/BITS]...")
@click.option("-p", "--ports", metavar="PORTS", help="22,80,1-1024,udp:53; - is all of them.")
@click.option("-4", "family", flag_value=4, type=int, help="IPv4 addresses only.")
@click.option("-6", "family", flag_value=6, type=int, help="IPv6 addresses only.")
@click.option(
    "--expect",
    metavar="FILE",
    help="Compare with the ports that are declared there. Without a HOST: scan its hosts.",
)
@click.option("--syn", "method", flag_value="syn", help="Half-open only; needs CAP_NET_RAW.")
@click.option("--connect", "method", flag_value="connect", help="By connecting, which needs no rights.")
@click.option("--rate", "rate_per_second", type=float, metavar="NUMBER", help="At most so many probes per second.")
@click.option(
    "--no-identify", "identify", is_flag=True, flag_value=False, default=True, help="Connect to no open port."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a line for each open port, then the summary.")
@click.pass_context
def command(
    context: click.Context,
    /,
    hosts: tuple[str, ...],
    ports: str | None,
    expect: str | None,
    as_json: bool,
    method: str | None,
    **options: Any,
) -> None:
    """Find the open ports of hosts, and what listens there.

    A HOST is a name, an address, or a network such as 192.0.2.0/28. Nothing else is looked at.
    """
    from ..errors import SocketError
    from ..inspect.targets import TargetError
    from .running import run

    if not hosts and expect is None:
        raise click.UsageError("which hosts? Name them, or --expect a file that does")
    try:
        status = run(_scan(hosts, ports, expect, {"method": method or "auto", **options}, as_json=as_json))
    except (SocketError, TargetError) as failure:
        raise _Impossible(str(failure)) from failure
    context.exit(status)


class _Impossible(click.ClickException):
    exit_code = 2  # 1 says that something is not as declared


async def _scan(
    hosts: Sequence[str], ports: str | None, expect: str | None, options: dict[str, Any], *, as_json: bool
) -> int:
    from ..inspect.port_lists import COMMON_TCP, Ports, parsed
    from ..inspect.scan import scan

    wanted = Ports(COMMON_TCP) if ports is None else parsed(ports)
    differences: list[Difference] | None = None
    if expect is not None:
        from ..inspect import expected_ports

        declared = expected_ports.read(expect)
        wanted = wanted.with_more(*expected_ports.ports_of(declared))
        hosts = hosts or tuple(declared)
    scanning = scan(hosts, wanted, **options)
    for note in scanning.notes:
        click.echo(f"scan: {note}", err=True)
    async with _progress(scanning), scanning:
        async for port in scanning:
            if as_json:
                click.echo(json.dumps({"event": "open", **described(port)}))
    if expect is not None:
        differences = expected_ports.compare(declared, scanning.reports)
    if as_json:
        click.echo(json.dumps(_summary(scanning, differences)))
    else:
        for line in lines(scanning.reports):
            click.echo(line)
        for difference in differences or ():
            click.echo(_said(difference))
        click.echo(_total(scanning, differences))
    if differences:
        return 1
    return 2 if any(not report.address for report in scanning.reports) else 0


def lines(reports: Sequence[HostReport]) -> list[str]:
    """What is open, host by host. Of several addresses, those that are silent or cannot be reached are left out."""
    from .columns import columns

    shown = []
    for report in reports:
        nothing = report.unreachable or not (report.open or report.closed or report.prohibited)
        if nothing and len(reports) > 1 and report.address and report.host == report.address:
            continue
        where = report.host if report.address in ("", report.host) else f"{report.host} ({report.address})"
        if report.unreachable:
            shown.append(f"{where}: {report.reason}")
            continue
        counts = [f"{len(report.open):,} open"]
        for word in ("closed", "silent", "prohibited"):
            if number := getattr(report, word):
                counts.append(f"{number:,} {word}")
        shown.append(f"{where}: {', '.join(counts)}")
        if report.open:
            _, *table = columns(("", "", ""), [_row(port) for port in report.open], left=(0, 1, 2))
            shown += [f"  {line}" for line in table]
    return shown


def described(port: OpenPort) -> dict[str, Any]:
    """As in JSON."""
    values = port._asdict()
    if port.tls is not None:
        expires = port.tls.expires.isoformat() if port.tls.expires else None
        values["tls"] = {**port.tls._asdict(), "expires": expires}
    return {"endpoint": endpoint(port), **values}


def endpoint(port: OpenPort) -> str:
    """What `socketkit connect` takes, as far as the port was looked at."""
    host = f"[{port.address}]" if ":" in port.address else port.address
    if port.tls is not None and port.tls.fingerprint:
        return f"tls://{host}:{port.port}?pin={port.tls.fingerprint}"
    return f"{port.protocol}://{host}:{port.port}"


def _row(port: OpenPort) -> list[str]:
    host = f"[{port.address}]" if ":" in port.address else port.address
    scheme = "tls" if port.tls else port.protocol
    # What only the port's number says is no finding.
    name = port.service or (f"({port.usual}?)" if port.usual else "")
    return [f"{scheme}://{host}:{port.port}", name, "  ".join(filter(None, [port.product, _tls(port.tls)]))]


def _tls(tls: Tls | None) -> str:
    if tls is None:
        return ""
    words = [tls.version.replace("TLSv", "TLS "), tls.subject and f"for {tls.subject}"]
    words += [f"until {tls.expires:%Y-%m-%d}" if tls.expires else "", _expired(tls), tls.fingerprint]
    return ", ".join(filter(None, words))


def _expired(tls: Tls) -> str:
    from datetime import UTC, datetime

    return "EXPIRED" if tls.expires is not None and tls.expires < datetime.now(UTC) else ""


def _said(difference: Difference) -> str:
    where = f" {difference.port}/{difference.protocol}" if difference.port else ""
    return f"NOT AS DECLARED: {difference.host}{where}: {difference.reason}"


def _total(scanning: Scanning, differences: Sequence[Difference] | None) -> str:
    count = sum(len(report.open) for report in scanning.reports)
    words = [plural(len(scanning.reports), "host"), plural(count, "open port"), f"in {duration(scanning.seconds)}"]
    if mute := sum(not (report.open or report.closed or report.prohibited) for report in scanning.reports):
        words.insert(1, f"{mute:,} without an answer")
    if scanning.ports.tcp:
        progress = scanning.progress
        words += {"syn": ["half-open"], "connect": ["by connecting"]}.get(scanning.method, [])
        words.append(plural(int(progress.get("round", 0)), "round"))
        if (loss := progress.get("loss", 0.0)) >= 0.005:
            words.append(f"{100 * loss:.0f} % lost on the way")
    if differences is not None:
        words.append(f"{plural(len(differences), 'difference')}" if differences else "as declared")
    return ", ".join(words)


def _summary(scanning: Scanning, differences: Sequence[Difference] | None) -> dict[str, Any]:
    hosts = []
    for report in scanning.reports:
        values = report._asdict()
        del values["states"]
        hosts.append({**values, "open": [described(port) for port in report.open]})
    summary: dict[str, Any] = {
        "event": "summary",
        "seconds": round(scanning.seconds, 6),
        "method": scanning.method if scanning.ports.tcp else None,
        "sent": int(scanning.progress.get("sent", 0)) + scanning.udp_progress[0],
        "rounds": int(scanning.progress.get("round", 0)),
        "loss": round(scanning.progress.get("loss", 0.0), 4),
        "notes": scanning.notes,
        "hosts": hosts,
    }
    if differences is not None:
        summary["differences"] = [difference._asdict() for difference in differences]
    return summary


@asynccontextmanager
async def _progress(scanning: Scanning) -> AsyncIterator[None]:
    """A bar on stderr, if that is a terminal, of a scan that takes longer than a moment."""
    import asyncio

    if not sys.stderr.isatty():
        yield
        return

    async def show() -> None:
        await asyncio.sleep(PATIENCE_SECONDS)
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        shown = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[rest]}"), TimeElapsedColumn())
        with Progress(*shown, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("scan", rest="")
            while True:
                description, over, planned, rest = _state(scanning)
                bar.update(task, description=description, completed=over, total=planned or None, rest=rest)
                await asyncio.sleep(UPDATE_SECONDS)

    showing = asyncio.create_task(show())
    try:
        yield
    finally:
        showing.cancel()
        await asyncio.wait([showing])


def _state(scanning: Scanning) -> tuple[str, float, float, str]:
    progress = scanning.progress
    if progress.get("pending"):
        rest = f"{progress['per_second']:,.0f}/s, {progress['pending']:,.0f} without an answer"
        return f"round {progress['round']:.0f}", progress["over"], progress["planned"], rest
    over, planned = scanning.udp_progress
    return "udp" if planned else "identifying", over, planned, ""


PATIENCE_SECONDS = 0.5
UPDATE_SECONDS = 0.1
