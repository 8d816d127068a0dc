"""Recording: changes a second, CPU and bytes of the file for each connection, beside a plain log of JSON lines.

Short connections that are made up come as fast as the recorder takes them: each is opened by one look, and closed with
its final counts by its end, 100 at a time, as `socketkit watch` would tell of them. `told` is what the loop pays that
watches, for handing them over; `written` what recorder and thread pay until all of it is in the file. The log has the
same changes, as `socketkit watch --json` prints them, written to a file as they come. `at` asks who was connected at a
moment, `unused` which listeners nobody used; of the log the first takes reading all of it.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from harness import OURS, print_machine, table
from options import Options

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from socketkit.cli.ls_watch import change_as_json
from socketkit.inspect.history import History, Recorder
from socketkit.inspect.ledger import Change, Ledger
from tests.inspect.histories import BEGAN, connection, listener

AT_ONCE = 100


class Entry(type(connection(1))):  # type: ignore[misc]
    """With the names that a row of JSON has beside those that are recorded."""

    backlog_limit = quiet_seconds = oldest_seconds = youngest_seconds = None
    reuse_address = reuse_port = only_ipv6 = False
    unix_peer = 0


class Holder:
    def __init__(self) -> None:
        self.pid, self.name, self.executable, self.deleted = 812, "nginx", "/usr/sbin/nginx", False
        self.uid, self.user, self.cgroup = 33, "www-data", "/system.slice/nginx.service"
        self.unit, self.container, self.command, self.started = "nginx.service", None, ("nginx",), BEGAN - 500


HOLDERS = (Holder(),)


def changes(count: int, tell: Callable[[list[Change], float], None], book: Ledger) -> None:
    """So many connections that come and go."""
    now, still = BEGAN, Entry(**vars(listener(2**40)))
    for start in range(0, count, AT_ONCE):
        fresh = [
            Entry(**vars(replace(connection(number), processes=HOLDERS, received_bytes=120, sent_bytes=4_000)))
            for number in range(start + 1, start + AT_ONCE + 1)
        ]
        now += 0.005
        tell(book.seen([still, *fresh], now), now)
        now += 0.005
        tell(book.ended([replace(entry, state="closed") for entry in fresh], now), now)


def cost(
    count: int, make: Callable[[str], tuple[Callable[[list[Change], float], None], Callable[[], None]]], path: str
):
    """Seconds of CPU that telling took, and all of it, without what making the changes takes."""
    tell, end = make(path)
    spent = 0.0

    def timed(told: list[Change], now: float) -> None:
        nonlocal spent
        begun = time.thread_time()
        tell(told, now)
        spent += time.thread_time() - begun

    process, thread = time.process_time(), time.thread_time()
    changes(count, timed, Ledger())
    before = time.thread_time()
    end()
    making = before - thread - spent
    return spent, time.process_time() - process - making


def recorder(path: str) -> tuple[Callable[[list[Change], float], None], Callable[[], None]]:
    clock = [BEGAN]
    made = Recorder(path, clock=lambda: clock[0])
    made.begin([], now=BEGAN)
    calls = 0

    def tell(told: list[Change], now: float) -> None:
        nonlocal calls
        clock[0] = now
        made.put(told, now=now)
        calls += 1
        if calls % 200 == 0:
            made.flush()  # so that what waits is that of a second, and not of all

    def end() -> None:
        made.close()
        assert made.dropped == 0

    return tell, end


def log(path: str) -> tuple[Callable[[list[Change], float], None], Callable[[], None]]:
    file = open(path, "w")  # noqa: SIM115 - closed at the end

    def tell(told: list[Change], now: float) -> None:
        for change in told:
            file.write(json.dumps(change_as_json(change)) + "\n")

    return tell, file.close


def size(path: str) -> int:
    return sum(os.path.getsize(path + more) for more in ("", "-wal") if os.path.exists(path + more))


def seconds(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def asked_of_history(path: str) -> tuple[float, float]:
    with History(path) as history:
        at = seconds(lambda: list(history.connections(at=BEGAN + 5.0)))
        return at, seconds(history.unused_listeners)


def asked_of_log(path: str) -> tuple[float, float]:
    def at() -> list[object]:
        opened: dict[object, object] = {}
        with open(path) as file:
            for line in file:
                row = json.loads(line)
                if row["first_seen"] <= BEGAN + 5.0 <= (row["closed_at"] or BEGAN + 1e9):
                    opened[row["cookie"]] = row
        return list(opened.values())

    return seconds(at), float("nan")


def main() -> None:
    parser = Options(__doc__, quick={"connections": 2_000, "rounds": 1}, rounds=3)
    parser.number("--connections", 20_000)
    arguments = parser.chosen()
    print_machine(None)
    count = arguments.connections // AT_ONCE * AT_ONCE
    figures: dict[str, list[tuple[float, ...]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.rounds):
            for name, make, ask in ((OURS, recorder, asked_of_history), ("JSON lines", log, asked_of_log)):
                path = f"{folder}/{name.split()[0]}-{number}"
                told, written = cost(count, make, path)
                figures.setdefault(name, []).append((told, written, size(path) / count, *ask(path)))
    rows = []
    for name, rounds in figures.items():
        told, written, stored, at, unused = (statistics.median(column) for column in zip(*rounds, strict=True))
        per_connection = [f"{1e6 * one / count:.1f}" for one in (told, written)]
        asked = [f"{1e3 * at:.0f}", "-" if unused != unused else f"{1e3 * unused:.0f}"]
        rows.append([name, f"{2 * count / written:,.0f}", *per_connection, f"{stored:.0f}", *asked])
    header = ["", "changes/s of CPU", "told us", "written us", "bytes", "at ms", "unused ms"]
    print(f"\n{count:,} connections; us and bytes are for each of them")
    print(table(header, rows))


if __name__ == "__main__":
    main()
