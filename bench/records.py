"""Records over TLS beside websockets, and over TCP beside pyzmq: messages/s, and CPU time for each.

Echoes on one connection and on many, with several records on their way on each, and one way on one. The load is the
library's own client: its share is as large as the server's, and `load us` says how large. `socketkit` sends and
receives many at a time (`send_many`, `receive_many`), which the others do not offer; `socketkit-single` one after the
other. websockets runs without compression, pyzmq blocking and with its coroutines. Ratios as in echo.py.

    python bench/records.py --tables tls --sizes 100 --connections 1,64
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from harness import (
    OURS,
    Cores,
    Peer,
    Samples,
    Server,
    against_floor,
    bench,
    choose_peers,
    installed,
    python_peer,
    rounds,
    run_command,
    start_all,
    table,
    times,
)
from options import Options
from tls import Material, material

# Issue 4's targets, at 100 B.
FLOORS = {"tls": {"websockets": 3.0}, "tcp": {"pyzmq": 2.0, "pyzmq-asyncio": 2.0}}
FLOOR_BYTES = 100


def peers(carrier: str, made: Material) -> list[Peer]:
    if carrier == "tls":
        pem = ("--tls", str(made.pem))
        return [
            python_peer("socketkit", "records_socketkit", *pem),
            python_peer("socketkit-single", "records_socketkit", *pem, "--single"),
            python_peer("websockets", "records_websockets", *pem),
        ]
    return [
        python_peer("socketkit", "records_socketkit"),
        python_peer("socketkit-single", "records_socketkit", "--single"),
        python_peer("pyzmq", "records_pyzmq"),
        python_peer("pyzmq-asyncio", "records_pyzmq", "--asyncio"),
    ]


def one_way(peer: Peer) -> Peer:
    """The same, whose server counts instead of answering."""
    return Peer(peer.name, (*peer.command, "--one-way", "yes"))


def measured(server: Server, core: int, seconds: float, size: int, connections: int, flying: int) -> dict[str, float]:
    shape = {"size": size, "connections": connections, "in-flight": flying, "seconds": seconds}
    options = [word for name, value in shape.items() for word in (f"--{name}", str(value))]
    command = [*server.peer.command, "--port", str(server.port), "--cpu-of", str(server.process.pid), *options]
    return run_command(server, core, command, seconds)


def compare(
    title: str, chosen: list[Peer], cores: Cores, seconds: float, count: int, shape: tuple[int, int, int]
) -> Samples:
    samples = Samples()
    with ExitStack() as stack:
        servers = start_all(stack, chosen, cores.server)
        for order in rounds(servers, count):
            for server in order:
                samples.take(server.peer.name, partial(measured, server, cores.load, seconds, *shape))
    floors = FLOORS["tls" if "TLS" in title else "tcp"] if shape[0] == FLOOR_BYTES else {}
    header = ["peer", "messages/s", "", "CPU us/msg", "", "load us/msg", "waited", "rate", "cpu", "target"]
    print(title)
    print(table(header, [row(samples, name, floors.get(name)) for name in samples.by_peer]), end="\n\n", flush=True)
    return samples


def row(samples: Samples, name: str, floor: float | None) -> list[str]:
    ratio = samples.ratio("messages_per_second", OURS, name)
    cheaper = samples.ratio("cpu_us_per_message", OURS, name)
    return [
        name,
        f"{samples.median(name, 'messages_per_second'):,.0f}",
        samples.spread(name, "messages_per_second"),
        f"{samples.median(name, 'cpu_us_per_message'):.2f}",
        samples.spread(name, "cpu_us_per_message"),
        f"{samples.median(name, 'load_us_per_message'):.2f}",
        f"{100 * samples.median(name, 'waited'):.0f}%",
        times(ratio),
        times(1 / cheaper if cheaper else None),
        against_floor(ratio, floor),
    ]


def main() -> None:
    quick = {"sizes": "100", "rounds": 1}
    parser = Options(__doc__, quick=quick, tables=FLOORS, servers=True, rounds=2, seconds=0.25)
    parser.numbers("--sizes", [100, 16_384], unit="BYTES")
    parser.numbers("--connections", [1, 64], "echoes")
    parser.number("--in-flight", 16, "on each connection", unit="K")
    parser.add_argument("--no-one-way", action="store_true", help="echoes only")
    options = parser.chosen()
    with bench(options) as (stack, cores):
        print(f"websockets {installed('websockets')}, pyzmq {installed('pyzmq')}\n", flush=True)
        made = stack.enter_context(material("ed25519", 0))
        known = {name: peers(name, made) for name in FLOORS}
        choose_peers([peer for each in known.values() for peer in each], options.peers)  # an unknown name ends it here
        for name in options.tables:
            chosen = [peer for peer in known[name] if not options.peers or peer.name in options.peers]
            over = "TLS" if name == "tls" else "TCP"
            measure = partial(compare, cores=cores, seconds=options.seconds, count=options.rounds)
            for size in options.sizes:
                for connections in options.connections:
                    on = "one connection" if connections == 1 else f"{connections:,} connections"
                    title = f"echo of {size:,} B over {over} on {on}, {options.in_flight} on their way on each"
                    measure(title, chosen, shape=(size, connections, options.in_flight))
                if not options.no_one_way:
                    title = f"one way, {size:,} B over {over} on one connection"
                    measure(title, [one_way(peer) for peer in chosen], shape=(size, 1, options.in_flight))


if __name__ == "__main__":
    main()
