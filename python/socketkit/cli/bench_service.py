"""`socketkit serve bench`: says what to write on the other side, and what each test came to."""

from __future__ import annotations

import json
from asyncio import get_running_loop
from typing import TYPE_CHECKING, Any

import click

from ..inspect.measuring import serving
from .units import amount, bit_rate, duration, plural

if TYPE_CHECKING:
    from ..endpoint import Endpoint
    from ..inspect.measuring.session import Session


async def serve_bench(url: Endpoint, *, as_json: bool) -> None:
    tests: list[dict[str, Any]] = []

    def tell(session: Session, peer: str) -> None:
        tests.append(_told(session, peer))
        click.echo(_words(tests[-1]), err=True)
        del tests[:-REMEMBERED]

    async with serving.serve_bench(url, tell) as local:
        click.echo(f"listening on {local}", err=True)
        click.echo(f"on the other side: socketkit bench {_quoted(str(local))}", err=True)
        try:
            await get_running_loop().create_future()
        finally:
            if as_json:
                click.echo(json.dumps({"endpoint": str(local), "tests": tests}))


def _told(session: Session, peer: str) -> dict[str, Any]:
    counted = session.side.report(0, 0)
    return {
        "peer": peer,
        "plan": session.plan.to_json(),
        "seconds": counted["elapsed_ns"] / 1e9,
        "received_bytes": counted["received"]["bytes"],
        "sent_bytes": counted["sent"]["bytes"],
    }


def _words(test: dict[str, Any]) -> str:
    seconds = test["seconds"]
    ways = [
        f"{word} {amount(count)} ({bit_rate(8 * count / seconds if seconds else 0)})"
        for word, count in (("received", test["received_bytes"]), ("sent", test["sent_bytes"]))
        if count
    ]
    flows = plural(test["plan"]["flows"], "flow")
    return f"test by {test['peer']}: {', '.join(ways) or 'nothing sent'} in {duration(seconds)}, {flows}"


def _quoted(address: str) -> str:
    """For a shell, where * and ? mean something; * is no place to connect to, either."""
    from shlex import quote

    return quote(address.replace("://*", "://HOST", 1))


REMEMBERED = 1_000
