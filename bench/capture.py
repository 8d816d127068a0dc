"""Captures beside each other: what is lost at which rate, and what a packet costs. Needs root.

Frames of 60 bytes come over a veth pair between two network namespaces of the bench's own, at rates that go up until a
peer loses some; the last rate `max` is what the load can send. Lost is what was sent and is neither in the file nor in
the program's hands. Files are written to memory (/dev/shm). `tcpdump` has its own buffer of 2 MiB, `tcpdump -B` the 32
MiB that socketkit has. CPU is the process's own, from the moment that it captures. scapy is given a fiftieth of the
packets.
"""

from __future__ import annotations

import os
import re
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from harness import (
    OURS,
    Cores,
    PeerFailed,
    build,
    find_program,
    pinned,
    print_machine,
    rounds,
    table,
    times,
)
from options import Options, need_root

WANTED = "udp port 9999"  # what the load sends
START_SECONDS = 20.0
SETTLE_SECONDS = 1.5  # tcpdump looks at a block when it is full, or after a second
NO_LOSS = 1e-5


@dataclass(frozen=True)
class Capturer:
    """A program that captures: its words ({file} is a path for it), what it says when it does, and how many it had."""

    name: str
    words: tuple[str, ...]
    ready: str
    count: str
    share: float = 1.0


def capturers() -> list[Capturer]:
    python = sys.executable
    api = str(Path(__file__).parent / "peers" / "capturing.py")
    said = r"(\d+) packets? captured"
    found = [
        Capturer(OURS, (python, api, "socketkit", "eth0", WANTED), "ready", r"^(\d+)$"),
        Capturer(
            "socketkit-file",
            (python, "-m", "socketkit", "capture", "eth0", "-w", "{file}", "--json", *WANTED.split()),
            "listening",
            r'"captured": (\d+)',
        ),
    ]
    with suppress(PeerFailed):
        tcpdump = find_program("tcpdump", "tcpdump")
        words = (tcpdump, "-Z", "root", "-p", "-i", "eth0", "-w", "{file}")
        found.append(Capturer("tcpdump", (*words, *WANTED.split()), "listening", said))
        found.append(Capturer("tcpdump -B", (*words, "-B", "32768", *WANTED.split()), "listening", said))
    found.append(Capturer("scapy", (python, api, "scapy", "eth0", WANTED), "ready", r"^(\d+)$", share=0.02))
    return found


@contextmanager
def wire() -> Iterator[tuple[str, str]]:
    """Two namespaces joined by a veth pair; their names."""
    ip = find_program("ip", "iproute2")
    names = [f"sk-bench-{os.getpid()}-{end}" for end in ("load", "capture")]

    def run(*words: str) -> None:
        subprocess.run([ip, *words], check=True, capture_output=True)

    try:
        for name in names:
            run("netns", "add", name)
        run("link", "add", "eth0", "netns", names[0], "type", "veth", "peer", "name", "eth0", "netns", names[1])
        for name in names:
            run("-n", name, "link", "set", "eth0", "up")
        yield names[0], names[1]
    finally:
        for name in names:
            subprocess.run([ip, "netns", "del", name], capture_output=True, check=False)


def measure(
    capturer: Capturer, ends: tuple[str, str], cores: Cores, count: int, rate: int, folder: Path
) -> dict[str, float]:
    file = folder / "packets"
    words = [word.replace("{file}", str(file)) for word in capturer.words]
    inside = ["ip", "netns", "exec"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*inside, ends[1], *words], stdout=pipe, stderr=subprocess.STDOUT, preexec_fn=pinned(cores.server), bufsize=0
    ) as process:
        assert process.stdout is not None
        try:
            heard = said(process, capturer)
            load = [*inside, ends[0], build("flood"), "eth0", str(count), str(rate), "60"]
            before = cpu_ns(process.pid)
            done = subprocess.run(load, capture_output=True, text=True, timeout=120, preexec_fn=pinned(cores.load))
            if done.returncode:
                raise PeerFailed(f"the load: {done.stderr.strip()}")
            time.sleep(SETTLE_SECONDS)
            used_ns = cpu_ns(process.pid) - before
            process.send_signal(signal.SIGINT)
            heard += process.stdout.read().decode()
            process.wait(START_SECONDS)
        finally:
            process.kill()
            file.unlink(missing_ok=True)
    match = re.search(capturer.count, heard, re.MULTILINE)
    if match is None:
        raise PeerFailed(f"it did not say how many: {heard.strip()[-200:]}")
    sent, seconds = (float(word) for word in done.stdout.split())
    captured = int(match[1].replace(",", ""))
    return {
        "offered": sent / seconds,
        "captured": captured / seconds,
        "lost": 1 - captured / sent,
        "cpu_us": used_ns / 1e3 / max(captured, 1),
    }


def cpu_ns(pid: int) -> int:
    """By the process's own clock (man 2 clock_getcpuclockid)."""
    return time.clock_gettime_ns((~pid << 3) | 2)


def said(process: subprocess.Popen[bytes], capturer: Capturer) -> str:
    """What it says until it captures."""
    assert process.stdout is not None
    heard = b""
    while capturer.ready.encode() not in heard:
        ready, _, _ = select.select([process.stdout], [], [], START_SECONDS)
        chunk = os.read(process.stdout.fileno(), 65_536) if ready else b""
        if not chunk:
            lines = heard.decode().strip().splitlines()
            raise PeerFailed(lines[-1] if lines else "it said nothing")
        heard += chunk
    return heard.decode()


def row(name: str, rates: Sequence[int], taken: dict[tuple[str, int], list[dict[str, float]]]) -> list[str]:
    losses = []
    best = 0.0
    for rate in rates:
        samples = taken.get((name, rate), [])
        if not samples:
            losses.append("-")
            continue
        lost = statistics.median(sample["lost"] for sample in samples)
        losses.append("0" if lost < NO_LOSS else f"{100 * lost:.2g}%")
        if lost < NO_LOSS:
            best = max(best, statistics.median(sample["offered"] for sample in samples))
    # The load may not be able to send faster; then it is the cost that tells.
    fastest = taken.get((name, 0), [])
    captured = statistics.median(sample["captured"] for sample in fastest) if fastest else 0
    cpu = statistics.median(sample["cpu_us"] for sample in fastest) if fastest else 0
    pairs = zip(fastest, taken.get(("tcpdump", 0), []), strict=False)
    ratios = [mine["captured"] / theirs["captured"] for mine, theirs in pairs]
    ratio = times(statistics.median(ratios) if ratios else None)
    return [name, *losses, f"{best:,.0f}", f"{captured:,.0f}", f"{cpu:.2f}", ratio]


def main() -> None:
    quick = {"rounds": 1, "seconds": 0.5, "rates": "200000"}
    parser = Options(__doc__, quick=quick, servers=True, rounds=3, seconds=2.0)
    parser.numbers("--rates", [200_000, 400_000, 500_000], "offered, packets/s")
    options = parser.chosen()
    need_root("capturing")
    cores = Cores.choose(options.one_core)
    chosen = [peer for peer in capturers() if not options.peers or peer.name in options.peers]
    print_machine(cores)
    rates = [*options.rates, 0]
    taken: dict[tuple[str, int], list[dict[str, float]]] = {}
    failed: set[str] = set()
    memory = Path("/dev/shm")
    with wire() as ends, tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        for order in rounds(chosen, options.rounds):
            for capturer in order:
                for rate in rates:
                    count = int((rate or max(options.rates)) * options.seconds * capturer.share)
                    if capturer.name in failed:
                        continue
                    try:
                        sample = measure(capturer, ends, cores, count, rate, Path(folder))
                    except (PeerFailed, subprocess.TimeoutExpired) as error:
                        failed.add(capturer.name)
                        print(f"left out: {capturer.name}: {error}", flush=True)
                    else:
                        taken.setdefault((capturer.name, rate), []).append(sample)
    print("frames of 60 B: loss by rate offered, and at the load's best")
    header = ["peer", *(f"{rate:,}/s" for rate in options.rates), "max", "no loss at", "captured/s", "CPU us", "rate"]
    print(table(header, [row(peer.name, rates, taken) for peer in chosen if peer.name not in failed]))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
