"""The folder that holds what socketkit keeps for a user: the identity, the known peers, the authorized peers.

`$SOCKETKIT_HOME`, else `$XDG_CONFIG_HOME/socketkit`, else `~/.config/socketkit`.
"""

from __future__ import annotations

import os

from .errors import IdentityError


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
    """Make the folder of `path` if it is missing, for this user alone; refuse one that others can write to.

    Who can write to the folder can replace what is in it, whatever the modes of the files say.
    """
    there = os.path.dirname(path)
    try:
        status = os.stat(there)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(there), 0o700, exist_ok=True)
        os.makedirs(there, 0o700, exist_ok=True)
        status = os.stat(there)
    if status.st_uid not in (os.geteuid(), 0):
        raise IdentityError(f"{there} belongs to another user: name a folder of your own with SOCKETKIT_HOME=/path")
    if status.st_mode & 0o022:
        raise IdentityError(f"others can write to {there}: chmod 700 {there}")
