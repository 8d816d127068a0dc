"""A small file of this user's that says who he is or whom he trusts, and that several processes may change at once.

- Readers take no lock: the file is only ever replaced whole, so they see the old one or the new one.
- Writers hold the lock on the file beside it (`NAME.lock`) from their reading to their writing, so none undoes another.
- It is not used if another user could have written it (or read it, if it is `private`), and never larger than 1 MiB.
- A symbolic link is followed, so that the file can live with a user's other dotfiles; the link stays.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from . import home
from .errors import IdentityError, explain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def read(path: str, *, private: bool = False, own: bool = True) -> bytes | None:
    """What is in it; None if there is no such file. Raises IdentityError with the remedy if it is not to be used.

    `private`: nobody else may be able to read it. `own`: it and its folder must belong to this user, or to root.
    """
    if own:
        home.check(path)
    try:
        # Not to wait for a writer, should it be a FIFO.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as failure:
        raise IdentityError(f"{path}: {explain(failure.errno or 0, 'file')}") from failure
    try:
        _check(path, os.fstat(fd), private=private, own=own)
        with open(fd, "rb", closefd=False) as file:
            data = file.read(MOST_BYTES + 1)
    finally:
        os.close(fd)
    if len(data) > MOST_BYTES:
        raise IdentityError(f"{path} is larger than {MOST_BYTES:,} bytes: take out what is not needed")
    return data


def change(path: str, edit: Callable[[str], str]) -> None:
    """Put `edit` of its text in place of its text, in one step that no other change comes between.

    A missing file is an empty text, and its folder is made. What is not UTF-8 survives (`surrogateescape`).
    """
    home.prepare(path)
    with locked(path):
        before = (read(path) or b"").decode("utf-8", "surrogateescape")
        after = edit(before)
        if after != before:
            replace(path, after.encode("utf-8", "surrogateescape"))


def replace(path: str, data: bytes) -> None:
    """Write the file, readable by this user alone: after a crash at any moment the old one or the new one is there."""
    if len(data) > MOST_BYTES:
        raise IdentityError(f"{path} would be larger than {MOST_BYTES:,} bytes: take out what is not needed")
    path = os.path.realpath(path)
    beside = f"{path}.{os.getpid()}.{os.urandom(4).hex()}.new"
    with home.writing(path):
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(fd)
            os.rename(beside, path)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(beside)
            raise
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)  # the new name, too, is to survive a power cut
    finally:
        os.close(folder)


def absolute(path: str | os.PathLike[str]) -> str:
    """The path as it is meant now: the program may change its folder later."""
    return os.path.abspath(os.fspath(path))


def with_line(text: str, line: str, comment: str = "") -> str:
    """The text with one line more. Raises IdentityError for a comment that would not stay on it."""
    if not comment.isprintable():
        raise IdentityError("a comment is one line of printable characters")
    end = "" if not text or text.endswith("\n") else "\n"  # which an editor may have left out
    return f"{text}{end}{f'{line} {comment}'.rstrip()}\n"


def without_lines(text: str, numbers: set[int]) -> str:
    """The text without these of its lines, of which the first is 1."""
    return "\n".join(line for number, line in enumerate(text.split("\n"), 1) if number not in numbers)


@contextmanager
def locked(path: str) -> Iterator[None]:
    """The only writer of the file, among processes and threads, for as long as the block runs."""
    import fcntl
    import time

    lock = f"{os.path.realpath(path)}.lock"
    # Not the file itself: it is replaced, and the next writer would lock another one. Not removed afterwards: somebody
    # may wait for it.
    with home.writing(path):
        fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        given_up_at = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > given_up_at:
                    raise IdentityError(f"another program keeps {lock} locked: `lslocks` tells which") from None
                time.sleep(0.005)
        yield
    finally:
        os.close(fd)


def _check(path: str, status: os.stat_result, *, private: bool, own: bool) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise IdentityError(f"{path} is no regular file")
    if own and status.st_uid not in (os.geteuid(), 0):
        raise IdentityError(f"{path} belongs to another user: chown it, or keep your own with SOCKETKIT_HOME=/path")
    if private and status.st_mode & 0o077:
        raise IdentityError(f"others can read or write {path}, which holds a private key: chmod 600 {path}")
    if own and status.st_mode & 0o022:
        raise IdentityError(f"others can write to {path}, which says whom to trust: chmod 600 {path}")


MOST_BYTES = 1_048_576
LOCK_SECONDS = 10.0
