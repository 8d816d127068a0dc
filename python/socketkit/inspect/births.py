"""Whose a TCP or UDP socket was that came and went between two looks.

The socket table knows who holds a socket while somebody does, and the kernel's report of an end has forgotten it. BPF
programs (rust/bpf/births.bpf.c) note it in time: who begins a connection, who opens a UDP socket, who closes a TCP one.
The first note of a socket holds: that process made it; of a connection that was accepted it is the one that closed it,
since the kernel makes that one on nobody's behalf.

Notes wait here until whoever reads ends and looks takes them. Of a process that has ended before its note is read, its
number, name and user are known, and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import _core
from .processes import noted

if TYPE_CHECKING:
    from .processes import Process

__all__ = ["Births"]


class Births:
    """Hears of owners from now on: `read` takes what was noted, `take` says whose a socket is, by its cookie.

    Raises PermissionError where BPF is not permitted or not possible, with the reason. At most `most` notes wait; the
    oldest go first, and are counted as `lost`, as are those that the kernel found no room for.
    """

    def __init__(self, *, most: int = 65_536) -> None:
        self._notes = _core.Births()
        self._owners: dict[int, Process] = {}
        self._most = most
        self._pushed_out = 0
        self.unheard = self._notes.unheard  # what there is no place to note here: of "opened" and "closed"

    def fileno(self) -> int:
        """Readable when something was noted."""
        return self._notes.fileno()

    @property
    def lost(self) -> int:
        return self._pushed_out + self._notes.lost

    def read(self) -> None:
        """Take what has been noted by now; does not wait."""
        for _ in range(MOST_TURNS):
            notes = self._notes.read()
            for cookie, _, pid, started_ns, uid, _, name in notes:
                if pid is not None and cookie not in self._owners:
                    self._owners[cookie] = noted(pid, started_ns, name, uid)
            while len(self._owners) > self._most:
                del self._owners[next(iter(self._owners))]
                self._pushed_out += 1
            if not notes:
                return

    def take(self, cookie: int) -> Process | None:
        """Whose it is, if that was noted; forgotten with this."""
        return self._owners.pop(cookie, None)

    def close(self) -> None:
        """Takes the programs out of the kernel; idempotent."""
        self._notes.close()
        self._owners.clear()


# More than the kernel's ring holds: who notes faster than this reads waits for the next time.
MOST_TURNS = 8
