"""A file that is on its way: `NAME.part` beside its target, and `NAME.part.json`, which says what of it is there.

It becomes the target in one step, when all of it is there; until then nothing of that name is touched. Only one process
writes it. What is said to be there has been written to the disk before.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
from contextlib import suppress
from itertools import pairwise
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class TargetError(OSError):
    """The file cannot be written where it was to be."""


class Partial:
    """The parts of one file. `url` and `validator` say of what, so that two versions are never mixed."""

    def __init__(self, target: Path, url: str, *, overwrite: bool) -> None:
        self.target = target
        self.path = target.with_name(f"{target.name}.part")
        self.state_path = target.with_name(f"{target.name}.part.json")
        self.validator: str | None = None
        """What If-Range takes for this version: an ETag or a date; None if the server gives none."""
        self.total: int | None = None
        self.done: list[tuple[int, int]] = []
        """What is there, as [start, end), in order and without overlaps."""
        self._overwrite = overwrite
        # Not the address itself: its path may hold a token.
        self._of = hashlib.sha256(url.encode()).hexdigest()
        self._fd = -1
        self._saving = Lock()

    def open(self) -> None:
        """Take it, and read what is there. TargetError if the target exists, or somebody else writes it."""
        if not self._overwrite and os.path.lexists(self.target):
            raise TargetError(f"{self.target} exists: --force writes over it, -o takes another name")
        try:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        except OSError as failure:
            raise TargetError(f"{self.path}: {failure.strerror}") from failure
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise TargetError(f"{self.path} is being written by another program") from None
        self._read_state()

    @property
    def count(self) -> int:
        """How many bytes are there."""
        return sum(end - start for start, end in self.done)

    @property
    def complete(self) -> bool:
        return self.total is not None and self.count == self.total

    def gap(self, after: int = 0) -> tuple[int, int | None]:
        """The first part that is missing at or behind `after`: [start, end), the end None if nobody knows it."""
        start = after
        for begin, end in self.done:
            if start < begin:
                return start, begin
            start = max(start, end)
        return start, self.total

    def restart(self, validator: str | None, total: int | None) -> None:
        """Begin with nothing: of another version, perhaps."""
        os.ftruncate(self._fd, 0)
        with suppress(FileNotFoundError):
            self.state_path.unlink()
        self.done, self.validator, self.total = [], validator, total

    def write(self, offset: int, data: bytes) -> None:
        """Put `data` there. TargetError if the disk does not take it."""
        view, at = memoryview(data), offset
        try:
            while view:
                written = os.pwrite(self._fd, view, at)
                view, at = view[written:], at + written
        except OSError as failure:
            raise TargetError(f"{self.path}: {failure.strerror}") from failure
        self._add(offset, offset + len(data))

    def save(self) -> None:
        """Have what is there survive the end of this process, or of the machine. It may take a while.

        May be called from another thread; behind `finish`, `discard` or `close` it does nothing.
        """
        with self._saving:
            done = self.done
            if self._fd < 0 or self.validator is None or not done:
                return
            state = {"of": self._of, "validator": self.validator, "total": self.total, "done": done}
            os.fdatasync(self._fd)
            beside = self.state_path.with_name(f"{self.state_path.name}.new")
            beside.write_text(json.dumps(state))
            os.replace(beside, self.state_path)

    def digest(self) -> str:
        """SHA-256 of what is there."""
        digest = hashlib.sha256()
        at = 0
        while chunk := os.pread(self._fd, 1_048_576, at):
            digest.update(chunk)
            at += len(chunk)
        return digest.hexdigest()

    def finish(self) -> None:
        """Make it the target. TargetError if that has come into being meanwhile, and is not to be written over."""
        with self._saving:
            os.fsync(self._fd)
            self._finish()
            self._close()

    def discard(self) -> None:
        """Leave nothing behind."""
        self.close()
        for path in (self.path, self.state_path):
            with suppress(FileNotFoundError):
                path.unlink()

    def close(self) -> None:
        """Let go of it; what was saved stays. Idempotent."""
        with self._saving:
            self._close()

    def _finish(self) -> None:
        if self._overwrite:
            os.replace(self.path, self.target)
        else:
            self._link()
        with suppress(FileNotFoundError):
            self.state_path.unlink()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _link(self) -> None:
        """As rename does it, but never over a file that is there: link(2) refuses that, rename(2) does not."""
        exists = TargetError(f"{self.target} has come into being meanwhile; all of it is in {self.path}")
        try:
            os.link(self.path, self.target, follow_symlinks=False)
        except FileExistsError:
            raise exists from None
        except OSError as failure:
            if failure.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
                raise TargetError(f"{self.target}: {failure.strerror}") from failure
            # A file system without links (FAT): there the look and the renaming are two steps.
            if os.path.lexists(self.target):
                raise exists from None
            os.rename(self.path, self.target)
            return
        os.unlink(self.path)

    def _add(self, start: int, end: int) -> None:
        merged: list[tuple[int, int]] = []
        for begin, stop in sorted([*self.done, (start, end)]):
            if merged and begin <= merged[-1][1]:
                merged[-1] = merged[-1][0], max(merged[-1][1], stop)
            else:
                merged.append((begin, stop))
        self.done = merged

    def _read_state(self) -> None:
        """What an earlier run has left, if it is of this address and can be true; else begin with nothing."""
        size = os.fstat(self._fd).st_size
        try:
            state = json.loads(self.state_path.read_text())
            done = [(int(start), int(end)) for start, end in state["done"]]
            validator, total = state["validator"], state["total"]
        except (OSError, ValueError, KeyError, TypeError):
            state, done, validator, total = {}, [], None, None
        ordered = all(a < b for a, b in done) and all(a[1] < b[0] for a, b in pairwise(done))
        fits = bool(done) and ordered and done[0][0] >= 0 and done[-1][1] <= size
        known = isinstance(validator, str) and (
            total is None or (isinstance(total, int) and done[-1:] and done[-1][1] <= total)
        )
        if fits and known and state.get("of") == self._of:
            self.done, self.validator, self.total = done, validator, total
        else:
            self.restart(None, None)
