"""`socketkit relay`: every connection to one address is passed on to another one."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import click

from ..verbs import bind, listen
from .arguments import (
    address,
    answer_ratio_option,
    is_bound,
    limits_of,
    relayed_messages_option,
    require_connectable,
    require_joinable,
    shape_of,
)
from .units import amount, duration, plural, rate

if TYPE_CHECKING:
    from typing import Any

    from ..endpoint import Endpoint
    from ..forwarding import Forward
    from ..limits import Limits

EPILOG = """\b
Examples:
  socketkit relay tcp://localhost:7001 tcp://localhost:7000
  socketkit relay 'tls://*:7443?public=yes' tcp://localhost:8000
  socketkit relay tcp://localhost:5432 'tls://db.example:7443?pin=sk1:...'
  socketkit relay --json tcp://localhost:0 unix:///run/app.sock > summary.json
  socketkit relay udp://localhost:5140 'seqpacket+tls://logs.example:7000?pin=sk1:...'
  socketkit relay --answer-ratio 10 'udp://*:5353?plaintext=yes' udp://localhost:5300
  socketkit relay --messages lines tcp://localhost:5141 udp://localhost:5140

\b
An address without a host, or with localhost, is on this machine only. tls:// on the left lets callers
in under TLS and passes on what they say; on the right it reaches a peer that proves its key: write that
as pin=, for nobody is asked here. To listen for other machines, or to connect to one, in plain text
must be written out: 'tcp://*:7001?plaintext=yes'.
"""


@click.command("relay", epilog=EPILOG)
@address("listen_url")
@address("target_url")
@relayed_messages_option
@answer_ratio_option
@click.option("--json", "as_json", is_flag=True, help="At the end, print the summary to stdout as JSON.")
def command(
    listen_url: Endpoint, target_url: Endpoint, cut: str | None, answer_ratio: float | None, as_json: bool
) -> None:
    """Pass every connection on to another address.

    Each connection to LISTEN_URL gets one of its own to TARGET_URL, and the engine moves the bytes between the two. The
    end of one is passed on to the other as a half-close, a reset as a reset. Says on stderr where it listens, shows on
    a terminal what goes through, runs until Ctrl-C, then says what it did.

    Between types that carry messages each message is passed on as one. Of a datagram socket each peer has a connection
    of its own. Between a stream and messages, --messages says what one is in the stream.
    """
    from .running import run

    require_connectable(target_url)
    require_joinable(listen_url, target_url, cut)
    if answer_ratio is not None and not is_bound(listen_url):
        raise click.UsageError(f"--answer-ratio is for datagrams: {listen_url.scheme}:// has connections")
    run(_relay(listen_url, target_url, cut, limits_of(answer_ratio), as_json=as_json))


async def _relay(listen_url: Endpoint, target_url: Endpoint, cut: str | None, limits: Limits, *, as_json: bool) -> None:
    from ..relays import forward
    from .status_line import StatusLine, kept_up_to_date

    opening: Any = bind(listen_url, limits=limits) if is_bound(listen_url) else listen(listen_url, shape_of(listen_url))
    async with opening as listener:
        click.echo(f"listening on {listener.local}", err=True)
        relaying = forward(listener, target_url, cut)
        traffic = Traffic(relaying, listener, target_url)
        try:
            async with kept_up_to_date(StatusLine(), traffic.text):
                await relaying
        finally:
            click.echo(json.dumps(traffic.summary()) if as_json else str(traffic), err=not as_json)


class Traffic:
    """What has gone through a relay so far."""

    def __init__(self, relaying: Forward, listener: Any, target: Endpoint) -> None:
        self._relaying = relaying
        self._listener = listener
        self._local: Endpoint = listener.local
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
        messages = {name: getattr(self._relaying, name) for name in COUNTS if hasattr(self._relaying, name)}
        if messages:
            messages["withheld"] = getattr(self._listener, "withheld", 0)
        return {
            "endpoint": str(self._local),
            "target": str(self._target),
            "connections": self._relaying.accepted,
            "failed": self._relaying.failed,
            "a_to_b_bytes": self._relaying.a_to_b_bytes,
            "b_to_a_bytes": self._relaying.b_to_a_bytes,
            **messages,
            "seconds": round(time.monotonic() - self._started_at, 3),
        }

    def __str__(self) -> str:
        seconds = time.monotonic() - self._started_at
        return f"relayed {self._words()} in {duration(seconds)}"

    def _words(self) -> str:
        from ..message_forwarding import MessageForward

        relaying = self._relaying
        failed = f" ({relaying.failed:,} failed)" if relaying.failed else ""
        there, back = amount(relaying.a_to_b_bytes), amount(relaying.b_to_a_bytes)
        if not isinstance(relaying, MessageForward):
            return f"{plural(relaying.accepted, 'connection')}{failed}: {there} to the target, {back} back"
        who = plural(relaying.accepted, "peer" if is_bound(self._local) else "connection")
        counts = self.summary()
        lost = "".join(f", {counts[name]:,} {name}" for name in TROUBLES if counts[name])
        return (
            f"{who}{failed}: {plural(relaying.a_to_b_messages, 'message')} ({there}) to the target, "
            f"{plural(relaying.b_to_a_messages, 'message')} ({back}) back{lost}"
        )


# What is not passed on, or does not arrive.
TROUBLES = ("refused", "dropped", "withheld", "unsent", "unreachable", "evicted")
COUNTS = ("a_to_b_messages", "b_to_a_messages", "refused", "dropped", "unsent", "unreachable", "evicted")
