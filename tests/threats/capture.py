"""A capture of what crosses a host's interface, by tcpdump."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from typing import Self

from tests.threats.namespaces import Host

PATIENCE_SECONDS = 10.0


class Capture:
    """`with Capture(host, path) as capture`; `seen()` is what it has, `wait_for(marker)` until it has that."""

    def __init__(self, tcpdump: str, host: Host, path: Path) -> None:
        self._path = path
        with path.open("wb") as file:
            # To standard output: a file of its own tcpdump would open as another user.
            words = [tcpdump, "-i", "eth0", "-s", "0", "-U", "--immediate-mode", "-w", "-"]
            self._process = host.start(*words, stdout=file, stderr=subprocess.PIPE)
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if b"listening on" in line:
                return
        raise AssertionError("tcpdump does not capture")

    def seen(self) -> bytes:
        return self._path.read_bytes()

    def wait_for(self, marker: bytes) -> None:
        """What was sent before the marker is captured too."""
        end = time.monotonic() + PATIENCE_SECONDS
        while marker not in self.seen():
            assert time.monotonic() < end, f"{marker!r} did not cross the wire"
            time.sleep(0.02)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait(PATIENCE_SECONDS)
