"""Connections per second: connect, echo one message, close, with a number of them in flight.

The load leaves from 64 loopback addresses, because one runs out of ports (TIME_WAIT) within seconds. Ratios as in
echo.py: above 1, socketkit is faster (`rate`) or cheaper (`cpu`).
"""

from __future__ import annotations

from functools import partial

from harness import (
    Samples,
    bench,
    choose_peers,
    echo_peers,
    print_rates,
    rounds,
    run_load,
    start_all,
)
from options import Options

FLOORS = {"uvloop-protocol": 1.0, "uvloop-streams": 1.7}


def main() -> None:
    parser = Options(__doc__, quick={"rounds": 1, "seconds": 0.2}, servers=True, rounds=5, seconds=0.5)
    parser.number("--in-flight", 64)
    parser.number("--size", 64, unit="BYTES")
    options = parser.chosen()
    with bench(options) as (stack, cores):
        servers = start_all(stack, choose_peers(echo_peers(), options.peers), cores.server)
        samples = Samples()
        for order in rounds(servers, options.rounds):
            for server in order:
                churn = partial(run_load, server, cores.load, "churn", options.seconds)
                samples.take(server.peer.name, partial(churn, connections=options.in_flight, size=options.size))
        title = f"connect + echo of {options.size:,} B + close, {options.in_flight} in flight"
        print_rates(samples, title, "connections", "conn", FLOORS.get)


if __name__ == "__main__":
    main()
