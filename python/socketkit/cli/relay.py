"""`socketkit relay`: every connection to one address is passed on to another one."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import click

from ..verbs import listen, relay
from .arguments import address
from .units import amount, duration, plural, rate

if TYPE_CHECKING:
    from ..endpoint import Endpoint
    from ..listener import Listener

EPILOG = """\b
Examples:
  socketkit relay tcp://localhost:7001 tcp://localhost:7000
  socketkit relay unix:///tmp/db.sock tcp://db.example:5432
  socketkit relay --json tcp://localhost:0 unix:///run/app.sock > summary.json

\b
What it passes on is not encrypted on the way. An address without a host, or with localhost, can be
reached from this machine only; tcp://*:7001 from everywhere.
"""


@click.command("relay", epilog=EPILOG)
@address("listen_url")
@address("target_url")
@click.option("--json", "as_json", is_flag=True, help="At the end, print the summary to stdout as JSON.")
def command(listen_url: Endpoint, target_url: Endpoint, as_json: bool) -> None:
    """Pass every connection on to another address.

    Each connection to LISTEN_URL gets one of its own to TARGET_URL, and the engine moves the bytes between the two. The
    end of one is passed on to the other as a half-close, a reset as a reset. Says on stderr where it listens, shows on
    a terminal what goes through, runs until Ctrl-C, then says what it did.
    """
    from .running import run

    run(_relay(listen_url, target_url, as_json=as_json))


async def _relay(listen_url: Endpoint, target_url: Endpoint, *, as_json: bool) -> None:
    from .status_line import StatusLine, kept_up_to_date

    async with listen(listen_url) as listener:
        click.echo(f"listening on {listener.local}", err=True)
        traffic = Traffic(listener, target_url)
        try:
            async with kept_up_to_date(StatusLine(), traffic.text):
                await relay(listener, target_url)
        finally:
            click.echo(json.dumps(traffic.summary()) if as_json else str(traffic), err=not as_json)


class Traffic:
    """What has gone through a relay so far."""

    def __init__(self, listener: Listener, target: Endpoint) -> None:
        self._listener = listener
        self._target = target
        self._started_at = self._asked_at = time.monotonic()
        self._bytes = 0

    def text(self) -> str:
        """With the rate since it was asked for the last time."""
        stats, now = self._listener.stats, time.monotonic()
        count = stats["a_to_b_bytes"] + stats["b_to_a_bytes"]
        speed = rate((count - self._bytes) / (now - self._asked_at))
        self._bytes, self._asked_at = count, now
        return f"{stats['connections']:,} open, {_words(stats)} ({speed})"

    def summary(self) -> dict[str, str | int | float]:
        stats = self._listener.stats
        return {
            "endpoint": str(self._listener.local),
            "target": str(self._target),
            "connections": stats["accepted"],
            "failed": stats["failed"],
            "a_to_b_bytes": stats["a_to_b_bytes"],
            "b_to_a_bytes": stats["b_to_a_bytes"],
            "seconds": round(time.monotonic() - self._started_at, 3),
        }

    def __str__(self) -> str:
        seconds = time.monotonic() - self._started_at
        return f"relayed {_words(self._listener.stats)} in {duration(seconds)}"


def _words(stats: dict[str, int]) -> str:
    failed = f" ({stats['failed']:,} failed)" if stats["failed"] else ""
    return (
        f"{plural(stats['accepted'], 'connection')}{failed}: {amount(stats['a_to_b_bytes'])} to the target, "
        f"{amount(stats['b_to_a_bytes'])} back"
    )
