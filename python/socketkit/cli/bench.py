"""`socketkit bench`: how much a connection carries, and how long a message takes meanwhile."""

from __future__ import annotations

import json
from errno import ECONNREFUSED, ENOENT
from typing import TYPE_CHECKING, Any

import click

from ..endpoint import Endpoint
from ..errors import ConnectError, EndpointError
from .units import parsed_bit_rate

if TYPE_CHECKING:
    from ..inspect.measuring.measurement import Measurement

EPILOG = """\b
On the other side: socketkit serve bench ADDRESS. It prints what to write here.

\b
Examples:
  socketkit bench tcp://localhost:5201
  socketkit bench -R -P 4 'tls://nas.example:5201'
  socketkit bench -b 100M 'udp://nas.example:5201?plaintext=yes'
  socketkit bench --self unix://@quick
  socketkit bench --json tcp://localhost:5201 | jq .up.bits_per_second

\b
What is printed is what arrives. Latency is that of small messages on a connection of their own,
a hundred in a second, idle before the test and while it runs. UDP gives way to nobody, so it is
sent at 1 Mbit/s unless -b says more; all else is sent as fast as it goes.
Ctrl-C prints what is known so far.
"""


@click.command("bench", epilog=EPILOG)
@click.argument("url")
@click.option("-t", "--time", "seconds", type=float, default=10.0, show_default=True, metavar="SECONDS")
@click.option("-R", "--reverse", is_flag=True, help="Measure from there to here.")
@click.option("--both", is_flag=True, help="Measure both directions at the same time.")
@click.option("-P", "--parallel", "flows", type=int, default=1, metavar="N", help="Connections in each direction.")
@click.option("-l", "--length", "message_bytes", type=int, metavar="BYTES", help="Size of a message, or of a send.")
@click.option("-b", "--rate", metavar="RATE", help="Bits per second of each connection: 10M, 2.5G; 0 is no limit.")
@click.option("--warm-up", "warm_up_seconds", type=float, default=0.0, metavar="SECONDS", help="Run before counting.")
@click.option("--self", "alone", is_flag=True, help="Be the other side, too: a quick look at this machine.")
@click.option("--json", "as_json", is_flag=True, help="At the end, print the result to stdout as JSON.")
def command(url: str, rate: str | None, reverse: bool, both: bool, alone: bool, as_json: bool, **given: Any) -> None:
    """Measure throughput, loss, jitter, and latency under load.

    The other side is `socketkit serve bench`, at the same kind of address.
    """
    from .running import run

    endpoint = Endpoint.parse(url)
    if endpoint.scheme == "mem" and not alone:
        raise EndpointError("mem:// reaches nobody outside this process", url, 0, "add --self, or bench unix://@name")
    run(_bench(endpoint, _measurement(endpoint, rate, reverse, both, given), alone=alone, as_json=as_json))


def _measurement(endpoint: Endpoint, rate: str | None, reverse: bool, both: bool, given: dict[str, Any]) -> Measurement:
    from ..inspect.measuring.carriers import usual_rate
    from ..inspect.measuring.measurement import Measurement
    from ..inspect.measuring.plan import Plan

    fit = given["message_bytes"] is None
    if fit:
        del given["message_bytes"]
    try:
        bits_per_second = usual_rate(endpoint) if rate is None else parsed_bit_rate(rate)
        plan = Plan(up=both or not reverse, down=both or reverse, bits_per_second=bits_per_second, **given)
    except ValueError as fault:
        raise click.UsageError(str(fault), click.get_current_context()) from None
    return Measurement(endpoint, plan, fit=fit)


async def _bench(endpoint: Endpoint, measurement: Measurement, *, alone: bool, as_json: bool) -> None:
    from contextlib import AsyncExitStack

    from .bench_screen import Screen

    async with AsyncExitStack() as stack:
        if alone:
            from ..inspect.measuring.serving import serve_bench

            measurement.endpoint = (await stack.enter_async_context(serve_bench(endpoint))).local
        try:
            if as_json:
                await measurement.run()
            else:
                with Screen(measurement) as screen:
                    await measurement.run(screen.tell)
        except ConnectError as failure:
            if failure.errno in (ECONNREFUSED, ENOENT):
                raise click.ClickException(f"{failure}; start `socketkit serve bench` there") from failure
            raise
        finally:
            if as_json and measurement.report.begun:
                click.echo(json.dumps(measurement.report.to_json()))
