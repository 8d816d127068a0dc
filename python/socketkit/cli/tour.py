"""`socketkit tour`: opens each type of socket, uses it, and shows what went through it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from .tour_screen import Screen
    from .visits import Visit

EPILOG = """\b
At each stop a server and a connection to it exchange small messages (latency: the median of
their round trips) and bulk data both ways at once (rate: both directions together), half-close
and close. What comes back is compared with what was sent. Everything stays on this machine.
Raw sockets have no other end of ours: the kernel answers. Those for packets and frames need
CAP_NET_RAW; without it their rows say how to get it, and that is no failure.

\b
At its end stands how much an audit of this machine finds; `socketkit audit` says what.

\b
Examples:
  socketkit tour
  socketkit tour --json | jq '.stops[] | {endpoint, bytes_per_second}'

\b
Exit status: 0 if all works that this machine has, 1 if something failed.
"""


@click.command("tour", epilog=EPILOG)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, in bytes and seconds.")
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Open every kind of socket that this machine has, use it, and show what went through it."""
    from .running import run

    visits = run(_tour(shown=not as_json))
    failed = any(visit.outcome == "failed" for visit in visits)
    if as_json:
        click.echo(json.dumps({"works": not failed, "stops": [asdict(visit) for visit in visits]}, indent=2))
    else:
        click.echo(_audited())
    if failed:
        context.exit(1)


def _audited() -> str:
    """What an audit says of the machine that the tour ran on; it remembers nothing."""
    from ..threats.audit import look
    from .audit import summary

    try:
        found = look(remember=False).findings
    except OSError as failure:
        return f"its other sockets: {failure}"
    return f"audit of this machine: {summary(found)}" + ("; what and why: socketkit audit" if found else "")


async def _tour(*, shown: bool) -> list[Visit]:
    import os
    from contextlib import nullcontext
    from tempfile import TemporaryDirectory

    from .stops import STOPS, see
    from .visits import Visit

    with TemporaryDirectory(prefix="tour-") as folder:
        visits = [
            Visit(stop.name, stop.address.format(folder=folder, process=os.getpid()), group=stop.group)
            for stop in STOPS
        ]
        with _screen(visits) if shown else nullcontext():
            for stop, visit in zip(STOPS, visits, strict=True):
                await see(stop, visit)
    return visits


def _screen(visits: list[Visit]) -> Screen:
    # rich takes longer to import than the tour's first stop takes.
    from .tour_screen import Screen

    return Screen(visits)
