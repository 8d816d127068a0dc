"""The socket table beside `ss -tanp`, `lsof -i -n -P` and psutil: up to 100,000 TCP sockets with their owners.

Eight processes hold the sockets, in a network namespace of their own (needs root), and that one alone is looked at, as
ss does. `cold` is a new table and its first look, for other programs the whole process; `refresh` is a later look of
the same table, `each entry` one whose entries are all made, too. CPU time is that of user and system together: wall
time depends on who else is at work. lsof and psutil are left out where they take too long, and named where they lack.

A target is for 100,000 sockets by BPF: cold 1/12 of `ss -tanp`, a refresh 1/40.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import Literal

from harness import OURS, print_machine, raise_descriptor_limit, table
from options import Options, need_root, positive

from socketkit._core import SocketTable

HOLDERS = 8
PAIRS_FOR_A_LISTENER = 4000
SLOW_SOCKETS = 20_000  # what lsof and psutil are asked for at most
PR_SET_PDEATHSIG = 1
CLONE_NEWNET = 0x40000000
TARGETS = {"cold": 1 / 12, "refresh": 1 / 40}


def hold(sockets: int) -> list[socket.socket]:
    held, pairs = [], sockets // 2
    while pairs > 0:
        listener = socket.create_server(("127.0.0.1", 0), backlog=16)
        held.append(listener)
        for _ in range(min(pairs, PAIRS_FOR_A_LISTENER)):
            held += [socket.create_connection(listener.getsockname()), listener.accept()[0]]
        pairs -= PAIRS_FOR_A_LISTENER
    return held


@contextmanager
def held(sockets: int) -> Iterator[None]:
    """That many, by several processes, which end with the block or with the bench."""
    reader, writer = os.pipe()
    pids = []
    try:
        for _ in range(HOLDERS):
            pid = os.fork()
            if not pid:
                ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
                with suppress(BaseException):
                    kept = hold(sockets // HOLDERS)
                    os.write(writer, b"." if kept else b"")
                    os.close(writer)
                    signal.pause()
                os._exit(1)
            pids.append(pid)
        os.close(writer)
        ready = b""
        while piece := os.read(reader, HOLDERS):
            ready += piece
        if len(ready) != HOLDERS:
            raise SystemExit(f"only {len(ready)} of {HOLDERS} processes could hold their sockets (ulimit -n)")
        yield
    finally:
        os.close(reader)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def seconds(work: Callable[[], object], who: int = resource.RUSAGE_SELF) -> tuple[float, float]:
    """What it took of the CPU, and of the clock."""
    used, begun = resource.getrusage(who), time.perf_counter()
    kept = work()
    wall, now = time.perf_counter() - begun, resource.getrusage(who)
    del kept
    return now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime, wall


def program(*command: str) -> tuple[float, float] | None:
    """None without such a program."""

    def run() -> object:
        return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)

    try:
        return seconds(run, resource.RUSAGE_CHILDREN)
    except (OSError, subprocess.CalledProcessError) as failure:
        print(f"{command[0]} is left out: {failure}")
        return None


def ours(source: Literal["bpf", "netlink"], rounds: int) -> dict[str, tuple[float, float]]:
    cold, later, each = [], [], []
    for _ in range(rounds):
        tables: list[SocketTable] = []

        def first(tables: list[SocketTable] = tables) -> object:
            tables.append(SocketTable(source=source, namespaces="own"))
            return tables[0].refresh()

        def every(tables: list[SocketTable] = tables) -> object:
            return list(tables[0].refresh())

        cold.append(seconds(first))
        later += [seconds(tables[0].refresh) for _ in range(3)]
        each.append(seconds(every))
    return {"cold": middle(cold), "refresh": middle(later), "each entry": middle(each)}


def middle(figures: list[tuple[float, float]]) -> tuple[float, float]:
    return statistics.median(cpu for cpu, _ in figures), statistics.median(wall for _, wall in figures)


def measured(sockets: int, rounds: int) -> list[list[str]]:
    figures: dict[str, tuple[float, float] | None] = {"ss -tanp": program("ss", "-tanp")}
    sources: tuple[Literal["bpf", "netlink"], ...] = ("bpf", "netlink")
    for source in sources:
        figures |= {f"{OURS} {source}, {look}": figure for look, figure in ours(source, rounds).items()}
    if sockets <= SLOW_SOCKETS:
        figures["lsof -i -n -P"] = program("lsof", "-i", "-n", "-P")
        if find_spec("psutil") is None:
            print("psutil is left out: `make setup-dev` installs it")
        else:
            figures["psutil"] = program(sys.executable, "-c", "import psutil; psutil.net_connections()")
    base = (figures["ss -tanp"] or (0.0, 0.0))[0]
    rows = []
    for name, figure in figures.items():
        if figure is None:
            continue
        cpu, wall = figure
        goal = TARGETS.get(name.rpartition(", ")[2]) if sockets == 100_000 and "bpf" in name else None
        verdict = "" if goal is None else ("reached" if cpu <= base * goal else "missed")
        share = f"1/{base / cpu:.1f}" if cpu else ""
        rows.append([f"{sockets:,}", name, f"{cpu * 1000:.1f}", f"{wall * 1000:.1f}", share, verdict])
    return rows


def main() -> None:
    parser = Options(__doc__, quick={"sockets": [1_000], "rounds": 1}, rounds=3)
    parser.add_argument("--sockets", type=positive, nargs="*", default=[1_000, 20_000, 100_000])
    arguments = parser.chosen()
    need_root("the table of all processes")
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        raise SystemExit("no network namespace of its own: " + os.strerror(ctypes.get_errno()))
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    raise_descriptor_limit()
    print_machine(None)
    rows = []
    for sockets in arguments.sockets:
        with held(sockets):
            rows += measured(sockets, arguments.rounds)
    print(table(["sockets", "program", "CPU ms", "wall ms", "of ss", "target"], rows))


if __name__ == "__main__":
    main()
