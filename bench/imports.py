"""What importing costs: wall time of a fresh interpreter by what it imports, and of `socketkit --version`.

Commands are interleaved over the rounds, after a first run of each that compiles bytecode, fills the cache of files and
does not count. `above pass` is the difference to an interpreter that does nothing.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from harness import print_machine, table
from options import Options

LIMIT_SECONDS = 30
COMMANDS = {
    "pass": [sys.executable, "-c", "pass"],
    "import asyncio": [sys.executable, "-c", "import asyncio"],
    "import anyio": [sys.executable, "-c", "import anyio"],
    "import trio": [sys.executable, "-c", "import trio"],
    "import socketkit": [sys.executable, "-c", "import socketkit"],
    "import socketkit.sync": [sys.executable, "-c", "import socketkit.sync"],
    "socketkit --version": [str(Path(sys.executable).with_name("socketkit")), "--version"],
}
TARGETS = {
    "import socketkit": 60.0,
    "socketkit --version": 150.0,
}  # ms; an import is judged above pass


def wall_ms(command: list[str]) -> float | str:
    """Or the reason why it failed."""
    begun = time.perf_counter()
    try:
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=LIMIT_SECONDS)
    except OSError as error:
        return f"{command[0]}: {error.strerror}"
    elapsed = (time.perf_counter() - begun) * 1e3
    return elapsed if done.returncode == 0 else done.stderr.decode(errors="replace").strip().splitlines()[-1]


def main() -> None:
    options = Options(__doc__, quick={"rounds": 2}, rounds=15).chosen()
    print_machine(None)
    walls: dict[str, list[float]] = {}
    for name, command in COMMANDS.items():
        first = wall_ms(command)
        if isinstance(first, str):
            print(f"left out: {name}: {first}", flush=True)
        else:
            walls[name] = []
    for _ in range(options.rounds):
        for name, taken in walls.items():
            if isinstance(wall := wall_ms(COMMANDS[name]), float):
                taken.append(wall)
    nothing = statistics.median(walls["pass"])
    rows = []
    for name, taken in walls.items():
        middle = statistics.median(taken)
        target = TARGETS.get(name)
        judged = middle - nothing if name.startswith("import") else middle
        verdict = "" if target is None else f"<={target:g} {'ok' if judged <= target else 'MISSED'}"
        figures = [f"{figure:.1f}" for figure in (middle, min(taken), max(taken), middle - nothing)]
        rows.append([name, *figures, verdict])
    print(table(["command", "median ms", "min", "max", "above pass", "target"], rows))


if __name__ == "__main__":
    main()
