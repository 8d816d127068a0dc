"""Whose a TCP or UDP socket was that came and went between two looks.

The socket table knows who holds a socket while somebody does, and the kernel's report of an end has forgotten it. BPF
programs (rust/bpf/births.bpf.c) note it in time: who begins a connection, who opens a UDP socket, who closes a TCP one.
The first note of a socket holds: that process made it; of a connection that was accepted it is the one that closed it,
since the kernel makes that one on nobody's behalf. The note has the port that is called, too: the kernel forgets it
where a program waits for a connection and is refused, or resets it.

Notes wait here until whoever reads ends and looks takes them. Of a process that has ended before its note is read, its
number, name and user are known, and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .. import _core
from .processes import noted

if TYPE_CHECKING:
    from .processes import Process

__all__ = ["Births", "Note"]


class Note(NamedTuple):
    """Whose a socket is, and the port that is called with it; None: it began no connection."""

    process: Process
    peer_port: int | None = None


class Births:
    """Hears of owners from now on: `read` takes what was noted, `take` gives a socket's, by its cookie.

    Raises PermissionError where BPF is not permitted or not possible, with the reason. At most `most` notes wait; the
    oldest go first, and are counted as `lost`, as are those that the kernel found no room for.
    """

    def __init__(self, *, most: int = 65_536) -> None:
        self._notes = _core.Births()
        self._waiting: dict[int, Note] = {}
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
            for cookie, _, pid, started_ns, uid, _, name, peer_port in notes:
                if pid is not None and cookie not in self._waiting:
                    self._waiting[cookie] = Note(noted(pid, started_ns, name, uid), peer_port)
            while len(self._waiting) > self._most:
                del self._waiting[next(iter(self._waiting))]
                self._pushed_out += 1
            if not notes:
                return

    def take(self, cookie: int) -> Note | None:
        """What was noted of it, if anything was; forgotten with this."""
        return self._waiting.pop(cookie, None)

    def close(self) -> None:
        """Takes the programs out of the kernel; idempotent."""
        self._notes.close()
        self._waiting.clear()


# More than the kernel's ring holds: who notes faster than this reads waits for the next time.
MOST_TURNS = 8
