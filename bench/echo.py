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
    against_floor,
    arguments,
    bench,
    choose_peers,
    echo_peers,
    integers,
    rounds,
    run_load,
    start_all,
    table,
    times,
)

OURS = "socketkit"
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
    rows = []
    for name in samples.by_peer:
        ratio = samples.ratio("messages_per_second", OURS, name)
        cpu = samples.ratio("cpu_us_per_message", OURS, name)
        busy = samples.median(name, "messages_per_second") * samples.median(name, "cpu_us_per_message") / 1e4
        rows.append(
            [
                name,
                f"{samples.median(name, 'messages_per_second'):,.0f}",
                samples.spread(name, "messages_per_second"),
                f"{samples.median(name, 'p50_us'):,.0f}",
                f"{samples.median(name, 'p99_us'):,.0f}",
                f"{samples.median(name, 'cpu_us_per_message'):.2f}",
                samples.spread(name, "cpu_us_per_message"),
                f"{busy:.0f}%",
                f"{100 * samples.median(name, 'waited'):.0f}%",
                f"{samples.median(name, 'rss_bytes') / 2**20:.0f}",
                f"{samples.total(name, 'errors'):.0f}",
                times(ratio),
                times(1 / cpu if cpu else None),
                against_floor(ratio, floor(name, connections, size)),
            ]
        )
    print(f"echo of {size:,} B on {connections:,} connection{'s' if connections > 1 else ''}")
    header = ["peer", "messages/s", "", "p50 us", "p99 us", "CPU us/msg", "", "busy", "waited", "RSS MiB", "errors"]
    print(table([*header, "rate", "cpu", "target"], rows), end="\n\n", flush=True)


def main() -> None:
    parser = arguments(__doc__, seconds=0.3, count=5)
    parser.add_argument("--sizes", type=integers, default=[64, 1024, 65536], metavar="BYTES,..")
    parser.add_argument("--connections", type=integers, default=[1, 64, 1000], metavar="N,..")
    parser.add_argument("--spin", action="store_true", help="the load polls without sleeping; not with --one-core")
    parser.add_argument("--quick", action="store_true", help="1 KiB on 1 and 64 connections, 3 rounds")
    options = parser.parse_args()
    if options.quick:  # what is written out beside it still counts
        parser.set_defaults(sizes=[1024], connections=[1, 64], rounds=3)
        options = parser.parse_args()
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
