"""A program as a process of its own, whose words a test can wait for."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

SECONDS = 20


@dataclass(frozen=True)
class Result:
    status: int
    out: bytes
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:
        """What a command with --json has printed: an object a line."""
        return [json.loads(line) for line in self.out.splitlines()]


class Program:
    """A running command. Its stderr is read line by line, so that a test waits for what it says and never sleeps."""

    def __init__(self, words: list[str], **options: Any) -> None:
        self.lines: list[str] = []
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        self.process = subprocess.Popen(words, bufsize=0, **options)

    @property
    def endpoint(self) -> str:
        """Where it listens, once it does."""
        return self.said("listening on ").removeprefix("listening on ")

    @property
    def port(self) -> int:
        return int(self.endpoint.rpartition(":")[2])

    def said(self, words: str) -> str:
        """The first line on stderr with these words in it; waits for it."""
        for line in self.lines:
            if words in line:
                return line
        assert self.process.stderr is not None
        while line := self.process.stderr.readline().decode():
            self.lines.append(line.rstrip("\n"))
            if words in line:
                return self.lines[-1]
        raise AssertionError(f"it never said {words!r}, but {self.lines}")

    @property
    def input(self) -> IO[bytes]:
        assert self.process.stdin is not None
        return self.process.stdin

    @property
    def output(self) -> IO[bytes]:
        assert self.process.stdout is not None
        return self.process.stdout

    def write(self, data: bytes) -> None:
        self.input.write(data)

    def read(self, count: int) -> bytes:
        """Exactly so many bytes of stdout, or fewer at its end."""
        data = b""
        while len(data) < count and (chunk := self.output.read(count - len(data))):
            data += chunk
        return data

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def finish(self, data: bytes | None = None) -> Result:
        """Wait for its end; a pipe to its stdin gets `data`, then its end."""
        out, err = self.process.communicate(data, timeout=SECONDS)
        said = "".join(f"{line}\n" for line in self.lines) + (err or b"").decode()
        return Result(self.process.returncode, out or b"", said)

    def close(self) -> None:
        self.process.kill()
        with self.process:  # closes its pipes
            pass


Start = Callable[..., Program]
