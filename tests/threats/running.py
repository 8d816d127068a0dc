"""Programs of tests/threats/programs in a namespace: each takes a JSON object and tells JSON lines.

They end with their standard input, so none outlives a test run that crashes.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.threats.namespaces import Host

ROOT = Path(__file__).parents[2]


class Running:
    """One of the programs. Its log (stderr) goes to a file, whose size is the size of the log."""

    def __init__(self, host: Host, program: str, settings: dict[str, Any], folder: Path) -> None:
        self.log = folder / f"{program}-{time.monotonic_ns()}.log"
        self._program = program
        self._heard = b""
        words = [sys.executable, "-m", f"tests.threats.programs.{program}", json.dumps(settings)]
        with self.log.open("wb") as log:
            self._process = host.start(
                *words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, bufsize=0, cwd=ROOT
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log_bytes(self) -> int:
        return self.log.stat().st_size

    def tell(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n".encode())

    def hear(self, seconds: float = 30) -> Any:
        """Its next line. AssertionError if it says nothing in that time, or has ended."""
        assert self._process.stdout is not None
        pipe, end = self._process.stdout.fileno(), time.monotonic() + seconds
        while b"\n" not in self._heard:
            readable, _, _ = select.select([pipe], [], [], max(0.0, end - time.monotonic()))
            chunk = os.read(pipe, 1 << 16) if readable else b""
            if not chunk:
                state = "said nothing" if not readable else "has ended"
                raise AssertionError(f"the {self._program} {state}: {self.log.read_text()[-2000:]}")
            self._heard += chunk
        line, _, self._heard = self._heard.partition(b"\n")
        return json.loads(line)

    def ask(self, word: str, seconds: float = 30) -> Any:
        self.tell(word)
        return self.hear(seconds)

    def hang_up(self) -> None:
        """What happens to it when the test run crashes."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
