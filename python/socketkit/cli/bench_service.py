"""`socketkit serve bench`: says what to write on the other side, and what each test came to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from ..hosting import at
from ..inspect.measuring import serving
from .hosting import run_hosted
from .units import amount, bit_rate, duration, plural

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from ..datagrams import Datagrams
    from ..endpoint import Endpoint
    from ..hosting import Hosted, Present
    from ..inspect.measuring.serving import Handler
    from ..inspect.measuring.session import Session
    from ..serving import Server
    from .hosting import Manner


def serve_bench(url: Endpoint, manner: Manner) -> None:
    """Until something ends it; says what each test came to."""
    tests = 0

    def open_service(hosted: Hosted) -> AbstractAsyncContextManager[Datagrams | Server]:
        def tell(session: Session, peer: str) -> None:
            nonlocal tests
            tests += 1
            told = _told(session, peer)
            if manner.as_json:
                click.echo(json.dumps({"event": "test", **told}))
            click.echo(_words(told), err=True)

        def around(handle: Handler) -> Handler:
            async def measured(connection: Any, _: Present) -> None:
                await handle(connection)

            return hosted.peers.handled(measured, "bench")

        return serving.serve_bench(url, tell, around)

    def hint(hosted: Hosted) -> str:
        return f"on the other side: socketkit bench {_quoted(str(hosted.local))}"

    run_hosted(open_service, at(url), manner, words=lambda hosted: f"served {plural(tests, 'test')}", hint=hint)


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
