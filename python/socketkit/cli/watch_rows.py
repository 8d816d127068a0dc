"""What `socketkit watch` says of each row, on its screen and on its page: its order, its cells, its details."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..inspect.processes import why_hidden
from .ls import _peer as peer_of
from .units import amount, duration, plural, rate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    from ..endpoint import Endpoint
    from ..inspect.watch import Totals, Watched

    class Source(Protocol):
        """What is asked of a `Watching`."""

        @property
        def rows(self) -> list[Watched]: ...
        @property
        def totals(self) -> Totals: ...
        @property
        def now(self) -> float: ...
        @property
        def complete(self) -> bool: ...
        @property
        def why_no_first_bytes(self) -> str: ...
        def names(self, row: Watched) -> tuple[str, ...]: ...


VIEWS = ("all", "by process", "by use", "listeners")


class Title(NamedTuple):
    """A line above the rows of one group."""

    text: str


class Said(NamedTuple):
    """The cells of a row, in words. `received` and `sent` are rates, of a closed row what it came to."""

    encrypted: str
    state: str
    local: str
    peer: str
    process: str
    use: str
    received: str
    sent: str


def said(row: Watched) -> Said:
    use = row.use
    received, sent = _figures(row)
    return Said(
        encrypted=use.encrypted,
        state=row.state,
        local=printable(str(row.entry.local or "-")),
        peer=printable(peer_of(row)),
        process=printable(process_of(row)),
        use=f"{use.name} {use.confidence:.0%}",
        received=received,
        sent=sent,
    )


def told(rows: Sequence[Watched], totals: Totals) -> str:
    """How many sockets are open of those that are shown, and what came and went in all."""
    still_open = sum(row.closed_at is None for row in rows)
    return f"{plural(still_open, 'socket')}, {totals.opened:,} opened, {totals.closed:,} closed"


def notes(source: Source) -> list[str]:
    """What cannot be known, and what helps."""
    said = [] if source.complete else [f"? is what cannot be known: {why_hidden()}"]
    return [*said, source.why_no_first_bytes] if source.why_no_first_bytes else said


def arranged(rows: Sequence[Watched], view: str, column: str = "", *, downwards: bool = False) -> list[Title | Watched]:
    """The lines of a view, closed rows behind the open ones.

    By a column (a field of `Said`) if one is named. Otherwise what moves most stands first, and of what listens what is
    most exposed.
    """
    if view == "listeners":
        rows = [row for row in rows if row.entry.peer is None and row.entry.local is not None and _waits(row)]
    if column:
        ordered = sorted(sorted(rows, key=ORDERS[column], reverse=downwards), key=lambda row: row.closed_at is not None)
    elif view == "listeners":
        ordered = sorted(rows, key=lambda row: (EXPOSED.get(row.entry.exposure, 2), str(row.entry.local)))
    else:
        ordered = sorted(rows, key=lambda row: (row.closed_at is not None, -_moved(row), row.first_seen))
    if view == "listeners":
        return [*ordered]
    if view == "all":
        return [*ordered]
    name: Callable[[Watched], str] = process_of if view == "by process" else lambda row: row.use.name
    groups: dict[str, list[Watched]] = {}
    for row in ordered:
        groups.setdefault(name(row), []).append(row)
    lines: list[Title | Watched] = []
    for title, members in sorted(groups.items(), key=lambda group: (-sum(map(_moved, group[1])), group[0])):
        total = sum(map(_moved, members))
        lines.append(Title(f"{printable(title)}  {len(members):,}" + (f"  {rate(total)}" if total else "")))
        lines += members
    return lines


def cells(row: Watched, width: int) -> str:
    """A row as one line of `width` columns."""
    cell = said(row)
    room = max(MOST_NARROW, (width - FIXED_WIDTH) // 2)
    parts = [
        LOCKS[cell.encrypted],
        _cut(cell.state, 11),
        _cut(cell.local, room),
        _cut(cell.peer, room),
        _cut(cell.process, 18),
        _cut(cell.use, 14),
        cell.received.rjust(9),
        cell.sent.rjust(9),
        spark(row.spark[-SPARK_WIDTH:], SPARK_WIDTH),
    ]
    return " ".join(parts)[:width].ljust(width)


def header(width: int) -> str:
    room = max(MOST_NARROW, (width - FIXED_WIDTH) // 2)
    names = ["enc", "state".ljust(11), "local".ljust(room), "peer".ljust(room), "process".ljust(18), "use".ljust(14)]
    return " ".join([*names, "in".rjust(9), "out".rjust(9), "last seconds"])[:width].ljust(width)


def details(row: Watched, now: float, names: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Everything that is known of one socket, name by name; `names` are those that led to its peer."""
    from datetime import datetime

    entry, use = row.entry, row.use

    def clock(at: float) -> str:
        return datetime.fromtimestamp(at).strftime("%H:%M:%S")

    began = "it was there before" if row.there_before else f"{clock(row.first_seen)} opened"
    known = [
        ("local", str(entry.local or "-")),
        ("peer", peer_of(row)),
        *([("asked for", ", ".join(names))] if names else []),
        ("state", row.state),
        ("timeline", began if row.closed_at is None else f"{began}, {clock(row.closed_at)} closed"),
        ("use", f"{use.name} {use.protocol} ({use.confidence:.0%})"),
        ("because", use.reason),
        ("encrypted", use.encrypted),
        ("received", _amount(row.received_bytes)),
        ("sent", _amount(row.sent_bytes)),
        ("last minute", spark(row.spark, 60)),
        ("round trip", "-" if entry.round_trip_ms is None else duration(entry.round_trip_ms / 1e3)),
        ("retransmits", "-" if entry.retransmits is None else f"{entry.retransmits:,}"),
        ("queues", f"{amount(entry.receive_queue)} to read, {amount(entry.send_queue)} to send"),
        ("reached from", entry.exposure),
        ("namespace", entry.namespace_name or "our own"),
    ]
    for process in row.processes or ():
        known.append(("process", f"{process.name} (pid {process.pid}, {process.user or '?'})"))
        known += [(name, value) for name in ("executable", "unit", "container") if (value := getattr(process, name))]
    if not row.processes:
        known.append(("process", process_of(row)))
    return [(name, printable(value)) for name, value in known]


def process_of(row: Watched) -> str:
    if row.processes is None:
        return "?"
    return f"{row.processes[0].name}[{row.processes[0].pid}]" if row.processes else "-"


def spark(values: Sequence[float], width: int) -> str:
    """Bars of eight heights, the tallest full; a blank where nothing moved."""
    most = max(values, default=0.0)
    bars = "".join(BARS[min(7, int(value / most * 8))] if value > 0 else " " for value in values)
    return bars.rjust(width)


def capture_command(row: Watched) -> str | None:
    ends = [end for end in (row.entry.local, row.entry.peer) if end is not None and end.port]
    if not ends or row.entry.scheme not in ("tcp", "udp"):
        return None
    terms = [row.entry.scheme, *(f"and port {end.port}" for end in ends)]
    if row.entry.peer is not None and row.entry.peer.host:
        terms.append(f"and host {row.entry.peer.host.partition('%')[0]}")
    return f"sudo socketkit capture any {' '.join(terms)}"


def trace_command(row: Watched) -> str | None:
    peer = row.entry.peer
    return None if peer is None or not peer.host or peer.path else f"socketkit trace {peer.host}"


def _figures(row: Watched) -> tuple[str, str]:
    if row.closed_at is not None:
        return _amount(row.received_bytes), _amount(row.sent_bytes)
    return _rate(row.received_per_second), _rate(row.sent_per_second)


def _rate(value: float | None) -> str:
    return "?" if value is None else rate(value) if value else "-"


def _amount(count: int | None) -> str:
    return "?" if count is None else amount(count)


def _moved(row: Watched) -> float:
    return 0.0 if row.closed_at is not None else (row.received_per_second or 0.0) + (row.sent_per_second or 0.0)


def _known(rate: float | None, total: int | None, row: Watched) -> float:
    value = rate if row.closed_at is None else total
    return -1.0 if value is None else value


def _place(endpoint: Endpoint | None) -> tuple[str, int, str]:
    return (
        ("", 0, "") if endpoint is None else (endpoint.host or endpoint.path or "", endpoint.port or 0, endpoint.scheme)
    )


def _waits(row: Watched) -> bool:
    return row.closed_at is None and row.entry.state in ("listening", "unconnected")


def printable(text: str) -> str:
    """A program chooses its name, and a name could hold what a terminal obeys."""
    return text if text.isprintable() else "".join(char if char.isprintable() else "·" for char in text)


def _cut(text: str, width: int) -> str:
    return (text if len(text) <= width else text[: width - 1] + "…").ljust(width)


LOCKS = {"yes": "yes", "no": "no ", "random-looking": "~? ", "unknown": "?  "}
EXPOSED = {"everywhere": 0, "network": 1}
# What each column is sorted by; what is not known stands below everything.
ORDERS: dict[str, Callable[[Watched], tuple[str | float, ...]]] = {
    "encrypted": lambda row: (row.use.encrypted,),
    "state": lambda row: (row.state,),
    "local": lambda row: _place(row.entry.local),
    "peer": lambda row: (row.entry.peer is not None, *_place(row.entry.peer), row.entry.exposure),
    "process": lambda row: (process_of(row).lower(),),
    "use": lambda row: (row.use.name, row.use.confidence),
    "received": lambda row: (_known(row.received_per_second, row.received_bytes, row),),
    "sent": lambda row: (_known(row.sent_per_second, row.sent_bytes, row),),
}
BARS = "▁▂▃▄▅▆▇█"
SPARK_WIDTH = 12
MOST_NARROW = 12
FIXED_WIDTH = 3 + 11 + 18 + 14 + 9 + 9 + SPARK_WIDTH + 8
