"""Connections per second: connect, echo one message, close, with a number of them in flight.

The load leaves from 64 loopback addresses, because one runs out of ports (TIME_WAIT) within seconds. Ratios as in
echo.py: above 1, socketkit is faster (`rate`) or cheaper (`cpu`).
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
    rounds,
    run_load,
    start_all,
    table,
    times,
)

OURS = "socketkit"
FLOORS = {"uvloop-protocol": 1.0, "uvloop-streams": 1.7}  # issue 2


def main() -> None:
    parser = arguments(__doc__, seconds=0.5, count=5)
    parser.add_argument("--in-flight", type=int, default=64, metavar="K")
    parser.add_argument("--size", type=int, default=64, metavar="BYTES")
    options = parser.parse_args()
    with bench(options) as (stack, cores):
        servers = start_all(stack, choose_peers(echo_peers(), options.peers), cores.server)
        samples = Samples()
        for order in rounds(servers, options.rounds):
            for server in order:
                churn = partial(run_load, server, cores.load, "churn", options.seconds)
                samples.take(server.peer.name, partial(churn, connections=options.in_flight, size=options.size))
        print(f"connect + echo of {options.size:,} B + close, {options.in_flight} in flight")
        print(table(HEADER, [row(samples, name) for name in samples.by_peer]))


HEADER = [
    *("peer", "connections/s", "", "p50 us", "p99 us", "CPU us/conn", "", "busy", "waited", "errors"),
    *("rate", "cpu", "target"),
]


def row(samples: Samples, name: str) -> list[str]:
    rate, cpu = samples.median(name, "messages_per_second"), samples.median(name, "cpu_us_per_message")
    ratio = samples.ratio("messages_per_second", OURS, name)
    cheaper = samples.ratio("cpu_us_per_message", OURS, name)
    return [
        name,
        f"{rate:,.0f}",
        samples.spread(name, "messages_per_second"),
        f"{samples.median(name, 'p50_us'):,.0f}",
        f"{samples.median(name, 'p99_us'):,.0f}",
        f"{cpu:.1f}",
        samples.spread(name, "cpu_us_per_message"),
        f"{rate * cpu / 1e4:.0f}%",
        f"{100 * samples.median(name, 'waited'):.0f}%",
        f"{samples.total(name, 'errors'):.0f}",
        times(ratio),
        times(1 / cheaper if cheaper else None),
        against_floor(ratio, FLOORS.get(name)),
    ]


if __name__ == "__main__":
    main()
