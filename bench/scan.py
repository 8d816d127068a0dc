"""`socketkit scan` beside `nmap -T5`, in four worlds between two network namespaces of its own (needs root, nftables).

Fifty ports listen among 65,535, or among the first `--ports`. The worlds: `clean`; `loss`, 5 % each way; `dropped`:
closed ports answer nothing; `policed`: 10,000 SYNs a second pass. Time is that of the whole process. `found` is the
worst of all rounds. `ratio` is nmap's time by ours in the same round, the median; the target stands beside it. Nobody
is asked what he is: `--no-identify` here, no `-sV` there. nmap takes minutes for a round.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness import OURS, PeerFailed, find_program, print_machine, rounds, table, times
from options import Options, need_root

WORK = Path(__file__).resolve().parent.parent
TARGET = "10.89.0.2"
OPEN = 50
LIMIT_SECONDS = 400
# By world: nmap's time by ours, at least.
TARGETS = {"clean": 1.0, "loss": 15.0, "dropped": 15.0, "policed": None}
LISTEN = """
import socket, sys
kept = [socket.create_server(("10.89.0.2", int(port)), backlog=64) for port in sys.argv[1:]]
print("ready", flush=True)
sys.stdin.read()
"""


def rules(world: str, ports: list[int]) -> str:
    lost = "numgen random mod 100 < 5 drop"
    declared = ", ".join(map(str, ports))
    return {
        "clean": "",
        "loss": f"""
            chain i {{ type filter hook prerouting priority -300; {lost}
            }}
            chain o {{ type filter hook postrouting priority 300; {lost}
            }}""",
        "dropped": f"""
            chain i {{ type filter hook input priority 0; policy drop
                tcp dport {{ {declared} }} accept
            }}""",
        "policed": """
            chain i { type filter hook input priority 0; tcp flags syn limit rate over 10000/second drop
            }""",
    }[world]


@contextmanager
def wire(ports: list[int]) -> Iterator[tuple[str, str]]:
    """Two namespaces joined by a veth pair, and the listeners in the second one."""
    ip = find_program("ip", "iproute2")
    names = [f"sk-bench-{os.getpid()}-{end}" for end in ("near", "far")]

    def run(*words: str) -> None:
        subprocess.run([ip, *words], check=True, capture_output=True)

    listening = None
    try:
        for name in names:
            run("netns", "add", name)
        run("link", "add", "eth0", "netns", names[0], "type", "veth", "peer", "name", "eth0", "netns", names[1])
        for name, address in zip(names, ("10.89.0.1/24", f"{TARGET}/24"), strict=True):
            run("-n", name, "link", "set", "lo", "up")
            run("-n", name, "link", "set", "eth0", "up")
            run("-n", name, "addr", "add", address, "dev", "eth0")
        command = ["ip", "netns", "exec", names[1], sys.executable, "-c", LISTEN, *map(str, ports)]
        listening = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert listening.stdout is not None
        if listening.stdout.readline() != b"ready\n":
            raise SystemExit("bench: the listeners did not start")
        yield names[0], names[1]
    finally:
        if listening is not None:
            listening.send_signal(signal.SIGKILL)
            listening.communicate()
        for name in names:
            subprocess.run([ip, "netns", "del", name], capture_output=True, check=False)


def measure(namespace: str, command: list[str], ports: list[int]) -> dict[str, float]:
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
    took = time.perf_counter() - begun
    if done.returncode:
        raise PeerFailed((done.stderr or done.stdout).strip()[-200:])
    if "--json" in command:
        found = [port["port"] for port in json.loads(done.stdout.splitlines()[-1])["hosts"][0]["open"]]
    else:
        found = [int(port) for port in re.findall(r"(\d+)/open/tcp", done.stdout)]
    return {"seconds": took, "found": len(set(found) & set(ports)), "wrong": len(set(found) - set(ports))}


def row(world: str, name: str, samples: dict[str, list[dict[str, float]]]) -> list[str]:
    mine, theirs = samples.get(OURS, []), samples.get("nmap", [])
    seconds = [sample["seconds"] for sample in samples[name]]
    ratios = [other["seconds"] / own["seconds"] for own, other in zip(mine, theirs, strict=False)]
    ratio = statistics.median(ratios) if ratios and name == OURS else None
    wanted, verdict = TARGETS[world], ""
    if ratio is not None and wanted is not None:
        verdict = f">={wanted:g} {'ok' if ratio >= wanted else 'MISSED'}"
    return [
        world,
        name,
        f"{statistics.median(seconds):.2f}",
        f"{min(seconds):.2f}-{max(seconds):.2f}",
        f"{min(sample['found'] for sample in samples[name]):.0f} of {OPEN}",
        f"{max(sample['wrong'] for sample in samples[name]):.0f}",
        times(ratio),
        verdict,
    ]


def main() -> None:
    parser = Options(__doc__, quick={"rounds": 1, "ports": 1_000, "worlds": "clean,dropped"}, rounds=3)
    parser.number("--ports", 65_535, "scan 1 to N")
    parser.choice("--worlds", TARGETS)
    options = parser.chosen()
    if not OPEN <= options.ports <= 65_535:
        parser.error(f"{OPEN} to 65535 ports")
    need_root("network namespaces")
    ports = random.Random(1).sample(range(1, options.ports + 1), OPEN)
    span = f"1-{options.ports}"
    ours = [sys.executable, "-m", "socketkit", "scan", "--json", "--no-identify", "-p", span, TARGET]
    commands = {OURS: ours}
    try:
        nmap = find_program("nmap", "nmap")
        commands["nmap"] = [nmap, "-n", "-Pn", "-sS", "-T5", "-p", span, "-oG", "-", TARGET]
    except PeerFailed as failure:
        print(f"left out: nmap: {failure}")
    nft = find_program("nft", "nftables")
    print_machine(None)
    header = ["world", "program", "seconds", "", "found", "wrong", "ratio", "target"]
    rows = []
    with wire(ports) as (near, far):
        for world in options.worlds:
            filters = f"add table inet world; delete table inet world; add table inet world {{{rules(world, ports)}\n}}"
            subprocess.run(["ip", "netns", "exec", far, nft, filters], check=True)
            samples: dict[str, list[dict[str, float]]] = {}
            failed: set[str] = set()
            for order in rounds(list(commands), options.rounds):
                for name in [name for name in order if name not in failed]:
                    try:
                        samples.setdefault(name, []).append(measure(near, commands[name], ports))
                    except PeerFailed as failure:
                        failed.add(name)
                        samples.pop(name, None)
                        print(f"left out: {name} in {world}: {failure}", flush=True)
            rows += [row(world, name, samples) for name in commands if samples.get(name)]
    print(table(header, rows))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
