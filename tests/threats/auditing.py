"""`socketkit audit` as a person runs it in a host: what is new there, what `--fix` prints, and what that does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from socketkit import audit
from socketkit.threats.finding import Finding
from tests.cli.terminals import Terminal
from tests.threats.namespaces import Host, in_namespace
from tests.threats.running import ROOT

T = TypeVar("T")
PATIENCE_SECONDS = 40.0  # a machine that runs many tests at once takes ten times as long as alone
PYTHON = ROOT / "python"


class Auditor:
    """What is there when it is made is the baseline: `new` tells what has come since.

    `words` are options of every audit; `inside` is a command that runs others where the fault is (nsenter).
    """

    def __init__(self, host: Host, folder: Path, *words: str, inside: tuple[str, ...] = ()) -> None:
        self._host = host
        self._words = words
        self._inside = inside
        self._baseline = folder / f"baseline-{time.monotonic_ns()}.json"
        # What is printed says `socketkit`; here that is the package of this tree.
        programs = folder / "programs"
        programs.mkdir(exist_ok=True)
        command = programs / "socketkit"
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m socketkit "$@"\n')
        command.chmod(0o755)
        paths = os.pathsep.join(filter(None, (str(PYTHON), os.environ.get("PYTHONPATH"))))
        path = f"{programs}:{os.environ['PATH']}:/usr/local/sbin:/usr/sbin:/sbin"
        self._environment = {**os.environ, "PYTHONPATH": paths, "PATH": path}
        self.run("socketkit", "audit", "--own", *words, "--write-baseline", str(self._baseline), status=None)

    def new(self) -> list[dict[str, Any]]:
        """The findings that are not in the baseline, as JSON has them."""
        return [json.loads(line) for line in self._audit("--json").splitlines()]

    def until_new(self, *checks: str) -> list[dict[str, Any]]:
        """The same, once exactly these checks have found something: what the kernel counts takes its time."""
        return until(self.new, lambda found: sorted(one["id"] for one in found) == sorted(checks))

    def looking(self, *words: str) -> subprocess.Popen[str]:
        """The audit that `new` runs, while it goes on; `told` is what it says at its end."""
        return self.started(*self._words_of("--json", *words))

    def told(self, audit: subprocess.Popen[str]) -> list[dict[str, Any]]:
        out, err = audit.communicate(timeout=PATIENCE_SECONDS)
        assert audit.returncode == 0, err
        return [json.loads(line) for line in out.splitlines()]

    def fix(self) -> list[str]:
        """The commands that `--fix` prints for what is new."""
        return [line for line in self._audit("--fix").splitlines() if not line.startswith("#")]

    def started(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        """A program that goes on; what it writes can be read."""
        return subprocess.Popen(
            in_namespace(self._host.namespace, *self._inside, *words),
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def run(self, *words: str, status: int | None = 0) -> str:
        """Its standard output."""
        done = subprocess.run(
            in_namespace(self._host.namespace, *self._inside, *words),
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert status is None or done.returncode == status, f"{words}: {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    def apply(self, line: str) -> str:
        """Run a printed line in a shell, at a terminal at which a person says yes; what was shown."""
        with closing(Terminal()) as terminal:
            command = in_namespace(self._host.namespace, *self._inside, "sh", "-c", line)
            ends = dict.fromkeys(("stdin", "stdout", "stderr"), terminal.theirs)
            with subprocess.Popen(command, env=self._environment, **ends, **terminal.options()) as process:
                try:
                    if "--kill" in line:
                        terminal.asked("[yes / no]")
                        terminal.answer("yes")
                    status = process.wait(PATIENCE_SECONDS)
                finally:
                    process.kill()
            # What is written last is read last.
            os.write(terminal.theirs, b"\4")
            shown = terminal.asked("\4")
            assert status == 0, f"{line}: {status}: {shown}"
            return shown

    def _audit(self, *words: str) -> str:
        return self.run(*self._words_of(*words))

    def _words_of(self, *words: str) -> tuple[str, ...]:
        known = ("--baseline", str(self._baseline))
        return "socketkit", "audit", "--own", "--fail-on", "never", *known, *self._words, *words


class QuickAuditor:
    """The same by `audit()` in this process, where a test may have shortened the times that a check waits for."""

    def __init__(self, host: Host, **options: Any) -> None:
        self._host = host
        self._options = options
        self._known = {one.key for one in self._audit()}

    def new(self) -> list[Finding]:
        return [one for one in self._audit() if one.key not in self._known]

    def _audit(self) -> list[Finding]:
        with self._host.entered():
            return audit(namespaces="own", **self._options)


def until(look: Callable[[], T], enough: Callable[[T], object]) -> T:
    """What `look` gives, once that is enough; AssertionError with the last of it if it never is."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not enough(found := look()):
        assert time.monotonic() < end, f"it never came to that: {found}"
        time.sleep(0.02)
    return found


def ids(found: Iterable[dict[str, Any]]) -> list[tuple[str, str]]:
    return sorted((one["id"], one["severity"]) for one in found)
