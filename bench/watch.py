"""What watching costs while nothing happens: the share of a core, beside `ss` once a second, `top -d1` and btop.

A thousand sockets lie idle in a network namespace of their own, and each program looks at that one. Its /proc has the
processes of the bench alone, so that what else the machine holds costs nobody anything (needs root, and unshare). The
share is the process's CPU time (user and system, of the children too for ss) over --seconds, so another load on the
machine changes it little. The screens have a terminal of 50 lines and 200 columns, which somebody reads.

The target is 2 % of a core for every form of `socketkit watch`.
"""

from __future__ import annotations

import fcntl
import os
import pty
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from harness import OURS, print_machine, raise_descriptor_limit
from harness import table as as_table
from options import Options, duration, need_root
from table import held

TARGET = 0.02
INSIDE = "SOCKETKIT_BENCH_INSIDE"
WATCH = (sys.executable, "-m", "socketkit", "watch", "--own")


def cpu_seconds(pid: int) -> float:
    """Of the process and its threads; fields 14 and 15 of man 5 proc."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def terminal() -> Iterator[int]:
    """A terminal that is read, whatever is written to it."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))

    def read() -> None:
        with suppress(OSError):
            while os.read(ours, 65_536):
                pass

    reading = threading.Thread(target=read, daemon=True)
    reading.start()
    try:
        yield theirs
    finally:
        os.close(theirs)
        reading.join(5)
        os.close(ours)


def share(command: tuple[str, ...], settling: float, seconds: float, *, screen: bool) -> float | None:
    """Of a core, once it has settled; None for a program that is not there."""
    if shutil.which(command[0]) is None:
        return None
    with terminal() if screen else open(os.devnull, "r+b") as streams:
        environment = os.environ | {"TERM": "xterm-256color"}
        with subprocess.Popen(command, stdin=streams, stdout=streams, stderr=streams, env=environment) as process:
            try:
                time.sleep(settling)
                used, begun = cpu_seconds(process.pid), time.monotonic()
                time.sleep(seconds)
                if process.poll() is not None:
                    raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
                return (cpu_seconds(process.pid) - used) / (time.monotonic() - begun)
            finally:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()


def repeated(command: tuple[str, ...], seconds: float) -> float | None:
    """Of a core, for a program that looks once and is run once a second."""
    if shutil.which(command[0]) is None:
        return None
    begun = time.monotonic()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    rounds = round(seconds)
    for number in range(rounds):
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        time.sleep(max(0.0, begun + number + 1 - time.monotonic()))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / rounds


def measured(settling: float, seconds: float, folder: str) -> list[list[str]]:
    alone = partial(share, settling=settling, seconds=seconds)
    forms: dict[str, Callable[[], float | None]] = {
        f"{OURS} watch, screen": lambda: alone(WATCH, screen=True),
        f"{OURS} watch --json": lambda: alone((*WATCH, "--json"), screen=False),
        f"{OURS} watch --quiet --record": lambda: alone(
            (*WATCH, "--quiet", "--record", f"{folder}/history.db"), screen=False
        ),
        "ss -tanp, once a second": lambda: repeated(("ss", "-tanp"), seconds),
        "top -d1": lambda: alone(("top", "-d1"), screen=True),
        "btop": lambda: alone(("btop",), screen=True),
    }
    rows = []
    for name, measure in forms.items():
        found = measure()
        if found is None:
            print(f"left out: {name.split()[0]} is not installed")
            continue
        verdict = ("reached" if found <= TARGET else "missed") if name.startswith(OURS) else ""
        rows.append([name, f"{found:.2%}", verdict])
    return rows


def main() -> None:
    parser = Options(__doc__, quick={"seconds": 2.0, "settling": 2.0}, seconds=20.0)
    parser.number("--sockets", 1_000)
    parser.add_argument("--settling", type=duration, default=8.0, help="seconds before (default %(default)s)")
    arguments = parser.chosen()
    need_root("a namespace of its own")
    if INSIDE not in os.environ:
        words = ("unshare", "--net", "--pid", "--mount-proc", "--fork", "--kill-child", sys.executable, *sys.argv)
        os.execvpe(words[0], words, os.environ | {INSIDE: "yes"})
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    raise_descriptor_limit()
    print_machine(None)
    with held(arguments.sockets), tempfile.TemporaryDirectory() as folder:
        os.environ["SOCKETKIT_HOME"] = f"{folder}/home"
        rows = measured(arguments.settling, arguments.seconds, folder)
    print(as_table([f"{arguments.sockets:,} idle sockets", "of a core", "target"], rows))


if __name__ == "__main__":
    main()
