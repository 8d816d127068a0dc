"""Who holds a socket: what /proc tells of a process, read when it is asked for.

A process is known by its number and its start time, since numbers are used again: what is read later is given only if
the number still means the same process. What this user may not read is None, and so is what was not read before it
ended.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from functools import cache, lru_cache
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Callable


@final
class Process:
    """A process, as it is or was: frozen, equal to another look at the same one.

    `executable` is the path of its program; `deleted` says that the file is not there any more (it was replaced, by an
    update perhaps). `uid` and `user` are those that it acts as. `unit` is the systemd unit and `container` the
    container that its `cgroup` names. `started` counts seconds since 1970.
    """

    __slots__ = ("_facts", "_ticks", "pid")

    pid: int
    _ticks: int | None
    _facts: dict[str, bytes | str | None]

    def __init__(self, pid: int, ticks: int | None) -> None:
        object.__setattr__(self, "pid", pid)
        object.__setattr__(self, "_ticks", ticks)  # its start, in ticks since the machine's; None: it has ended
        object.__setattr__(self, "_facts", {})

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a process is not changed: {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a process is not changed: {name}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Process) and (self.pid, self._ticks) == (other.pid, other._ticks)

    def __hash__(self) -> int:
        return hash((self.pid, self._ticks))

    def __repr__(self) -> str:
        return f"<Process {self.pid} {self.name}>"

    @property
    def name(self) -> str:
        """As the kernel has it, 15 bytes at most; "" if it ended before it was read."""
        return (self._read("comm") or b"").removesuffix(b"\n").decode(errors="replace")

    @property
    def executable(self) -> str | None:
        path = self._link("exe")
        return path.removesuffix(_DELETED) if path else None

    @property
    def deleted(self) -> bool:
        return (self._link("exe") or "").endswith(_DELETED)

    @property
    def uid(self) -> int | None:
        for line in (self._read("status") or b"").splitlines():
            if line.startswith(b"Uid:"):
                return int(line.split()[2])  # real, effective, saved, of files
        return None

    @property
    def user(self) -> str | None:
        uid = self.uid
        return None if uid is None else user_name(uid)

    @property
    def cgroup(self) -> str | None:
        """Its path in the hierarchy of version 2, or in systemd's own of version 1."""
        for line in (self._read("cgroup") or b"").decode(errors="surrogateescape").splitlines():
            _, controllers, path = (*line.split(":", 2), "", "")[:3]
            if controllers in ("", "name=systemd"):
                return path
        return None

    @property
    def unit(self) -> str | None:
        return unit_of(self.cgroup or "")

    @property
    def container(self) -> str | None:
        return container_of(self.cgroup or "")

    @property
    def command(self) -> tuple[str, ...]:
        """Its words; () for a thread of the kernel."""
        words = (self._read("cmdline") or b"").removesuffix(b"\0")
        return tuple(word.decode(errors="surrogateescape") for word in words.split(b"\0")) if words else ()

    @property
    def started(self) -> float | None:
        return None if self._ticks is None else _machine_start() + self._ticks / _TICKS_PER_SECOND

    def _read(self, name: str) -> bytes | None:
        def read() -> bytes:
            with open(f"/proc/{self.pid}/{name}", "rb") as file:
                return file.read(_LONGEST_BYTES)

        found = self._fact(name, read)
        return found if isinstance(found, bytes) else None

    def _link(self, name: str) -> str | None:
        found = self._fact(name, lambda: os.readlink(f"/proc/{self.pid}/{name}"))
        return found if isinstance(found, str) else None

    def _fact(self, name: str, find: Callable[[], bytes | str]) -> bytes | str | None:
        """What was found the first time, if it was this process that was asked."""
        if name not in self._facts:
            found = None
            with suppress(OSError):  # it ended, or this user may not know
                found = find()
            self._facts[name] = found if self._ticks is not None and start_ticks(self.pid) == self._ticks else None
        return self._facts[name]


def process(pid: int) -> Process:
    """The process that has this number now."""
    return _known(pid, start_ticks(pid))


def noted(pid: int, started_ns: int, name: str, uid: int) -> Process:
    """The process that a note of the kernel tells of. What /proc tells is read now, as it may end at any time.

    If it has ended by now, the note is all that is known. `started_ns` counts from the start of the machine.
    """
    found = _known(pid, started_ns * _TICKS_PER_SECOND // 1_000_000_000)
    if "comm" not in found._facts:
        found._facts["comm"] = name.encode(errors="replace")
        found._facts["status"] = b"Uid:\t%d\t%d\n" % (uid, uid)
        _ = found.executable, found.cgroup
    return found


def start_ticks(pid: int) -> int | None:
    """When it started, in ticks since the start of the machine; None if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            line = file.read(_LONGEST_BYTES)
    except OSError:
        return None
    # Its name may hold blanks and brackets; the last bracket is its end. The start is the 22nd field (man 5 proc).
    return int(line[line.rindex(b")") + 2 :].split()[19])


@cache
def _machine_start() -> float:
    """In seconds since 1970; once only, so that a process has one start whatever is done to the clock."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


@lru_cache(maxsize=4096)
def user_name(uid: int) -> str:
    """The name of a user; the number of one that has none."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def unit_of(cgroup: str) -> str | None:
    """The innermost systemd unit with processes of its own on the way to a control group."""
    for part in reversed(cgroup.split("/")):
        if part.endswith((".service", ".scope")) and not part.startswith("init.scope"):
            return part
    return None


def container_of(cgroup: str) -> str | None:
    """The container that a control group belongs to: the first 12 digits of its number, or its name.

    Numbers have those of Docker, Podman, containerd and CRI-O, names those of LXC and systemd-nspawn.
    """
    for part in reversed(cgroup.split("/")):
        bare = part.removesuffix(".scope").removesuffix(".service")
        number = bare.rpartition("-")[2]
        if len(number) == 64 and set("0123456789abcdef").issuperset(number):
            return number[:12]
        for prefix in ("lxc.payload.", "machine-", "systemd-nspawn@"):
            if part.startswith(prefix) and bare != prefix:
                return bare.removeprefix(prefix).replace("\\x2d", "-")
    return None


_known = lru_cache(maxsize=4096)(Process)
_DELETED = " (deleted)"
_LONGEST_BYTES = 128 * 1024
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def why_hidden() -> str:
    """Why some of who holds what cannot be known, as what helps, if anything does."""
    return "run it with sudo" if os.geteuid() else "not even root may look there"
