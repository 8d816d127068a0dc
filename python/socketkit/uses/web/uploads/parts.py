"""Unfinished uploads: hidden files beside the ones that they become, and the room that is kept for them.

A part's name says how long the file will be, so the folder itself is all that is known of it: whoever starts again,
after `kill -9` as well, finds every part, how far it has come, and how much room is promised to it.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from ..tree import PART_PREFIX
from .refusals import Refused
from .threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..tree import Opened, Tree
    from .digests import Digest

__all__ = ["KEEP_SECONDS", "Part", "Parts", "part_name"]

KEEP_SECONDS = 86_400.0


def part_name(token: str, length: int | None) -> bytes:
    """`length` None: nobody has said it."""
    return f"{PART_PREFIX}{token}-{'x' if length is None else length}".encode()


class Part:
    """An unfinished file that is open and locked: nobody else writes into it."""

    __slots__ = ("fd", "folder", "length", "name")

    def __init__(self, folder: Opened, name: bytes, fd: int, length: int | None) -> None:
        self.folder = folder
        self.name = name
        self.fd = fd
        self.length = length

    @property
    def size(self) -> int:
        """How many bytes of the file are here."""
        return os.fstat(self.fd).st_size

    def write(self, data: bytes | bytearray, at: int, digests: Sequence[Digest] = ()) -> None:
        """All of it. Blocks."""
        with memoryview(data) as view:
            for digest in digests:
                digest.update(view)
            written = 0
            while written < len(view):
                written += os.pwrite(self.fd, view[written:], at + written)

    def digest(self, count: int, digests: Sequence[Digest]) -> None:
        """The first `count` bytes go into `digests`. Blocks."""
        at = 0
        while at < count and (data := os.pread(self.fd, min(READ_BYTES, count - at), at)):
            for digest in digests:
                digest.update(data)
            at += len(data)

    def truncate(self, size: int) -> None:
        os.ftruncate(self.fd, size)

    def close(self) -> None:
        """Idempotent. The part stays for whoever goes on with it."""
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)


class Parts:
    """The parts in a tree, and the room in it.

    `quota_bytes`: what all files in the tree may have together, None: no bound but the disk's; `free_bytes`: what stays
    free on the disk; `most`: how many parts there may be; `keep_seconds`: after which a part goes that nobody has gone
    on with.
    """

    def __init__(
        self,
        tree: Tree,
        *,
        quota_bytes: int | None,
        free_bytes: int,
        most: int,
        keep_seconds: float = KEEP_SECONDS,
    ) -> None:
        self.keep_seconds = keep_seconds
        self._tree = tree
        self._quota_bytes = quota_bytes
        self._free_bytes = free_bytes
        self._most = most
        # Whoever counts the tree or moves a file in it holds this: a count that overlaps with a move could miss both.
        self._changing = asyncio.Lock()
        self._counted: float | None = None
        self._used_bytes = 0
        self._count = 0

    async def create(self, folder: Opened, token: str, length: int | None, *, reuse: bool = False) -> Part:
        """A new, empty part for which room is kept. `reuse`: one that is there is taken as it is.

        Raises Refused where there is no room, OSError where the folder cannot be written.
        """
        if reuse and (part := self.find(folder, token, length)) is not None:
            return part
        async with self._changing:
            await self._count_if_due()
            if self._count >= self._most:
                words = f"{self._most} uploads are unfinished here: finish them, or come again when they have expired"
                raise Refused(503, words, [(b"retry-after", b"3600")])
            self._require_room(folder, length or 0)
            name = part_name(token, length)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(name, flags, 0o666, dir_fd=folder.fd)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._used_bytes += length or 0
            self._count += 1
            return Part(folder, name, fd, length)

    def find(self, folder: Opened, token: str, length: int | None) -> Part | None:
        """The part that is there. Raises Refused while another process writes into it."""
        name = part_name(token, length)
        try:
            fd = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=folder.fd)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            status = os.fstat(fd)
        except BlockingIOError:
            os.close(fd)
            raise Refused(423, "this upload is being written just now: try again in a moment") from None
        if not stat.S_ISREG(status.st_mode) or not status.st_nlink:
            os.close(fd)
            return None
        return Part(folder, name, fd, length)

    async def check(self, folder: Opened, length: int) -> None:
        """Raises Refused where there is no room for so much now."""
        async with self._changing:
            await self._count_if_due()
            self._require_room(folder, length)

    def grow(self, part: Part, count: int) -> None:
        """`count` bytes are about to be written. Raises Refused where there is no room for them."""
        if part.length is None:
            self._require_room(part.folder, count)
            self._used_bytes += count
        elif _free(part.folder) - count < self._free_bytes:
            raise Refused(507, FULL)

    async def finish(self, part: Part, name: bytes, *, overwrite: bool) -> bool:
        """Give the whole file its name; whether another one was replaced.

        It is on the disk before it can be seen. Raises FileExistsError if it may not replace what is there.
        """
        await in_thread(os.fsync, part.fd)
        async with self._changing:
            size = part.size
            replaced = await in_thread(_place, part, name, overwrite)
            self._count -= 1
            self._used_bytes += (0 if part.length is None else size - part.length) - (replaced or 0)
            part.close()
        return replaced is not None

    async def remove(self, part: Part) -> None:
        """The part goes, and its room is free."""
        async with self._changing:
            if part.fd < 0:
                return
            with suppress(FileNotFoundError):
                os.unlink(part.name, dir_fd=part.folder.fd)
                self._count -= 1
                self._used_bytes -= part.size if part.length is None else part.length
            part.close()

    async def tidy(self) -> None:
        """Remove the parts that nobody has gone on with for so long, and count anew; never one that is written into."""
        async with self._changing:
            await self._count_now()

    async def _count_if_due(self) -> None:
        if self._counted is None or time.monotonic() - self._counted > COUNT_SECONDS:
            await self._count_now()

    async def _count_now(self) -> None:
        self._used_bytes, self._count = await in_thread(_count, self._tree.fd, time.time() - self.keep_seconds)
        self._counted = time.monotonic()

    def _require_room(self, folder: Opened, length: int) -> None:
        if self._quota_bytes is not None and self._used_bytes + length > self._quota_bytes:
            left = max(self._quota_bytes - self._used_bytes, 0)
            raise Refused(507, f"of the {self._quota_bytes} bytes that may be here, {left} are left")
        if _free(folder) - length < self._free_bytes:
            raise Refused(507, FULL)


def _free(folder: Opened) -> int:
    space = os.fstatvfs(folder.fd)
    return space.f_bavail * space.f_frsize


def _place(part: Part, name: bytes, overwrite: bool) -> int | None:
    """The size of what was replaced; None: nothing was."""
    folder = part.folder.fd
    replaced = None
    if overwrite:
        with suppress(FileNotFoundError):
            replaced = os.stat(name, dir_fd=folder, follow_symlinks=False).st_size
        os.rename(part.name, name, src_dir_fd=folder, dst_dir_fd=folder)
    else:
        try:
            # Unlike rename(), it fails if somebody has put a file of this name there meanwhile.
            os.link(part.name, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        except FileExistsError:
            raise
        except OSError:  # FAT and some network file systems have no links: an own, empty file takes the name first
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=folder))
            os.rename(part.name, name, src_dir_fd=folder, dst_dir_fd=folder)
        else:
            os.unlink(part.name, dir_fd=folder)
    os.fsync(folder)
    return replaced


def _count(tree: int, oldest: float) -> tuple[int, int]:
    """(bytes of all files, those promised to parts among them; number of parts), after old parts are removed."""
    used = count = 0
    seen: set[tuple[int, int]] = set()
    prefix = PART_PREFIX.encode()
    for _, _, names, folder in os.fwalk(b".", dir_fd=tree):
        for name in names:
            try:
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except OSError:
                continue
            if not stat.S_ISREG(status.st_mode):
                continue
            if name.startswith(prefix):
                if status.st_mtime < oldest and _removed(name, folder):
                    continue
                count += 1
                length = name.rpartition(b"-")[2]
                used += max(status.st_size, int(length) if length.isdigit() else 0)
            elif status.st_nlink == 1 or (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                used += status.st_size
    return used, count


def _removed(name: bytes, folder: int) -> bool:
    """Whether an old part is gone now; not if it is being written."""
    try:
        fd = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(name, dir_fd=folder)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


COUNT_SECONDS = 30.0  # others change the folder, too
READ_BYTES = 1 << 20
FULL = "the disk is full but for what is kept free: ask whoever serves this to make room"
