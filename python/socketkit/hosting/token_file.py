"""The file that keeps a link's token from one start of a service to the next.

It is made with a fresh token if it is missing. It is refused if anybody else could have chosen its token, or could read
it; its group may, for that is how the token is given to a program that reads the service as another user.
"""

from __future__ import annotations

import os
import re
import stat

from ..errors import IdentityError
from .link import TOKEN_LETTERS, new_token


def kept_token(path: str) -> str:
    """The token in this file; a new file gets a new one. Raises IdentityError with the remedy, and OSError."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        return _read(path)
    with os.fdopen(fd, "w") as file:
        token = new_token()
        file.write(f"{token}\n")
    return token


def _read(path: str) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # not to wait for a writer, should it be a FIFO
    with os.fdopen(fd, encoding="utf-8", errors="replace") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise IdentityError(f"{path} is no plain file: name one that has the token, or a new one")
        if status.st_mode & OF_OTHERS or status.st_uid not in (os.geteuid(), 0):
            raise IdentityError(f"others could read or change {path}: chmod 600 {path}, and let it be yours")
        token = file.read(MOST_LETTERS + 2).strip()
    if re.fullmatch(rf"[A-Za-z0-9_-]{{{TOKEN_LETTERS},{MOST_LETTERS}}}", token) is None:
        raise IdentityError(
            f"{path} has no token ({TOKEN_LETTERS} to {MOST_LETTERS} letters, digits, - and _): "
            "remove it, and it gets one"
        )
    return token


OF_OTHERS = 0o037
MOST_LETTERS = 128
