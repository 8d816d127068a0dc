"""`socketkit audit`: what is wrong with the sockets of this machine, how bad it is, and what to do about it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click

from .units import plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..threats.audit import Report
    from ..threats.finding import Finding

EPILOG = """\b
Examples:
  socketkit audit
  sudo socketkit audit --seconds 10 --probe
  socketkit audit port=443
  socketkit audit --expect ports.toml --fail-on high
  socketkit audit --write-baseline known.json && socketkit audit --baseline known.json
  socketkit audit --history /var/lib/socketkit/history.db --unused-hours 168
  socketkit audit --fix | less
  sudo socketkit audit --watch
  socketkit audit --json | jq -r 'select(.severity == "high") | .title'

\b
Bytes decide what is in plain text: --seconds looks at first bytes for so long, as root. Without it
programs and ports tell, and the findings are milder. A file for --expect has the ports that are
declared: "localhost" = ["22/tcp"], as `socketkit scan` takes it.

\b
Exit status: 0 nothing so severe as --fail-on; 3 up to medium, 4 high; 1 it failed, 2 wrong command line.
"""


@click.command("audit", epilog=EPILOG)
@click.argument("terms", nargs=-1, metavar="[TERM]...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a line for each finding.")
@click.option("--sarif", is_flag=True, help="Print SARIF 2.1.0, for code hosts and dashboards.")
@click.option(
    "--fail-on",
    type=click.Choice(["info", "low", "medium", "high", "never"]),
    default="medium",
    show_default=True,
    help="From which severity on the exit status says so.",
)
@click.option("--expect", type=click.Path(dir_okay=False), metavar="FILE", help="The declared ports.")
@click.option("--baseline", type=click.Path(dir_okay=False), metavar="FILE", help="Show what is new.")
@click.option("--write-baseline", type=click.Path(dir_okay=False), metavar="FILE", help="Write what is known now.")
@click.option("--history", type=click.Path(dir_okay=False), metavar="FILE", help="What `watch --record` wrote.")
@click.option("--unused-hours", type=click.FloatRange(0), metavar="N", help="From when on a port is unused (24).")
@click.option("--declare", multiple=True, metavar="WHAT", help="A program or an address that you vouch for.")
@click.option("--fix", is_flag=True, help="Print the commands that would help; nothing is run.")
@click.option("--probe", is_flag=True, help="Ask own TLS services, and known peers, for their certificates.")
@click.option("--seconds", type=click.FloatRange(0, 3600), metavar="N", help="Look at first bytes for so long (root).")
@click.option("--watch", is_flag=True, help="Go on, and tell what is found when it is: beacons, scans.")
@click.option("--accept", is_flag=True, help="Gateways and root authorities are as they should be: remember them.")
@click.option("--own", is_flag=True, help="Only the network namespace of this program.")
@click.pass_context
def command(
    context: click.Context,
    /,
    terms: tuple[str, ...],
    as_json: bool,
    sarif: bool,
    fail_on: str,
    baseline: str | None,
    write_baseline: str | None,
    fix: bool,
    watch: bool,
    **options: Any,
) -> None:
    """Find what is wrong with this machine's sockets, and what helps.

    With TERMs, as `socketkit ls` takes them: only of the sockets that they select. Nothing is changed.
    """
    if sum((as_json, sarif, fix)) > 1:
        raise click.UsageError("--json, --sarif and --fix exclude each other")
    if watch and (sarif or fix or write_baseline):
        raise click.UsageError("--watch has no end at which --sarif, --fix or --write-baseline could be written")
    known = _known(baseline)
    report = _look(" ".join(terms), **options)
    found = [finding for finding in report.findings if finding.key not in known]
    if write_baseline is not None:
        _write_baseline(write_baseline, report.findings)
    if as_json:
        _print_json(found)
    elif sarif:
        from .. import __version__
        from ..threats.finding import as_sarif

        click.echo(json.dumps(as_sarif(found, __version__), indent=2))
    elif fix:
        _print_commands(found)
    else:
        for line in lines(found, report.view.now):
            click.echo(line)
        click.echo(summary(found, hidden=len(report.findings) - len(found)))
    for line in report.unknown:
        click.echo(f"not known: {line}", err=True)
    if watch:
        _watch(report, known | {finding.key for finding in found}, own=options["own"], as_json=as_json)
    context.exit(status(found, fail_on))


def status(findings: Sequence[Finding], fail_on: str) -> int:
    """The exit status for what was found."""
    from ..threats.finding import at_least

    severe = [] if fail_on == "never" else at_least(findings, fail_on)
    if not severe:
        return 0
    return FOUND_HIGH if at_least(severe, "high") else FOUND


def summary(findings: Sequence[Finding], *, hidden: int = 0) -> str:
    """`2 high, 1 low`; how many by severity."""
    from ..threats.finding import SEVERITIES

    counts = {word: sum(finding.severity == word for finding in findings) for word in reversed(SEVERITIES)}
    words = [f"{count:,} {word}" for word, count in counts.items() if count]
    said = f"{plural(len(findings), 'finding')}: {', '.join(words)}" if words else "nothing was found"
    return f"{said} ({hidden:,} more are in the baseline)" if hidden else said


def lines(findings: Sequence[Finding], now: float) -> list[str]:
    """By severity, and check by check; of many alike the first few."""
    shown: list[str] = []
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.severity, finding.id), []).append(finding)
    for (severity, number), alike in groups.items():
        shown.append(f"{severity.upper()}  {alike[0].title} ({number}, docs/threats/{alike[0].check.page}.md)")
        for finding in alike[:SHOWN_ALIKE]:
            shown += _described(finding, now)
        if len(alike) > SHOWN_ALIKE:
            shown.append(f"  and {len(alike) - SHOWN_ALIKE:,} more like these: --json has all")
        shown.append("")
    return shown


def _described(finding: Finding, now: float) -> list[str]:
    from .units import span

    where = "  ".join(filter(None, (finding.socket or finding.subject, finding.process)))
    since = now - finding.first_seen
    told = f"{finding.evidence} (for {span(since)})" if finding.first_seen and since >= 60 else finding.evidence
    return [f"  {where}", f"    {told}", f"    -> {finding.remedy}", *(f"       $ {line}" for line in finding.commands)]


def _print_json(findings: Iterable[Finding]) -> None:
    for finding in findings:
        click.echo(json.dumps(finding.as_json()))


def _print_commands(findings: Sequence[Finding]) -> None:
    """A script to be read: each command once, below why."""
    told: set[str] = set()
    for finding in findings:
        commands = [line for line in finding.commands if line not in told]
        told.update(commands)
        click.echo(f"# {finding.severity}: {finding.title}: {finding.socket or finding.subject}")
        click.echo(f"#   {finding.remedy}")
        for line in commands:
            click.echo(line)


# --- the baseline


def _known(path: str | None) -> frozenset[str]:
    if path is None:
        return frozenset()
    with open(path, encoding="utf-8") as file:
        try:
            kept = json.load(file)
            return frozenset(str(key) for key in kept["findings"])
        except (ValueError, TypeError, KeyError):
            raise click.UsageError(f"{path} is no baseline: write one with --write-baseline") from None


def _write_baseline(path: str, findings: Iterable[Finding]) -> None:
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"version": 1, "findings": sorted({finding.key for finding in findings})}, file, indent=1)
        file.write("\n")


# --- looking


def _look(
    select: str,
    *,
    expect: str | None,
    history: str | None,
    unused_hours: float | None,
    declare: tuple[str, ...],
    probe: bool,
    seconds: float | None,
    accept: bool,
    own: bool,
) -> Report:
    from contextlib import ExitStack

    from .._core import SocketTable
    from ..inspect.first_bytes import FirstBytes
    from ..inspect.selection import Selection
    from ..threats.audit import look
    from ..threats.recorded import UNUSED_SECONDS

    Selection(select)  # before it takes time
    if unused_hours is not None and history is None:
        raise click.UsageError("--unused-hours goes with --history FILE")
    table = SocketTable(namespaces="own" if own else "all")
    with ExitStack() as stack:
        first_bytes = None
        if seconds:
            first_bytes = stack.enter_context(FirstBytes())
            time.sleep(seconds)
        return look(
            select,
            table=table,
            expect=expect,
            first_bytes=first_bytes,
            presented=_presented(table) if probe else (),
            declared=frozenset(declare),
            history=history,
            unused_seconds=UNUSED_SECONDS if unused_hours is None else unused_hours * 3_600,
            accept=accept,
        )


def _presented(table: Any) -> list[Any]:
    from ..known_peers import KnownPeers
    from ..threats.handshakes import probe

    return probe((row for row in table.refresh() if row.state == "listening"), KnownPeers().entries())


def _watch(report: Report, told: set[str] | frozenset[str], *, own: bool, as_json: bool) -> None:
    """Until Ctrl-C: every finding once, when it is found."""
    from ..threats.watching import watch

    def listening() -> None:
        """Who waits for this line may begin what is to be seen."""
        click.echo("watching for beacons and scans, until Ctrl-C", err=True)

    for finding in watch(report.view, told, namespaces="own" if own else "all", listening=listening):
        if as_json:
            _print_json([finding])
        else:
            click.echo("\n".join(lines([finding], finding.first_seen)))


FOUND, FOUND_HIGH = 3, 4
SHOWN_ALIKE = 5
