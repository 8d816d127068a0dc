"""The folder that is served: what of it may be seen, and opening what a request names, which never leads out of it.

A path is opened by the kernel relative to the folder (`openat2`, RESOLVE_BENEATH), so neither `..` nor a symbolic link
nor somebody who renames meanwhile leads out. Names that begin with a dot are hidden unless they are asked for.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from ... import _core

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

__all__ = ["Entry", "Opened", "Tree"]


class Entry(NamedTuple):
    """One name in a folder."""

    name: str
    is_folder: bool
    size: int  # bytes; of a folder 0
    modified: float  # seconds since 1970


class Opened:
    """A file or a folder that is open; `with` closes it. `names` lead to it from the folder that is served."""

    __slots__ = ("fd", "names", "status")

    def __init__(self, fd: int, names: list[bytes]) -> None:
        self.fd = fd
        self.names = names
        self.status = os.fstat(fd)

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def size(self) -> int:
        return self.status.st_size

    @property
    def tag(self) -> str:
        """A strong validator (RFC 9110 section 8.8.3): another one as soon as the file is another, or was written."""
        status = self.status
        return f'"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"'

    def close(self) -> None:
        """Idempotent."""
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Tree:
    """A folder, or one file, that is served. `hidden`: names with a dot in front are there, too.

    Raises OSError where it cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str], *, hidden: bool = False) -> None:
        self.path = os.path.abspath(path)
        self._hidden = hidden
        self._only: str | None = None
        folder = self.path
        if not os.path.isdir(folder):
            folder, self._only = os.path.split(self.path)
            os.stat(self.path)
        self._fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    @property
    def only(self) -> str | None:
        """The name of the one file that is served; None: a folder is."""
        return self._only

    @property
    def fd(self) -> int:
        """The folder's descriptor."""
        return self._fd

    def open(self, path: str) -> Opened | None:
        """What `/a/path` names, a file or a folder; None if there is nothing that may be seen.

        Raises OSError for what is there and cannot be opened now (EACCES, EMFILE).
        """
        names = self.names(path)
        if names is None:
            return None
        try:
            opened = self._open(names)
        except OSError as failure:
            if failure.errno in NOT_THERE:
                return None
            raise
        if stat.S_ISREG(opened.status.st_mode) or opened.is_folder:
            return opened
        opened.close()  # a pipe or a device is nothing to send
        return None

    def names(self, path: str) -> list[bytes] | None:
        """The names of a path from the folder on; None of one that names nothing that may be seen."""
        names = [name for name in path.split("/") if name]
        if "\0" in path or any(not self._shows(name) for name in names):
            return None
        if self._only is not None and names != [self._only]:
            return None
        return [os.fsencode(name) for name in names]

    def entries(self, folder: Opened) -> Iterator[Entry]:
        """What is in an open folder and may be seen, in no order. A link is what it leads to, if that is inside."""
        for name in os.listdir(folder.fd):
            if not self._shows(name):
                continue
            try:
                status = os.stat(name, dir_fd=folder.fd, follow_symlinks=False)
                if stat.S_ISLNK(status.st_mode):
                    with self._open([*folder.names, os.fsencode(name)]) as target:
                        status = target.status
            except OSError:  # it went meanwhile, leads out, or may not be read
                continue
            is_folder = stat.S_ISDIR(status.st_mode)
            if is_folder or stat.S_ISREG(status.st_mode):
                yield Entry(name, is_folder, 0 if is_folder else status.st_size, status.st_mtime)

    def close(self) -> None:
        """Idempotent."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, names: list[bytes]) -> Opened:
        return Opened(_core.open_beneath(self._fd, b"/".join(names) or b"."), names)

    def _shows(self, name: str) -> bool:
        if name in (".", "..") or name.startswith(PART_PREFIX):
            return False
        return self._hidden or not name.startswith(".")


# Names of unfinished uploads, which nobody sees.
PART_PREFIX = ".socketkit-upload-"


# Nothing is there, or nothing that anybody is told of.
NOT_THERE = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.EXDEV, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL, errno.ENXIO, errno.EILSEQ}
)
