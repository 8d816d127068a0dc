"""`socketkit bench` beside iperf3: two programs that measure the same must say the same.

TCP as fast as it goes, and UDP at a fixed rate in messages of the same size, both directions, interleaved in one run.
`rate` is what the receiver got. A ratio of 1 is the same figure. UDP's rate is low enough for both to lose nothing on
an idle machine, so what is compared there are rate, loss and jitter, not speed. Each figure is what the program itself
has printed as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

from harness import (
    OURS,
    Cores,
    Peer,
    PeerFailed,
    Samples,
    Server,
    bench,
    choose_peers,
    find_program,
    finished,
    free_port,
    python_peer,
    rounds,
    table,
    times,
    whole_seconds,
)
from options import Options

IPERF3 = "iperf3"
TRANSPORTS = ("tcp", "udp")


# ---- the peers ----


def server_of(name: str, transport: str) -> Peer:
    if name == OURS:
        return python_peer(name, "socketkit_bench", transport)
    port = free_port()
    return Peer(name, (find_program(IPERF3, IPERF3), "-s", "-B", "127.0.0.1", "-p", str(port)), port)


def client_of(name: str, transport: str, port: int, direction: str, options: argparse.Namespace) -> list[str]:
    common = ["-t", str(whole_seconds(options.seconds)), *["-R"] * (direction == "down")]
    if transport == "udp":
        common += ["-b", options.rate, "-l", str(options.size)]
    if name == OURS:
        return [sys.executable, "-m", "socketkit", "bench", "--json", *common, f"{transport}://127.0.0.1:{port}"]
    udp = ["-u", "-w", "4M"] * (transport == "udp")  # the buffers that socketkit asks for
    return [find_program(IPERF3, IPERF3), "-J", "-c", "127.0.0.1", "-p", str(port), *udp, *common]


def read_ours(said: dict[str, Any], direction: str) -> dict[str, float]:
    found = said[direction]
    return {
        "gbit": found["bits_per_second"] / 1e9,
        "lost_percent": 100 * (found["lost_fraction"] or 0),
        "jitter_us": 1e6 * (found["jitter_seconds"] or 0),
        "messages": found["messages"] or 0,
        "p99_us": 1e6 * said["latency"]["loaded"]["p99"],
    }


def read_iperf3(said: dict[str, Any], direction: str) -> dict[str, float]:
    end = said["end"]
    if "udp" not in end["streams"][0]:
        return {"gbit": end["sum_received"]["bits_per_second"] / 1e9, "messages": 0, "lost_percent": 0, "jitter_us": 0}
    found = end["sum"]
    came = found["packets"] - found["lost_packets"]
    size = said["start"]["test_start"]["blksize"]
    return {
        "gbit": came * size * 8 / found["seconds"] / 1e9,
        "lost_percent": found["lost_percent"],
        "jitter_us": 1e3 * found["jitter_ms"],
        "messages": came,
    }


READERS: dict[str, Callable[[dict[str, Any], str], dict[str, float]]] = {OURS: read_ours, IPERF3: read_iperf3}


# ---- what is measured ----


def run_client(
    server: Server, transport: str, direction: str, options: argparse.Namespace, core: int
) -> dict[str, float]:
    name = server.peer.name
    command = client_of(name, transport, server.port, direction, options)
    with server.alone():
        done = finished(command, core, options.seconds)
    if done.returncode:
        raise PeerFailed(f"{(done.stderr or done.stdout).decode().strip()[-200:]}; server: {server.why()}")
    return READERS[name](json.loads(done.stdout), direction)


def compare(transport: str, names: list[str], options: argparse.Namespace, cores: Cores) -> dict[str, Samples]:
    taken = {direction: Samples() for direction in ("up", "down")}
    with ExitStack() as stack:
        servers = []
        for name in names:
            try:
                servers.append(stack.enter_context(Server(server_of(name, transport), cores.server)))
            except PeerFailed as error:
                print(f"left out: {name}: {error}", flush=True)
            else:
                servers[-1].pause()
        for order in rounds(servers, options.rounds):
            for server in order:
                for direction, samples in taken.items():
                    run = partial(run_client, server, transport, direction, options, cores.load)
                    samples.take(server.peer.name, run)
    return taken


def print_samples(samples: Samples, title: str, of_messages: bool) -> None:
    rows = []
    for name in samples.by_peer:
        figures = [f"{samples.median(name, 'gbit'):.3f}", samples.spread(name, "gbit")]
        if of_messages:
            figures += [f"{samples.median(name, field):,.2f}" for field in ("messages", "lost_percent", "jitter_us")]
        rows.append([name, *figures, times(samples.ratio("gbit", OURS, name))])
    print(title)
    print(table(["peer", "Gbit/s", "", *["messages", "lost %", "jitter us"] * of_messages, "rate"], rows))
    print(flush=True)


def main() -> None:
    parser = Options(__doc__, quick={"rounds": 1, "seconds": 1.0}, servers=True, rounds=3, seconds=2.0)
    parser.add_argument("--rate", default="200M", help="of UDP (default %(default)s)")
    parser.number("--size", 1448, "of a UDP message", unit="BYTES")
    options = parser.chosen()
    names = [peer.name for peer in choose_peers([Peer(name, ()) for name in READERS], options.peers)]
    with bench(options) as (_, cores):
        for transport in TRANSPORTS:
            for direction, samples in compare(transport, names, options, cores).items():
                what = f"UDP at {options.rate} bit/s, {options.size:,} B" if transport == "udp" else "TCP"
                print_samples(samples, f"{what}, {direction}", transport == "udp")


if __name__ == "__main__":
    main()
