"""UDP: packets/s of echoes and of receiving, beside asyncio, uvloop, anyio, a blocking loop, and C with recvmmsg.

`echo`: a closed loop with 64 datagrams on the way, from one source or one from each of 64. `trains`: from one source,
50 segments that leave in one call (GSO) and come as one where the receiver takes that (GRO). `oneway`: an open loop at
the rate at which asyncio loses 85 %; `sweep`: rates from low to high, and the highest at which nothing is lost. Rows
called -batch use receive_many and send_many, the others await each datagram. All sockets have the same receive buffer.

Ratios are the row's to the peer's that heads the column, median of the rounds' pairs: of the rate, or, as `cpu`, of the
peer's CPU time by packet to the row's; above 1 is faster, or cheaper. The targets stand together at the end: they are
of rates, which say nothing where `waited` is high; the CPU time still does.

    python bench/datagrams.py --tables echo --sizes 64 --sources 1 --peers socketkit,uvloop,c
    python bench/datagrams.py --long
"""

from __future__ import annotations

import argparse
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from harness import (
    Cores,
    Peer,
    Samples,
    Server,
    against_floor,
    bench,
    build,
    choose_peers,
    free_port,
    python_peer,
    rounds,
    run_load,
    start_all,
    table,
    times,
)
from options import Options, positive

TABLES = ("echo", "trains", "oneway", "sweep")
BASELINES = ("uvloop", "c")
ON_THE_WAY = 64
WARMUP_SECONDS = 0.05  # long enough for the receiver's queue to be full where it will be
TRAIN_BYTES, TRAIN_SEGMENTS, TRAINS = 1200, 50, 4
OVERLOAD_LOSS = 0.85  # asyncio's, at the rate of the table oneway
FLOOD = 1_000_000  # packets/s; more than a core of load can send
SWEEP = (25_000, 50_000, 100_000, 150_000, 200_000, 250_000, 300_000)
NO_LOSS = 0.001
# Issue 4's targets: (table, row, against): of rates.
FLOORS = {
    ("echo", "socketkit", "uvloop"): 1.2,
    ("echo", "socketkit-batch", "uvloop"): 1.6,
    ("echo", "socketkit-batch", "c"): 0.95,
    ("trains", "socketkit-batch", "uvloop"): 9.0,
    ("trains", "socketkit-batch", "c-gro"): 0.6,
    ("oneway", "socketkit-batch", "c"): 0.9,
}


# ---- the peers ----


def udp_peer(name: str, script: str, *arguments: str) -> Peer:
    return python_peer(name, script, *arguments, load="load_udp")


def c_peer(name: str, mode: str) -> Peer:
    return Peer(name, (build("echo_udp"), mode), load="load_udp")


def unconnected(*also: str) -> list[Peer]:
    return [
        udp_peer("socketkit", "socketkit_udp", *also),
        udp_peer("socketkit-uvloop", "socketkit_udp", "--uvloop", *also),
        udp_peer("socketkit-batch", "socketkit_udp", "--batch", *also),
        udp_peer("socketkit-batch-uvloop", "socketkit_udp", "--batch", "--uvloop", *also),
        udp_peer("socketkit-sync", "socketkit_udp_sync", *also),
        udp_peer("uvloop", "asyncio_datagram", "--uvloop", *also),
        udp_peer("asyncio", "asyncio_datagram", *also),
        udp_peer("anyio", "anyio_udp", *also),
        udp_peer("anyio-uvloop", "anyio_udp", "--uvloop", *also),
        udp_peer("blocking", "blocking_udp", *also),
    ]


def connected(port: int) -> list[Peer]:
    """They speak with one source only, which they have to know."""
    return [
        udp_peer("socketkit-connected", "socketkit_udp", "--peer", str(port)),
        udp_peer("anyio-connected", "anyio_udp", "--peer", str(port)),
    ]


ONLY_IN_LONG = ("anyio-uvloop",)
IN_TRAINS = ("socketkit", "socketkit-batch", "socketkit-batch-uvloop", "uvloop", "asyncio", "c", "c-gro")
IN_SWEEP = ("socketkit", "socketkit-batch", "uvloop", "asyncio", "c")


# ---- what is measured ----


@dataclass
class Bench:
    options: argparse.Namespace
    cores: Cores
    port: int  # of the first source
    verdicts: list[list[str]] = field(default_factory=list)

    def start(self, stack: ExitStack, peers: Sequence[Peer]) -> list[Server]:
        wanted = self.options.peers or [peer.name for peer in peers]
        if not self.options.peers and not self.options.long:
            wanted = [name for name in wanted if name not in ONLY_IN_LONG]
        return start_all(stack, [peer for peer in peers if peer.name in wanted], self.cores.server)

    def load(self, server: Server, mode: str, **more: Any) -> dict[str, float]:
        return run_load(server, self.cores.load, mode, self.options.seconds, warmup=WARMUP_SECONDS, **more)

    def interleaved(self, servers: Sequence[Server], count: int, mode: str, **more: Any) -> Samples:
        samples = Samples()
        for order in rounds(servers, count):
            for server in order:
                port = self.port if server.peer.name.endswith("-connected") else 0
                samples.take(server.peer.name, partial(self.load, server, mode, **{"from": port}, **more))
        return samples

    def judge(self, table: str, what: str, samples: Samples) -> None:
        for (of, row, other), floor in FLOORS.items():
            if of == table:
                ratio = samples.ratio("messages_per_second", row, other)
                cpu = samples.ratio("cpu_us_per_message", other, row)
                waited = max(samples.median(name, "waited") for name in (row, other)) if ratio else 0.0
                verdict = against_floor(ratio, floor) or "-"
                cells = [times(ratio), times(cpu), f"{100 * waited:.0f}%", verdict]
                self.verdicts.append([f"{what}: {row} to {other}", *cells])

    def cells(self) -> list[tuple[int, int]]:
        return [(size, sources) for size in self.options.sizes for sources in self.options.sources]

    # ---- the tables ----

    def echo(self) -> None:
        peers = [*unconnected(), *connected(self.port), c_peer("c", "batch")]
        with ExitStack() as stack:
            servers = self.start(stack, peers)
            for size, sources in self.cells():
                fit = [one for one in servers if sources == 1 or not one.peer.name.endswith("-connected")]
                each = max(1, ON_THE_WAY // sources)
                samples = self.interleaved(
                    fit, self.options.rounds, "echo", size=size, sources=sources, window=each, spin=self.options.spin
                )
                title = f"echo of {size:,} B, {from_sources(sources)}, {each} on the way from each"
                print_cell(title, samples, echo_row, ECHO_HEADER, BASELINES)
                self.judge("echo", f"echo of {size:,} B, {from_sources(sources)}", samples)

    def trains(self) -> None:
        peers = [*unconnected(), c_peer("c", "batch"), c_peer("c-gro", "gro")]
        with ExitStack() as stack:
            servers = self.start(stack, [peer for peer in peers if peer.name in IN_TRAINS])
            samples = self.interleaved(
                servers,
                self.options.rounds,
                "echo",
                size=TRAIN_BYTES,
                segments=TRAIN_SEGMENTS,
                window=TRAINS,
                spin=self.options.spin,
            )
        title = f"echo of {TRAIN_BYTES:,} B, from one source, {TRAINS} trains of {TRAIN_SEGMENTS} on the way"
        print_cell(title, samples, echo_row, ECHO_HEADER, (*BASELINES, "c-gro"))
        self.judge("trains", f"trains of {TRAIN_SEGMENTS} x {TRAIN_BYTES:,} B", samples)

    def oneway(self) -> None:
        with ExitStack() as stack:
            servers = self.start(stack, [*unconnected("--sink"), c_peer("c", "sink")])
            for size, sources in self.cells():
                rate = self.overload(servers, size, sources)
                samples = self.interleaved(
                    servers, self.options.rounds, "oneway", size=size, sources=sources, rate=rate
                )
                title = f"receiving {size:,} B, {from_sources(sources)}, at {rate:,} packets/s"
                print_cell(title, samples, oneway_row, ONEWAY_HEADER, BASELINES)
                self.judge("oneway", f"receiving {size:,} B, {from_sources(sources)}, at {rate:,}/s", samples)

    def overload(self, servers: Sequence[Server], size: int, sources: int) -> int:
        """The rate at which asyncio loses OVERLOAD_LOSS: it takes as many as when it is flooded."""
        if self.options.rate:
            return int(self.options.rate)
        asyncio = [server for server in servers if server.peer.name == "asyncio"]
        samples = self.interleaved(asyncio, 1, "oneway", size=size, sources=sources, rate=FLOOD)
        if "asyncio" not in samples.by_peer:
            return FLOOD
        taken = samples.median("asyncio", "messages_per_second")
        return round(taken / (1 - OVERLOAD_LOSS) / RATE_STEP + 0.5) * RATE_STEP

    def sweep(self) -> None:
        size, sources = self.options.sizes[0], self.options.sources[0]
        with ExitStack() as stack:
            peers = [*unconnected("--sink"), c_peer("c", "sink")]
            servers = self.start(stack, [peer for peer in peers if self.options.long or peer.name in IN_SWEEP])
            by_rate = {
                rate: self.interleaved(
                    servers, self.options.sweep_rounds, "oneway", size=size, sources=sources, rate=rate
                )
                for rate in self.options.rates
            }
        names = [one.peer.name for one in servers if all(one.peer.name in each.by_peer for each in by_rate.values())]
        print(f"loss when receiving {size:,} B, {from_sources(sources)}, by packets/s")
        header = ["peer", *(f"{rate:,}" for rate in by_rate), "none up to"]
        print(table(header, [sweep_row(name, by_rate) for name in names]), end="\n\n", flush=True)


RATE_STEP = 10_000


def from_sources(count: int) -> str:
    return "from one source" if count == 1 else f"from {count:,} sources"


# ---- what is printed ----

Row = Callable[[Samples, str], list[str]]


def print_cell(title: str, samples: Samples, row: Row, header: Sequence[str], against: Sequence[str]) -> None:
    print(title)
    ratios = [f"{what} {name}" for name in against for what in ("x", "cpu")]
    rows = [[*row(samples, name), *against_all(samples, name, against)] for name in samples.by_peer]
    print(table([*header, *ratios], rows), end="\n\n", flush=True)


def against_all(samples: Samples, name: str, against: Sequence[str]) -> list[str]:
    cells = []
    for other in against:
        cpu = samples.ratio("cpu_us_per_message", name, other)
        cells += [times(samples.ratio("messages_per_second", name, other)), times(1 / cpu if cpu else None)]
    return cells


ECHO_HEADER = ("peer", "packets/s", "", "p50 us", "p99 us", "CPU us/pkt", "", "busy", "waited", "lost", "errors")


def echo_row(samples: Samples, name: str) -> list[str]:
    rate, cpu = samples.median(name, "messages_per_second"), samples.median(name, "cpu_us_per_message")
    return [
        name,
        f"{rate:,.0f}",
        samples.spread(name, "messages_per_second"),
        f"{samples.median(name, 'p50_us'):,.0f}",
        f"{samples.median(name, 'p99_us'):,.0f}",
        f"{cpu:.2f}",
        samples.spread(name, "cpu_us_per_message"),
        f"{rate * cpu / 1e4:.0f}%",
        f"{100 * samples.median(name, 'waited'):.0f}%",
        f"{samples.total(name, 'lost'):.0f}",
        f"{samples.total(name, 'errors'):.0f}",
    ]


ONEWAY_HEADER = ("peer", "sent/s", "received/s", "", "loss", "vanished", "CPU us/pkt", "", "busy", "waited", "errors")


def oneway_row(samples: Samples, name: str) -> list[str]:
    rate, cpu = samples.median(name, "messages_per_second"), samples.median(name, "cpu_us_per_message")
    return [
        name,
        f"{samples.median(name, 'sent_per_second'):,.0f}",
        f"{rate:,.0f}",
        samples.spread(name, "messages_per_second"),
        percent(samples.median(name, "loss")),
        f"{samples.total(name, 'vanished'):.0f}",
        f"{cpu:.2f}",
        samples.spread(name, "cpu_us_per_message"),
        f"{rate * cpu / 1e4:.0f}%",
        f"{100 * samples.median(name, 'waited'):.0f}%",
        f"{samples.total(name, 'errors'):.0f}",
    ]


def sweep_row(name: str, by_rate: dict[int, Samples]) -> list[str]:
    # A rate counts as what was sent: above its own limit, the load sends less than it was asked for.
    losses = {rate: samples.median(name, "loss") for rate, samples in by_rate.items()}
    best = 0.0
    for rate, samples in by_rate.items():
        if losses[rate] >= NO_LOSS:
            break
        best = max(best, samples.median(name, "sent_per_second"))
    return [name, *map(percent, losses.values()), f"{best:,.0f}"]


def percent(share: float) -> str:
    return "0" if share == 0 else f"{100 * share:.2g}%" if share < 0.1 else f"{100 * share:.0f}%"


def main() -> None:
    quick = {"rounds": 1, "rates": "50000,200000"}
    parser = Options(__doc__, quick=quick, tables=TABLES, servers=True, rounds=3, seconds=0.1)
    parser.numbers("--sizes", [64, 1200], unit="BYTES")
    parser.numbers("--sources", [1, 64])
    parser.add_argument("--rate", type=positive, metavar="N", help="of oneway; else where asyncio loses 85 %%")
    parser.numbers("--rates", SWEEP, "of the sweep")
    parser.number("--sweep-rounds", 1)
    parser.add_argument("--spin", action="store_true", help="the load polls without sleeping; not with --one-core")
    parser.form("--long", {"rounds": 7, "seconds": 0.5, "sweep_rounds": 3})  # and the sweep with all peers
    options = parser.chosen()
    if options.one_core and (options.spin or {"oneway", "sweep"} & {*options.tables}):
        parser.error("a load that polls would take the core from the server: only --tables echo,trains on one core")
    build("load_udp"), build("echo_udp")
    choose_peers([*unconnected(), *connected(0), c_peer("c", "batch"), c_peer("c-gro", "gro")], options.peers)
    with bench(options) as (_, cores):
        run = Bench(options, cores, free_port(socket.SOCK_DGRAM))
        for name in options.tables:
            getattr(run, name)()
        if run.verdicts:
            print("targets")
            print(table(["", "rate", "cpu", "waited", "target"], run.verdicts))


if __name__ == "__main__":
    main()
