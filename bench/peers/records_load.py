"""What the peers of bench/records.py do alike: a server, or (`--port P`) the load against one of the same library.

A load keeps `--in-flight` records of `--size` bytes on their way on each of `--connections` connections; or, with
`--one-way yes`, sends what one connection takes, until the server has said how many came. It prints a JSON line: what
came in the measured window, and the CPU time of the server (`--cpu-of PID`) and of the load meanwhile.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from pathlib import Path

from startup import value_of

PORT = int(value_of("--port") or 0)
SIZE = int(value_of("--size") or 100)
CONNECTIONS = int(value_of("--connections") or 1)
IN_FLIGHT = int(value_of("--in-flight") or 16)
SECONDS = float(value_of("--seconds") or 1)
ONE_WAY = bool(value_of("--one-way"))
SERVER = int(value_of("--cpu-of") or 0)

WARMUP_SECONDS = 0.1
RECORD = os.urandom(SIZE)
END = b""  # of a one-way run: the server answers with how many came
BATCH = max(1, min(64, 262_144 // max(1, SIZE)))


class Window:
    """The measured time. Made when all connections are open; it begins after the warm-up, with the first count then."""

    def __init__(self) -> None:
        self._opens = time.monotonic() + WARMUP_SECONDS
        self._closes = self._opens + SECONDS
        self._begun: tuple[float, int, float, int, int, float] | None = None
        self.counted = 0

    def count(self, records: int) -> bool:
        """Notes what came; whether more is wanted."""
        now = time.monotonic()
        if self._begun is None:
            if now >= self._opens:
                self.begin()
            return True
        self.counted += records
        return now < self._closes

    def begin(self) -> None:
        waited = _waited_ns(SERVER), _waited_ns(os.getpid())
        self._begun = time.monotonic(), _cpu_ns(), time.process_time(), *waited, _stolen_seconds()

    def report(self) -> None:
        assert self._begun is not None, "no answer came in time"
        begun, cpu, own, server_waited, waited, stolen = self._begun
        elapsed, count = time.monotonic() - begun, max(1, self.counted)
        print(
            json.dumps(
                {
                    "messages": self.counted,
                    "errors": 0,
                    "messages_per_second": self.counted / elapsed,
                    "cpu_us_per_message": (_cpu_ns() - cpu) / 1e3 / count,
                    "load_us_per_message": (time.process_time() - own) * 1e6 / count,
                    "server_waited": (_waited_ns(SERVER) - server_waited) / 1e9 / elapsed,
                    "load_waited": (_waited_ns(os.getpid()) - waited) / 1e9 / elapsed,
                    "stolen": (_stolen_seconds() - stolen) / elapsed,
                }
            )
        )


def _cpu_ns() -> int:
    return time.clock_gettime_ns((~SERVER << 3) | 2) if SERVER else 0


def _waited_ns(process: int) -> int:
    """How long its threads have waited in a run queue so far: the second field of their schedstat."""
    waited = 0
    for file in Path(f"/proc/{process}/task").glob("*/schedstat"):
        with suppress(OSError):
            waited += int(file.read_text().split()[1])
    return waited


def _stolen_seconds() -> float:
    """What a hypervisor has kept of the cores of both: the eighth figure in the lines of /proc/stat (man 5 proc)."""
    cores = {f"cpu{core}" for process in (SERVER, 0) for core in os.sched_getaffinity(process)}
    lines = (line.split() for line in Path("/proc/stat").read_text().splitlines())
    ticks = sum(int(words[8]) for words in lines if words[0] in cores)
    return ticks / os.sysconf("SC_CLK_TCK")
