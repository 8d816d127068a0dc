"""`socketkit ping` and `trace` beside ping, fping, traceroute and mtr, in network namespaces of their own (needs root).

A sweep: 250 addresses behind one wire are asked once. A trace: three routers between two hosts, each asked once by its
own program. `all` is the time of the whole process, `work` what the program itself took after it had started: what
socketkit says of itself, for the others `all`, less what they take to start (their time for `--version`). `over rtt`
is `work` less one round trip, which `ping` measures. ICMP errors are not limited.

A target is for `over rtt`: 200 ms for the sweep, 50 ms for the trace.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from harness import OURS, PeerFailed, Samples, find_program, print_machine, rounds, table, times
from options import Options, need_root

HOSTS = [f"10.89.0.{last}" for last in range(2, 252)]
FAR = "10.89.3.2"
LIMIT_SECONDS = 60
TARGETS_MS = {"sweep": 200.0, "trace": 50.0}
WORK = Path(__file__).resolve().parent.parent
SOCKETKIT = (sys.executable, "-m", "socketkit")


def peers() -> dict[str, dict[str, Callable[[], list[str]]]]:
    """The commands by subject and name; a program that is not there raises PeerFailed."""
    return {
        "sweep": {
            OURS: lambda: [*SOCKETKIT, "ping", "--json", "-c", "1", *HOSTS],
            "fping": lambda: [find_program("fping", "fping"), "-q", "-c", "1", *HOSTS],
            "fping -i 1": lambda: [find_program("fping", "fping"), "-q", "-c", "1", "-i", "1", *HOSTS],
            "ping, 250 at once": lambda: ["sh", "-c", many(find_program("ping", "iputils-ping"))],
        },
        "trace": {
            OURS: lambda: [*SOCKETKIT, "trace", "--json", "-n", "-c", "1", FAR],
            "socketkit --icmp": lambda: [*SOCKETKIT, "trace", "--json", "-n", "-c", "1", "--icmp", FAR],
            "socketkit --tcp": lambda: [*SOCKETKIT, "trace", "--json", "-n", "-c", "1", "--tcp", FAR],
            "traceroute": lambda: [find_program("traceroute", "traceroute"), "-n", "-q", "1", FAR],
            "mtr": lambda: [find_program("mtr", "mtr-tiny"), "-n", "-r", "-c", "1", FAR],
        },
    }


def many(ping: str) -> str:
    return f"for host in {' '.join(HOSTS)}; do {ping} -q -c 1 $host > /dev/null & done; wait"


def run(namespace: str, command: list[str]) -> tuple[float, str]:
    """Its wall time in seconds, and what it printed."""
    begun = time.perf_counter()
    try:
        done = subprocess.run(
            ["ip", "netns", "exec", namespace, *command],
            env=os.environ | {"PYTHONPATH": str(WORK / "python")},
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
        )
    except subprocess.TimeoutExpired as failure:
        raise PeerFailed(f"it took more than {LIMIT_SECONDS} s") from failure
    if done.returncode:
        raise PeerFailed((done.stderr or done.stdout).strip()[-200:])
    return time.perf_counter() - begun, done.stdout


def measure(namespace: str, name: str, command: list[str]) -> dict[str, float]:
    took, printed = run(namespace, command)
    if name.startswith(OURS):
        return {"all": took, "work": json.loads(printed.splitlines()[-1])["seconds"]}
    start = ["sh", "-c", "true"] if command[0] == "sh" else [command[0], "--version"]
    return {"all": took, "work": max(0.0, took - run(namespace, start)[0])}


def round_trip(namespace: str, host: str) -> float:
    """Seconds: the median that ping measures."""
    _, printed = run(namespace, [find_program("ping", "iputils-ping"), "-c", "5", "-i", "0.2", host])
    return statistics.median(
        float(line.split("time=")[1].split()[0]) / 1e3 for line in printed.splitlines() if "time=" in line
    )


@contextmanager
def chain(routers: int, delay_ms: int) -> Iterator[str]:
    """Hosts in a row; the name of the first one's namespace. What comes back to it is late by `delay_ms`."""
    spaces = [f"sk-bench-{os.getpid()}-{number}" for number in range(routers + 2)]
    try:
        for space in spaces:
            ip(f"netns add {space}")
            ip("link set lo up", space)
            within(space, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1", "net.ipv4.icmp_ratelimit=0")
            within(space, "sysctl", "-q", "-w", "net.ipv4.icmp_ratemask=0", "net.ipv4.ping_group_range=0 0")
        for number, (near, far) in enumerate(pairwise(spaces)):
            ip(f"link add right netns {near} type veth peer name left netns {far}")
            for space, interface, last in ((near, "right", 1), (far, "left", 2)):
                ip(f"addr add 10.89.{number}.{last}/24 dev {interface}", space)
                ip(f"link set {interface} up", space)
            ip(f"route add default via 10.89.{number}.2", near)
            for link in range(number):
                ip(f"route add 10.89.{link}.0/24 via 10.89.{number}.1", far)
        if not routers:
            for host in HOSTS[1:]:
                ip(f"addr add {host}/24 dev left", spaces[1])
        if delay_ms:
            within(spaces[1], "tc", "qdisc", "add", "dev", "left", "root", "netem", "delay", f"{delay_ms}ms")
        yield spaces[0]
    finally:
        for space in spaces:
            subprocess.run(["ip", "netns", "del", space], capture_output=True)


def ip(words: str, space: str | None = None) -> None:
    subprocess.run(["ip", *(["-n", space] if space else []), *words.split()], check=True)


def within(space: str, *words: str) -> None:
    subprocess.run(["ip", "netns", "exec", space, *words], check=True)


def bench(subject: str, namespace: str, host: str, count: int) -> None:
    samples, commands = Samples(), {}
    for name, command in peers()[subject].items():
        try:
            commands[name] = command()
            run(namespace, commands[name])  # neighbours are found, caches filled
        except PeerFailed as failure:
            commands.pop(name, None)
            print(f"left out: {name}: {failure}", flush=True)
    for order in rounds(list(commands), count):
        for name in order:
            samples.take(name, lambda name=name: measure(namespace, name, commands[name]))  # type: ignore[misc]
    rtt = round_trip(namespace, host)
    print(f"{subject}: one round trip is {rtt * 1e3:.1f} ms")
    header = ["program", "all ms", "", "work ms", "", "over rtt ms", "all", "work", "target"]
    print(
        table(header, [row(samples, name, rtt, TARGETS_MS[subject]) for name in samples.by_peer]),
        end="\n\n",
        flush=True,
    )


def row(samples: Samples, name: str, rtt: float, target_ms: float) -> list[str]:
    over_ms = (samples.median(name, "work") - rtt) * 1e3
    verdict = f"<={target_ms:g} {'ok' if over_ms <= target_ms else 'MISSED'}" if name.startswith(OURS) else ""
    ratios = [samples.ratio(field, name, OURS) for field in ("all", "work")]
    return [
        name,
        f"{samples.median(name, 'all') * 1e3:.0f}",
        samples.spread(name, "all"),
        f"{samples.median(name, 'work') * 1e3:.0f}",
        samples.spread(name, "work"),
        f"{over_ms:.0f}",
        *map(times, ratios),
        verdict,
    ]


def main() -> None:
    parser = Options(__doc__, quick={"rounds": 1}, rounds=5)
    parser.add_argument("--delay", type=int, default=0, metavar="MS", help="of the wire; the kernel needs sch_netem")
    options = parser.chosen()
    need_root("network namespaces")
    print_machine(None)
    with chain(0, options.delay) as near:
        bench("sweep", near, HOSTS[0], options.rounds)
    with chain(3, options.delay) as near:
        bench("trace", near, FAR, options.rounds)


if __name__ == "__main__":
    main()
