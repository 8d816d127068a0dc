"""Memory of an idle connection: the server's resident size with many open, less its size before, by connection.

Every connection has echoed one message, so that its handler exists and waits. The size before is taken after 64
connections have come and gone, so that what is loaded at the first use is not counted. The kernel's own memory for a
socket is the same for all and not in it.
"""

from __future__ import annotations

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
    echo_peers,
    hold,
    raise_descriptor_limit,
    run_load,
    table,
    times,
)
from options import Options

FLOORS = {"asyncio-streams": 2.0}  # half of its memory
DESCRIPTORS_SPARE = 64


def measure(peer: Peer, cores: Cores, connections: int, size: int) -> dict[str, float]:
    with Server(peer, cores.server) as server:
        run_load(server, cores.load, "echo", 0.1, connections=64, size=size)
        return hold(server, cores.load, "idle", connections, size=size)


def row(samples: Samples, name: str) -> list[str]:
    ratio = samples.ratio("each", OURS, name)
    smaller = 1 / ratio if ratio else None
    sizes = [f"{samples.median(name, field) / 2**20:.1f}" for field in ("before", "opened", "after")]
    return [
        name,
        *sizes,
        f"{samples.median(name, 'each'):,.0f}",
        times(smaller),
        against_floor(smaller, FLOORS.get(name)),
    ]


def main() -> None:
    parser = Options(__doc__, quick={"connections": 500}, servers=True)
    parser.number("--connections", 10_000)
    parser.number("--size", 64, "the one message", unit="BYTES")
    options = parser.chosen()
    connections = min(options.connections, raise_descriptor_limit() - DESCRIPTORS_SPARE)
    samples = Samples()
    with bench(options) as (_, cores):
        for peer in choose_peers(echo_peers(), options.peers):
            samples.take(peer.name, partial(measure, peer, cores, connections, options.size))
    print(f"{connections:,} idle connections, after one echo of {options.size:,} B on each")
    header = ["peer", "before MiB", "open MiB", "closed MiB", "bytes/connection", "socketkit smaller", "target"]
    print(table(header, [row(samples, name) for name in samples.by_peer]))


if __name__ == "__main__":
    main()
