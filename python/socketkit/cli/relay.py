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
    from ..forwarding import Forward

EPILOG = """\b
Examples:
  socketkit relay tcp://localhost:7001 tcp://localhost:7000
  socketkit relay 'tls://*:7443?public=yes' tcp://localhost:8000
  socketkit relay tcp://localhost:5432 'tls://db.example:7443?pin=sk1:...'
  socketkit relay --json tcp://localhost:0 unix:///run/app.sock > summary.json

\b
An address without a host, or with localhost, is on this machine only. tls:// on the left lets callers
in under TLS and passes on what they say; on the right it reaches a peer that proves its key: write that
as pin=, for nobody is asked here. To listen for other machines, or to connect to one, in plain text
must be written out: 'tcp://*:7001?plaintext=yes'.
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
        relaying = relay(listener, target_url)
        traffic = Traffic(relaying, listener.local, target_url)
        try:
            async with kept_up_to_date(StatusLine(), traffic.text):
                await relaying
        finally:
            click.echo(json.dumps(traffic.summary()) if as_json else str(traffic), err=not as_json)


class Traffic:
    """What has gone through a relay so far."""

    def __init__(self, relaying: Forward, local: Endpoint, target: Endpoint) -> None:
        self._relaying = relaying
        self._local = local
        self._target = target
        self._started_at = self._asked_at = time.monotonic()
        self._bytes = 0

    def text(self) -> str:
        """With the rate since it was asked for the last time."""
        now = time.monotonic()
        count = self._relaying.a_to_b_bytes + self._relaying.b_to_a_bytes
        speed = rate((count - self._bytes) / (now - self._asked_at))
        self._bytes, self._asked_at = count, now
        return f"{self._relaying.connections:,} open, {self._words()} ({speed})"

    def summary(self) -> dict[str, str | int | float]:
        return {
            "endpoint": str(self._local),
            "target": str(self._target),
            "connections": self._relaying.accepted,
            "failed": self._relaying.failed,
            "a_to_b_bytes": self._relaying.a_to_b_bytes,
            "b_to_a_bytes": self._relaying.b_to_a_bytes,
            "seconds": round(time.monotonic() - self._started_at, 3),
        }

    def __str__(self) -> str:
        seconds = time.monotonic() - self._started_at
        return f"relayed {self._words()} in {duration(seconds)}"

    def _words(self) -> str:
        relaying = self._relaying
        failed = f" ({relaying.failed:,} failed)" if relaying.failed else ""
        return (
            f"{plural(relaying.accepted, 'connection')}{failed}: {amount(relaying.a_to_b_bytes)} to the target, "
            f"{amount(relaying.b_to_a_bytes)} back"
        )
