"""History: what was watched, read from the file in which a `Recorder` keeps it.

    with History("history.db") as history:
        for row in history.connections(at=datetime(2026, 11, 22, 3, 0), select="peer=10.0.0.0/8"):
            print(row.opened_at, row.entry.local, row.entry.peer, row.processes)
        for listener in history.unused_listeners():
            print(listener.row.entry.local)

What was not recorded is never told as if nothing had been there: `spans()` says when somebody recorded, `gaps()` when
nobody did, and where changes were lost. A file is read while it is written, a piece at a time, so that nobody who reads
slowly makes it grow.
"""

from __future__ import annotations

import os
import sqlite3
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from .history_recorder import Recorder
from .history_rows import Holder, Past, PastEntry
from .history_store import explained, is_held, open_to_read
from .selection import Selection

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import timedelta
    from types import TracebackType
    from typing import Self

    Moment = datetime | float

__all__ = ["Gap", "History", "Holder", "Past", "PastEntry", "Recorder", "Span", "Unused"]


class Span(NamedTuple):
    """A time in which everything that was selected was recorded; seconds since 1970."""

    since: float
    until: float
    selection: str
    running: bool  # somebody records now
    ended: bool  # it was ended as it should be; False and not running: the recorder was killed


class Gap(NamedTuple):
    """A time of which not everything is known; seconds since 1970."""

    since: float
    until: float
    lost: int | None  # so many changes found no room; None: nobody recorded


class Unused(NamedTuple):
    """A listener that nobody connected to in what was recorded of a time."""

    row: Past
    since: float
    until: float
    recorded_seconds: float  # between the two, without gaps
    open_seconds: float  # of those, for so long it was open


class History:
    """A file of history, opened for reading; `with` closes it.

    Raises HistoryError for a file that is damaged, none, or of a later version; OSError for one that cannot be read.
    Moments are seconds since 1970 or datetimes, which mean local time if they name no zone. HistoryError is raised
    while reading, too.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._connection = open_to_read(self.path)
        self._holders: dict[int, Holder | None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def sockets(
        self,
        *,
        at: Moment | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        select: str | Selection = "",
    ) -> Iterator[Past]:
        """What was open `at` a moment, or at any time from `since` to `until`, in the order in which it was opened.

        Of a socket whose end nobody saw it is known until it was last seen. SelectionError for what selects nothing.
        """
        if at is not None and (since is not None or until is not None):
            raise ValueError("at is a moment, since and until are two others: give the one or the others")
        selection = select if isinstance(select, Selection) else Selection(select)
        first = _milliseconds(since if at is None else at)
        last = _milliseconds(until if at is None else at)
        rows = self._rows(first, last)
        return (row for row in rows if selection.holds(row)) if selection else rows

    def connections(
        self,
        *,
        at: Moment | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        select: str | Selection = "",
    ) -> Iterator[Past]:
        """Of `sockets` those that had somebody at the other end."""
        found = self.sockets(at=at, since=since, until=until, select=select)
        return (row for row in found if row.entry.peer is not None)

    def spans(self) -> list[Span]:
        """When there was a recorder, the earliest first."""
        rows = self._read("SELECT id, since, until, selection, ended FROM span ORDER BY since")
        newest = max((row[0] for row in rows), default=0)
        held = is_held(self.path)
        return [
            Span(since / 1000, until / 1000, selection or "", held and number == newest, bool(ended))
            for number, since, until, selection, ended in rows
        ]

    def gaps(self) -> list[Gap]:
        """Between the beginning of the first span and the end of the last: what is not known, the earliest first."""
        found = [Gap(since / 1000, until / 1000, lost) for since, until, lost in self._read("SELECT * FROM gap")]
        spans = self.spans()
        reached = spans[0].until if spans else 0.0
        for span in spans[1:]:
            if span.since > reached:
                found.append(Gap(reached, span.since, None))
            reached = max(reached, span.until)
        return sorted(found, key=lambda gap: (gap.since, gap.until))

    def unused_listeners(
        self,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        open_at_least: timedelta | None = None,
        select: str | Selection = "",
    ) -> list[Unused]:
        """TCP listeners that nobody connected to: those that were open in all of what was recorded.

        `open_at_least`: those that were open in so much of it, and are at its end. A program that is started anew has
        the same listener, if its name and address are the same. Spans that recorded a selection do not count, since a
        connection could have been outside of it; nor do times in which changes were lost.
        """
        selection = select if isinstance(select, Selection) else Selection(select)
        recorded = self.recorded(since=since, until=until)
        if not recorded:
            return []
        begin, end = recorded[0][0], recorded[-1][1]
        listeners: dict[tuple[str, str, str], list[Past]] = {}
        where = "scheme = 'tcp' AND state = 'listening' AND peer IS NULL AND local IS NOT NULL"
        for row in self._rows(round(begin * 1000), round(end * 1000), where):
            if row.entry.local is not None and selection.holds(row):
                listeners.setdefault(place_of(row.entry), []).append(row)
        settling = min(SETTLING_SECONDS, SETTLING_SHARE * _length(recorded))
        used = self._used(begin, end, {rows[0].port for rows in listeners.values()})
        found = []
        for rows in listeners.values():
            row = rows[-1]
            if any(_accepts(row.entry, *one) for one in used):
                continue
            opened = min(row.opened_at for row in rows)
            known = _joined([(row.opened_at, row.last_seen_at) for row in rows])
            seconds = _common(known, recorded)
            whole = opened <= begin + settling
            enough = whole if open_at_least is None else seconds >= open_at_least.total_seconds()
            if enough and known[-1][1] >= end - settling:
                found.append(Unused(row, begin, end, _length(recorded), seconds))
        return sorted(found, key=lambda one: (one.row.port, str(one.row.entry.local)))

    def recorded(self, *, since: Moment | None = None, until: Moment | None = None) -> list[tuple[float, float]]:
        """The times, within these bounds, of which all TCP sockets are known; without those of losses."""
        first, last = _milliseconds(since), _milliseconds(until)
        known = [(span.since, span.until) for span in self.spans() if span.selection in ALL_OF_TCP]
        for gap in self.gaps():
            if gap.lost is not None:
                known = [piece for one in known for piece in _without(one, (gap.since, gap.until))]
        low = -float("inf") if first is None else first / 1000
        high = float("inf") if last is None else last / 1000
        return _joined([(max(a, low), min(b, high)) for a, b in known if min(b, high) > max(a, low)])

    # --- reading

    def _rows(self, first: int | None, last: int | None, where: str = "1") -> Iterator[Past]:
        """In pieces: a reader that held one look at the file for long would make its log grow."""
        live = is_held(self.path)
        ((newest,),) = self._read("SELECT coalesce(max(id), 0) FROM socket")
        seen = self._read("SELECT until FROM span ORDER BY id DESC LIMIT 1")
        last_seen = seen[0][0] if seen else 0
        query = f"SELECT * FROM socket WHERE id > ? AND id <= ? AND ({where})"
        bounds: list[int] = []
        if last is not None:
            query += " AND opened <= ?"
            bounds.append(last)
        if first is not None:
            query += " AND coalesce(until, ?) >= ?"
            bounds += [max(last_seen, first) if live else last_seen, first]
        reached = 0
        while rows := self._read(f"{query} ORDER BY id LIMIT {ROWS_AT_ONCE}", (reached, newest, *bounds)):
            reached = rows[-1][0]
            self._look_up({int(word) for row in rows if row[HOLDERS] for word in row[HOLDERS].split(",")})
            for row in rows:
                yield Past(row, self._holders, last_seen / 1000, live=live)

    def _look_up(self, wanted: set[int]) -> None:
        missing = [number for number in wanted if number not in self._holders]
        if len(self._holders) > MOST_HOLDERS:
            self._holders = {}  # rows that were given keep the one that they have
            missing = list(wanted)
        for number in missing:
            self._holders[number] = None
        for start in range(0, len(missing), ROWS_AT_ONCE):
            some = missing[start : start + ROWS_AT_ONCE]
            query = f"SELECT * FROM process WHERE id IN ({', '.join(map(str, some))})"
            for number, *known, _last in self._read(query):
                self._holders[number] = Holder(*known)

    def _used(self, begin: float, end: float, ports: set[int]) -> set[tuple[str, str]]:
        """The addresses at which somebody was connected, with the names of their namespaces."""
        query = (
            "SELECT DISTINCT namespace_name, local FROM socket WHERE peer IS NOT NULL AND scheme = 'tcp'"
            f" AND state != 'syn-received' AND port IN ({', '.join(map(str, sorted(ports)))})"
            " AND opened <= ? AND coalesce(until, ?) >= ?"
        )
        rows = self._read(query, (round(end * 1000), round(end * 1000), round(begin * 1000)))
        return {(name or "", local) for name, local in rows}

    def _read(self, query: str, values: Sequence[object] = ()) -> list[Any]:
        try:
            return self._connection.execute(query, values).fetchall()
        except sqlite3.Error as failure:
            raise explained(self.path, failure) from failure


def place_of(entry: Any) -> tuple[str, str, str]:
    """A listener of the socket table or of a history: the same before and after its program is started anew."""
    program = entry.processes[0].name if entry.processes else ""
    return str(entry.local), entry.namespace_name or "", program


def _accepts(listener: PastEntry, namespace_name: str, local: str) -> bool:
    """Whether a connection at this address came by the listener; every interface is all addresses of its family."""
    place, other = listener.local, PastEntry.endpoint(local)
    if place is None or other is None or place.port != other.port or namespace_name != (listener.namespace_name or ""):
        return False
    if place.host != "*":
        return place.host == other.host
    family = place.scheme[-1]
    return family not in "46" or (":" in (other.host or "")) == (family == "6")


def _milliseconds(moment: Moment | None) -> int | None:
    if isinstance(moment, datetime):
        moment = moment.timestamp()
    return None if moment is None else round(moment * 1000)


# --- times


def _joined(pieces: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """In order, and those that touch as one."""
    joined: list[tuple[float, float]] = []
    for since, until in sorted(pieces):
        if joined and since <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], until)
        else:
            joined.append((since, until))
    return joined


def _without(piece: tuple[float, float], hole: tuple[float, float]) -> list[tuple[float, float]]:
    since, until = piece
    parts = [(since, min(until, hole[0])), (max(since, hole[1]), until)]
    return [part for part in parts if part[1] > part[0]]


def _common(some: list[tuple[float, float]], others: list[tuple[float, float]]) -> float:
    return sum(max(0.0, min(a[1], b[1]) - max(a[0], b[0])) for a in some for b in others)


def _length(pieces: Iterable[tuple[float, float]]) -> float:
    return sum(until - since for since, until in pieces)


# Selections that leave out no TCP socket.
ALL_OF_TCP = ("", "tcp", "!unix")
ROWS_AT_ONCE = 500
HOLDERS = 18  # the column of `socket` with the numbers of processes
MOST_HOLDERS = 65_536
# What begins with the machine begins with the recorder, give or take.
SETTLING_SECONDS = 60.0
SETTLING_SHARE = 0.02
