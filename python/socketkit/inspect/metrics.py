"""What is watched, as figures for Prometheus: `exposition` writes the text format 0.0.4.

No I/O. Every label has few values, whatever happens on the machine: words of closed lists (scheme, state, use,
exposure, finding), never an address, a name or a port. What strangers do cannot make a series.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from .selection import EXPOSURES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, MutableMapping, Sequence
    from typing import Literal, Protocol

    from .ledger import Totals, Watched

    class Source(Protocol):
        """What is asked of a `Watching`."""

        @property
        def rows(self) -> Sequence[Watched]: ...
        @property
        def totals(self) -> Totals: ...
        @property
        def complete(self) -> bool: ...
        @property
        def lost(self) -> int: ...
        @property
        def missed(self) -> int: ...
        @property
        def first_bytes(self) -> bool: ...

    Labels = tuple[tuple[str, str], ...]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Found(NamedTuple):
    """What an audit found: how many by (id, severity), and when it looked (Unix time)."""

    counts: Mapping[tuple[str, str], int]
    at: float


class Family(NamedTuple):
    """One metric: its name, whether it only rises, what it is, its series."""

    name: str
    kind: Literal["counter", "gauge"]
    meaning: str
    series: Iterable[tuple[Labels, float]]


def exposition(
    watching: Source, found: Found | None = None, *, highest: MutableMapping[str, float] | None = None
) -> str:
    """All metrics as text. `highest` is a mapping that the caller keeps between two calls.

    With it no counter falls: the kernel may take back a byte that it had counted (the peer's end), and whoever reads a
    counter that fell by one takes it for one that began again at zero.
    """
    lines = []
    for family in (*_of_sockets(watching), *_of_watching(watching), *_of_findings(found)):
        lines += [f"# HELP {family.name} {family.meaning}", f"# TYPE {family.name} {family.kind}"]
        for labels, value in family.series:
            name = family.name + _written(labels)
            if family.kind == "counter" and highest is not None:
                value = highest[name] = max(value, highest.get(name, 0.0))
            lines.append(f"{name} {value:.15g}")
    return "\n".join(lines) + "\n"


def _of_sockets(watching: Source) -> list[Family]:
    sockets: Counter[Labels] = Counter()
    listeners: Counter[str] = Counter(dict.fromkeys(EXPOSURES, 0))
    for row in watching.rows:
        if row.closed_at is not None:
            continue
        entry = row.entry
        sockets[(("scheme", entry.scheme), ("state", row.state), ("use", row.use.name))] += 1
        if entry.state == "listening" or (entry.state == "unconnected" and entry.local is not None):
            listeners[entry.exposure] += 1
    return [
        Family("socketkit_sockets", "gauge", "Sockets that are watched and open.", sorted(sockets.items())),
        Family(
            "socketkit_listeners",
            "gauge",
            "Listeners and open datagram sockets, by who can reach them.",
            [((("exposure", name),), count) for name, count in listeners.items()],
        ),
    ]


def _of_watching(watching: Source) -> list[Family]:
    totals = watching.totals
    counted = [
        ("opened", totals.opened, "Sockets that were opened since watching began."),
        ("closed", totals.closed, "Sockets that were closed since watching began."),
        ("received_bytes", totals.received_bytes, "Bytes received by TCP connections since watching began."),
        ("sent_bytes", totals.sent_bytes, "Bytes sent by TCP connections since watching began."),
        ("ends_lost", watching.lost, "Ends of sockets that came faster than they were read."),
        ("changes_missed", watching.missed, "Changes that found no room to wait in."),
    ]
    return [
        *(Family(f"socketkit_{name}_total", "counter", meaning, [((), value)]) for name, value, meaning in counted),
        Family("socketkit_complete", "gauge", "1 if every process and end could be seen.", [((), watching.complete)]),
        Family("socketkit_first_bytes", "gauge", "1 if first bytes tell the use.", [((), watching.first_bytes)]),
    ]


def _of_findings(found: Found | None) -> list[Family]:
    if found is None:
        return []
    counts = [
        ((("id", name), ("severity", severity)), count) for (name, severity), count in sorted(found.counts.items())
    ]
    return [
        Family("socketkit_findings", "gauge", "What the last audit found.", counts),
        Family("socketkit_audit_time_seconds", "gauge", "When the last audit looked, Unix time.", [((), found.at)]),
    ]


def _written(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{value.translate(ESCAPES)}"' for name, value in labels) + "}"


ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})
