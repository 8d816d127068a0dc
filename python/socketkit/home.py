"""The folder that holds what socketkit keeps for a user: the identity, the known peers, the authorized peers.

`$SOCKETKIT_HOME`, else `$XDG_CONFIG_HOME/socketkit`, else `~/.config/socketkit`.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .errors import IdentityError, explain

if TYPE_CHECKING:
    from collections.abc import Iterator


class UnwritableHome(IdentityError, OSError):
    """Nothing can be kept there. Who can do without (a client without a key of its own) catches OSError."""


def folder() -> str:
    """Its absolute path, whether it exists or not."""
    chosen = os.environ.get("SOCKETKIT_HOME")
    if chosen:
        return os.path.abspath(chosen)
    configuration = os.environ.get("XDG_CONFIG_HOME", "")
    if not configuration.startswith("/"):  # a relative one is to be ignored (XDG Base Directory Specification)
        configuration = os.path.expanduser("~/.config")
    if not configuration.startswith("/"):
        raise IdentityError("this user has no home folder: name one for socketkit with SOCKETKIT_HOME=/path")
    return os.path.join(configuration, "socketkit")


def file(name: str) -> str:
    """The path of one of the files in it."""
    return os.path.join(folder(), name)


def prepare(path: str) -> None:
    """Make the folder of `path` if it is missing, for this user alone; else check it."""
    there = os.path.dirname(path)
    if not os.path.exists(there):
        with writing(there):
            os.makedirs(os.path.dirname(there), 0o700, exist_ok=True)
            os.makedirs(there, 0o700, exist_ok=True)
    check(path)


@contextmanager
def writing(path: str) -> Iterator[None]:
    """Turn what the kernel refuses while `path` is made or written into an UnwritableHome.

    Services that run as users of their own often have no folder that they may write to, or a file system of no writes.
    """
    try:
        yield
    except OSError as failure:
        reason = explain(failure.errno, "file") if failure.errno else str(failure)
        raise UnwritableHome(
            f"{path} cannot be written ({reason}): name a folder of your own with SOCKETKIT_HOME=/path"
        ) from failure


def check(path: str) -> None:
    """Raise IdentityError if others can write to the folder of `path`; a missing one is as good as an empty one.

    They could replace or remove what is in it, whatever the modes of the files say. Not so if the folder is sticky, as
    /tmp is (man 7 inode): there everyone keeps what is his.
    """
    there = os.path.dirname(path)
    try:
        status = os.stat(there)
    except OSError:  # the file's own error says more
        return
    if status.st_uid not in (os.geteuid(), 0):
        raise IdentityError(f"{there} belongs to another user: name a folder of your own with SOCKETKIT_HOME=/path")
    if status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX:
        raise IdentityError(f"others can write to {there}, and so replace what is in it: chmod go-w {there}")
