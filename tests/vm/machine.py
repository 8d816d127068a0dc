"""The virtual machine: this repository's pytest in it, on this machine's files, and what it reports as it goes.

QEMU gives it one processor, no network and no disk. It reads this machine's root file system and writes to memory
of its own; a folder of the test's is shared both ways, for the list of tests and their reports.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.vm.kernel import ROOT, image, initial_files

# Said in the machine, where tests run rather than being looked up.
INSIDE = "SOCKETKIT_TESTS_IN_VM"
REPORTS = Path("/vm/reports.jsonl")

Report = dict[str, Any]


class Machine:
    """One that runs the tests with these ids, in their order, and ends."""

    def __init__(self, folder: Path, tests: Sequence[str]) -> None:
        self._folder = folder / "shared"
        self._console = folder / "console"
        self._reports: defaultdict[str, list[Report]] = defaultdict(list)
        self._read_bytes = 0
        self._folder.mkdir()
        (self._folder / "tests").write_text("\n".join(tests))
        (self._folder / "run").write_text(_script())
        initial = folder / "initial"
        initial.write_bytes(initial_files())
        with self._console.open("wb") as console:
            self._process = subprocess.Popen(
                _command(initial, self._folder), stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT
            )

    def reports(self, test: str) -> list[Report]:
        """What pytest in the machine says of that test, once it is done with it. AssertionError if it never is."""
        deadline = time.monotonic() + REPORT_SECONDS
        while not any(report["when"] == "teardown" for report in self._reports[test]):
            ended = self._process.poll() is not None
            self._read()
            if self._reports[test] and self._reports[test][-1]["when"] == "teardown":
                break
            late = time.monotonic() > deadline
            if ended or late:
                self.stop()
                how = f"no report within {REPORT_SECONDS} s" if late else "it ended without a report"
                raise AssertionError(f"the virtual machine: {how}. {self._last_words()}")
            time.sleep(0.02)
        return self._reports[test]

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(timeout=10)

    def _read(self) -> None:
        path = self._folder / REPORTS.name
        if not path.exists():
            return
        with path.open("rb") as file:
            file.seek(self._read_bytes)
            for line in file:
                if not line.endswith(b"\n"):  # it is being written
                    break
                self._read_bytes += len(line)
                report = json.loads(line)
                self._reports[report["nodeid"]].append(report)

    def _last_words(self) -> str:
        said = ["Its console:", self._console.read_text(errors="replace")[-4_000:]]
        output = self._folder / "output"
        if output.exists():
            said += ["pytest in it:", output.read_text(errors="replace")[-4_000:]]
        return "\n".join(said)


def _command(initial: Path, shared: Path) -> list[str]:
    return [
        "qemu-system-x86_64",
        *("-accel", "kvm" if has_kvm() else "tcg"),
        *("-machine", "pc", "-m", "1024", "-smp", "1"),
        *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio"),
        *("-kernel", str(image()), "-initrd", str(initial)),
        *("-append", f"console=ttyS0 quiet panic=-1 SECONDS_AT_MOST={SECONDS_AT_MOST}"),
        *("-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"),
        *("-device", "virtio-9p-pci,fsdev=host,mount_tag=host"),
        *("-fsdev", f"local,id=reports,path={shared},security_model=none"),
        *("-device", "virtio-9p-pci,fsdev=reports,mount_tag=reports"),
    ]


def has_kvm() -> bool:
    """Whether the processor helps. The device alone says nothing: there are machines where it is, and nothing runs."""
    flags = Path("/proc/cpuinfo").read_text().partition("\nflags")[2].partition("\n")[0].split()
    return not {"vmx", "svm"}.isdisjoint(flags) and os.access("/dev/kvm", os.R_OK | os.W_OK)


def _script() -> str:
    words = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-o", "faulthandler_timeout=0", "@/vm/tests"]
    environment = {
        INSIDE: "yes",
        "CI": os.environ.get("CI", ""),
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "HOME": "/root",
        "LANG": "C.UTF-8",
    }
    settings = " ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items())
    return f"cd {shlex.quote(str(ROOT))}\nexec env -i {settings} {shlex.join(words)} >/vm/output 2>&1\n"


REPORT_SECONDS = 300  # the first one comes after the boot, which emulation on a busy machine makes long
SECONDS_AT_MOST = 600
