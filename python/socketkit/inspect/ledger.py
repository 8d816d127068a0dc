"""Who came, who went, and how much moved meanwhile: the book that watching keeps.

No I/O: looks at the socket table and sockets that ended go in, each with the time; changes come out. Each socket is
opened once and closed once, however looks and ends follow each other:

- A look is taken while sockets end, and delivered later: what ended since the look before is not opened by it again.
- What came and went between two looks is known from its end alone, and is opened and closed then.
- A socket that one look lacks may have been passed over, since the kernel lists its tables piece by piece. The second
  look that lacks it closes it, with what it had counted until then; so end those whose end is not told (Unix).
- What the kernel keeps of a TCP connection after its end (time-wait) is no socket: `ls` shows it, nothing watches it.

What is remembered is bounded: open sockets by the machine, everything else by numbers below.
"""

from __future__ import annotations

from array import array
from collections import deque
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from .._core import SocketEntry
    from .processes import Process
    from .uses import Use

    Owner = Callable[[SocketEntry], "Process | None"]
    Purpose = Callable[[SocketEntry], Use]
    Wanted = Callable[["Watched"], bool]

__all__ = ["SPARK_SECONDS", "Change", "Ledger", "Spark", "Totals", "Watched"]

SPARK_SECONDS = 60


class Spark:
    """Bytes in each of the last 60 seconds."""

    __slots__ = ("_seconds", "_to")

    def __init__(self) -> None:
        self._seconds: array[float] | None = None  # most sockets are silent: nothing is kept of them
        self._to = 0

    def add(self, count: float, since: float, now: float) -> None:
        """`count` bytes went between two times: evenly, as far as is known."""
        if count <= 0:
            return
        if self._seconds is None:
            self._seconds = array("d", bytes(8 * SPARK_SECONDS))
            self._to = int(now)
        self._advance(int(now))
        spread = max(1, round(now - since))
        for second in range(min(spread, SPARK_SECONDS)):
            self._seconds[(self._to - second) % SPARK_SECONDS] += count / spread

    def values(self, now: float) -> tuple[float, ...]:
        """The oldest second first; () if none of them saw a byte."""
        if self._seconds is None:
            return ()
        self._advance(int(now))
        if not any(self._seconds):
            self._seconds = None
            return ()
        after = (self._to + 1) % SPARK_SECONDS
        return (*self._seconds[after:], *self._seconds[:after])

    def _advance(self, to: int) -> None:
        assert self._seconds is not None
        for second in range(self._to + 1, min(to, self._to + SPARK_SECONDS) + 1):
            self._seconds[second % SPARK_SECONDS] = 0.0
        self._to = max(self._to, to)


class Watched:
    """A socket that is watched. It is live: it shows what is known by now, and after its end what it came to.

    `entry` is the last look at it, or its end where no look saw it. Times are those that the ledger was given.
    `received_bytes` and `sent_bytes` are None where the kernel does not count, and then so are the rates.
    """

    __slots__ = (
        "_asked",
        "_counts",
        "_ledger",
        "_missed_at",
        "_owner",
        "_shown",
        "_spark",
        "_unseen",
        "_use",
        "closed_at",
        "entry",
        "first_seen",
        "received_bytes",
        "received_per_second",
        "sent_bytes",
        "sent_per_second",
        "there_before",
    )

    def __init__(
        self,
        ledger: Ledger,
        entry: SocketEntry,
        now: float,
        *,
        there_before: bool = False,
        unseen: bool = False,
        owner: Process | None = None,
    ) -> None:
        self.entry = entry
        self.first_seen = now
        self.there_before = there_before  # it was open when watching began
        self.closed_at: float | None = None
        self.received_bytes = entry.received_bytes
        self.sent_bytes = entry.sent_bytes
        self.received_per_second: float | None = None if self.received_bytes is None else 0.0
        self.sent_per_second: float | None = None if self.sent_bytes is None else 0.0
        self._ledger = ledger
        self._spark = Spark()
        self._use: Use | None = None
        self._asked = False  # whether its use has been asked for since it moved
        self._counts = _counts(entry)
        self._unseen = unseen  # by any look: known from its end alone
        self._owner = owner  # whose it was, where that was noted
        self._missed_at: float | None = None  # by the last look, and the first of them in a row
        self._shown = False  # whether it has been wanted

    def __repr__(self) -> str:
        return f"<Watched {self.entry.local} {self.entry.peer} {self.state}>"

    @property
    def state(self) -> str:
        return self.entry.state if self.closed_at is None else "closed"

    @property
    def use(self) -> Use:
        """What it is for. Bytes may tell after a while only: what they have not told is asked again when it moves."""
        if self._use is None or (not self._asked and not self._use.protocol):
            self._use = self._ledger.purpose(self.entry)
        self._asked = True
        return self._use

    @property
    def processes(self) -> tuple[Process, ...] | None:
        """Who held it when it was last looked at. Of one that no look saw with a holder, whose it was, if noted."""
        if self._owner is not None and (self._unseen or not self.entry.processes):
            return (self._owner,)
        return None if self._unseen else self.entry.processes

    @property
    def spark(self) -> tuple[float, ...]:
        """Bytes in each of the last 60 seconds, both ways; () if there were none."""
        return self._spark.values(self._ledger.now)


class Change(NamedTuple):
    """What happened to a socket: it was opened, its figures moved, or it was closed."""

    kind: Literal["opened", "moved", "closed"]
    row: Watched


class Totals:
    """Of everything that was seen while watching; a connection within this machine counts at both of its ends."""

    __slots__ = ("closed", "opened", "received_bytes", "received_spark", "sent_bytes", "sent_spark")

    def __init__(self) -> None:
        self.opened = self.closed = 0
        self.received_bytes = self.sent_bytes = 0
        self.received_spark = Spark()
        self.sent_spark = Spark()


class Ledger:
    """What is open, what has just been closed, and what has moved in all.

    `purpose` says what a socket is for, `owner` whose it is by a note that it forgets then, `wanted` which ones are
    told of: from the first time that it holds of one, that one is told of until its end. Closed rows stay for
    `keep_seconds`, `most_closed` of them at most. What looks lack has `patience_seconds` for its end to be told.
    """

    def __init__(
        self,
        *,
        purpose: Purpose | None = None,
        owner: Owner | None = None,
        wanted: Wanted | None = None,
        keep_seconds: float = 10.0,
        patience_seconds: float = 0.0,
        most_closed: int = 10_000,
        most_ended: int = 65_536,
    ) -> None:
        if purpose is None:
            from .uses import use_of

            purpose = use_of
        self.purpose = purpose
        self.totals = Totals()
        self.now = 0.0
        self._owner = owner
        self._wanted = wanted
        self._keep_seconds = keep_seconds
        self._patience_seconds = patience_seconds
        self._most_ended = most_ended
        self._open: dict[Hashable, Watched] = {}
        self._closed: deque[Watched] = deque(maxlen=most_closed)
        self._ended: set[Hashable] = set()  # since the last look
        self._overflown = False  # more ended since the last look than are remembered
        self._passed_over: dict[Hashable, None] = {}  # closed by looks; their ends may yet be told
        self._looked_at: float | None = None

    @property
    def rows(self) -> list[Watched]:
        """What is open, and behind it what was closed a short while ago, the latest last."""
        self._forget()
        return [row for rows in (self._open.values(), self._closed) for row in rows if row._shown]

    def seen(self, entries: Iterable[SocketEntry], now: float) -> list[Change]:
        """The table at one look, which began after the look before was given."""
        self.now = max(self.now, now)
        changes: list[Change] = []
        before, first = self._looked_at, self._looked_at is None
        present: dict[Hashable, Watched] = {}
        for entry in entries:
            if _is_remnant(entry):
                continue
            key = _key(entry)
            row = self._open.pop(key, None) or self._without_cookie(entry)
            if row is not None:
                self._looked(row, entry, changes)
            elif key in self._ended or self._overflown or key in present:
                continue  # if more ended than are remembered, newcomers wait for the next look
            else:
                self._passed_over.pop(key, None)
                self._owner_of(entry)  # who holds it is seen: the note of it needs not wait any longer
                row = Watched(self, entry, self.now, there_before=first)
                self._opened(row, changes, since=before)
            present[key] = row
        for key, row in self._open.items():
            if row._missed_at is not None and self.now - row._missed_at >= self._patience_seconds:
                self._remember_passed_over(key)
                self._close(row, changes)
            else:
                row._missed_at = self.now if row._missed_at is None else row._missed_at
                present[key] = row
        self._open = present
        self._ended.clear()
        self._overflown = False
        self._looked_at = self.now
        self._forget()
        return changes

    def ended(self, entries: Iterable[SocketEntry], now: float) -> list[Change]:
        """Sockets that have ended, each with what it counted in the end."""
        self.now = max(self.now, now)
        changes: list[Change] = []
        for entry in entries:
            key = _key(entry)
            if key in self._ended:
                continue
            self._remember_ended(key)
            owner = self._owner_of(entry)
            row = self._open.pop(key, None)
            if row is None:
                if key in self._passed_over:
                    del self._passed_over[key]
                    continue
                if entry.local is None and entry.peer is None:
                    continue  # made and thrown away without ever having an address
                row = Watched(self, entry, self.now, unseen=True, owner=owner)
                self._opened(row, changes, since=self._looked_at)
            else:
                row._owner = owner  # a look may have met it before it was accepted
                if row.entry.peer is None and entry.peer is not None:
                    row.entry = row.entry.with_addresses_of(entry)  # the last look met it while it was connecting
                self._counted(row, entry, self._looked_at)
            self._close(row, changes)
        self._forget()
        return changes

    # --- one row

    def _owner_of(self, entry: SocketEntry) -> Process | None:
        return None if self._owner is None else self._owner(entry)

    def _without_cookie(self, entry: SocketEntry) -> Watched | None:
        """The same socket from before the kernel numbered it, which it does when it is first listed."""
        return self._open.pop((entry.namespace, entry.inode), None) if entry.cookie and entry.inode else None

    def _opened(self, row: Watched, changes: list[Change], *, since: float | None) -> None:
        if not row.there_before:
            self.totals.opened += 1
            self._moved(row, row.received_bytes or 0, row.sent_bytes or 0, since)
        self._tell(row, "opened", changes)

    def _looked(self, row: Watched, entry: SocketEntry, changes: list[Change]) -> None:
        counts = _counts(entry)
        if counts == row._counts and row._shown and not row.received_per_second and not row.sent_per_second:
            row.entry = entry  # most sockets are silent, and nothing is to be counted of them
            row._missed_at = None
            return
        self._counted(row, entry, self._looked_at)
        moved, row._counts = counts != row._counts, counts
        row.entry = entry
        row._missed_at = None
        if moved:
            row._asked = False
        if moved or not row._shown:
            self._tell(row, "moved", changes)

    def _counted(self, row: Watched, entry: SocketEntry, since: float | None) -> None:
        """A connection that was reset has forgotten its counts: then those of the last look stay.

        Otherwise the later count holds, even if it is smaller: while the peer's end is on its way in, the kernel may
        count that as a byte.
        """
        received = entry.received_bytes or row.received_bytes or 0
        sent = entry.sent_bytes or row.sent_bytes or 0
        self._moved(row, received - (row.received_bytes or 0), sent - (row.sent_bytes or 0), since)
        if entry.received_bytes is not None:
            row.received_bytes = received
        if entry.sent_bytes is not None:
            row.sent_bytes = sent

    def _moved(self, row: Watched, received: int, sent: int, since: float | None) -> None:
        since = self.now if since is None else since
        seconds = max(self.now - since, SHORTEST_SECONDS)
        if row.received_per_second is not None:
            row.received_per_second = max(received, 0) / seconds
        if row.sent_per_second is not None:
            row.sent_per_second = max(sent, 0) / seconds
        row._spark.add(received + sent, since, self.now)
        self.totals.received_bytes += received
        self.totals.sent_bytes += sent
        self.totals.received_spark.add(received, since, self.now)
        self.totals.sent_spark.add(sent, since, self.now)

    def _close(self, row: Watched, changes: list[Change]) -> None:
        row._asked = False
        _ = row.use  # now: what is known of its bytes is forgotten sooner than the row
        self.totals.closed += 1
        self._tell(row, None, changes)
        row.closed_at = self.now
        if row._shown:
            self._closed.append(row)
            changes.append(Change("closed", row))

    def _tell(self, row: Watched, kind: Literal["opened", "moved"] | None, changes: list[Change]) -> None:
        """A row that was not wanted may be so by now; then it is told of as opened, unless it was there before."""
        if row._shown:
            if kind == "moved":
                changes.append(Change("moved", row))
        elif self._wanted is None or self._wanted(row):
            row._shown = True
            if not row.there_before:
                changes.append(Change("opened", row))
            elif kind == "moved":
                changes.append(Change("moved", row))

    # --- bounds

    def _remember_ended(self, key: Hashable) -> None:
        if len(self._ended) < self._most_ended:
            self._ended.add(key)
        else:
            self._overflown = True

    def _remember_passed_over(self, key: Hashable) -> None:
        if len(self._passed_over) >= self._most_ended:
            del self._passed_over[next(iter(self._passed_over))]
        self._passed_over[key] = None

    def _forget(self) -> None:
        while self._closed and self.now - (self._closed[0].closed_at or 0.0) >= self._keep_seconds:
            self._closed.popleft()


def _key(entry: SocketEntry) -> Hashable:
    """The kernel's number of a socket, which it gives to no other; before it has one, its inode or its addresses."""
    if entry.cookie:
        return entry.cookie
    if entry.inode:
        return entry.namespace, entry.inode
    return entry.namespace, entry.scheme, entry.local, entry.peer


def _is_remnant(entry: SocketEntry) -> bool:
    return entry.state == "time-wait" or (entry.state == "fin-wait-2" and entry.received_bytes is None)


def _counts(entry: SocketEntry) -> tuple[object, ...]:
    return (
        entry.state,
        entry.received_bytes,
        entry.sent_bytes,
        entry.receive_queue,
        entry.send_queue,
        entry.retransmits,
        entry.backlog,
    )


# Two looks in the same moment make no rate of millions.
SHORTEST_SECONDS = 0.001
