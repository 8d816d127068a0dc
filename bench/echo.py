"""Echo: messages per second, latency and CPU per message, by size, connections and peer.

One message is outstanding per connection. The ratios are medians over the rounds, each round's pair measured within
seconds of one another: `rate` is socketkit's messages/s by the peer's (above 1 is faster), `cpu` the peer's CPU time
per message by socketkit's (above 1 is cheaper).

    python bench/echo.py --sizes 1024 --connections 64 --peers socketkit,uvloop-protocol,c
    python bench/echo.py --quick
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

# Issue 2's targets for the rate, on plain asyncio.
FLOORS = {
    "uvloop-protocol": 1.0,
    "uvloop-streams": 1.6,
    "asyncio-streams": 2.2,
    "anyio": 3.0,
    "trio": 3.0,
    "c": 0.75,
}


def floor(peer: str, connections: int, size: int) -> float | None:
    if connections > 1 and size <= 1024:
        return FLOORS.get(peer)
    if peer != "uvloop-protocol":
        return None
    return 0.95 if size <= 1024 else 1.0


def print_cell(samples: Samples, connections: int, size: int) -> None:
    title = f"echo of {size:,} B on {connections:,} connection{'s' if connections > 1 else ''}"
    print_rates(samples, title, "messages", "msg", partial(floor, connections=connections, size=size))


def main() -> None:
    quick = {"sizes": "1024", "connections": "1,64", "rounds": 3}
    parser = Options(__doc__, quick=quick, servers=True, rounds=5, seconds=0.3)
    parser.numbers("--sizes", [64, 1024, 65536], unit="BYTES")
    parser.numbers("--connections", [1, 64, 1000])
    parser.add_argument("--spin", action="store_true", help="the load polls without sleeping; not with --one-core")
    options = parser.chosen()
    if options.spin and options.one_core:
        parser.error("--spin would take the core from the server")
    with bench(options) as (stack, cores):
        servers = start_all(stack, choose_peers(echo_peers(), options.peers), cores.server)
        for size in options.sizes:
            for connections in options.connections:
                samples = Samples()
                for order in rounds(servers, options.rounds):
                    for server in order:
                        load = partial(run_load, server, cores.load, "echo", options.seconds)
                        cell = partial(load, connections=connections, size=size, spin=options.spin)
                        samples.take(server.peer.name, cell)
                print_cell(samples, connections, size)


if __name__ == "__main__":
    main()
