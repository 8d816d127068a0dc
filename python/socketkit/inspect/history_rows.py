"""A row of history in the words of the socket table, so that what selects and shows live sockets takes it as well."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from ..endpoint import Endpoint
from ..errors import EndpointError
from .uses import Use

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal


class Holder(NamedTuple):
    """A process as it was when it was first seen."""

    pid: int
    started: float | None
    name: str
    executable: str | None
    uid: int | None
    user: str | None
    unit: str | None
    container: str | None


class PastEntry:
    """The names of an entry of the socket table, as far as they are kept; what is of a moment only is None."""

    __slots__ = ("_seconds", "_values", "processes")

    processes: tuple[Holder, ...] | None
    receive_queue = send_queue = quiet_seconds = None

    def __init__(self, values: tuple[Any, ...], processes: tuple[Holder, ...] | None, seconds: float | None) -> None:
        self._values = values
        self._seconds = seconds
        self.processes = processes

    @staticmethod
    def endpoint(text: str | None) -> Endpoint | None:
        return None if text is None else _parsed(text)

    @property
    def local(self) -> Endpoint | None:
        return self.endpoint(self._values[7])

    @property
    def peer(self) -> Endpoint | None:
        return self.endpoint(self._values[8])

    @property
    def scheme(self) -> str:
        return str(self._values[5])

    @property
    def state(self) -> str:
        """The last one before it ended."""
        return str(self._values[6])

    @property
    def exposure(self) -> str:
        return str(self._values[10])

    @property
    def interface(self) -> str | None:
        return _text(self._values[11])

    @property
    def namespace(self) -> int:
        return int(self._values[12])

    @property
    def namespace_name(self) -> str:
        return self._values[13] or ""

    @property
    def cookie(self) -> int:
        return int(self._values[14]) % (1 << 64)

    @property
    def inode(self) -> int:
        return int(self._values[15])

    @property
    def uid(self) -> int | None:
        return _number(self._values[16])

    @property
    def user(self) -> str | None:
        return _text(self._values[17])

    @property
    def received_bytes(self) -> int | None:
        return _number(self._values[23])

    @property
    def sent_bytes(self) -> int | None:
        return _number(self._values[24])

    @property
    def retransmits(self) -> int | None:
        return _number(self._values[25])

    @property
    def round_trip_ms(self) -> float | None:
        return None if self._values[26] is None else float(self._values[26])

    @property
    def dropped(self) -> int | None:
        return _number(self._values[27])

    @property
    def oldest_seconds(self) -> float | None:
        """How long it lasted; None if only a part of that is known."""
        return self._seconds

    @property
    def youngest_seconds(self) -> float | None:
        return self._seconds


class Past:
    """A socket that was recorded. Times are seconds since 1970.

    `opened_at` is when it was first seen; `there_before`: it was open by then. `closed_at` is None if its end is not
    known, or has not come; `end` says which, and `last_seen_at` until when it was open for certain.
    """

    __slots__ = ("closed_at", "end", "entry", "last_seen_at", "number", "opened_at", "there_before", "use")

    def __init__(
        self, values: tuple[Any, ...], holders: Mapping[int, Holder | None], last_seen_at: float, *, live: bool
    ) -> None:
        number, opened, before, until, known = values[:5]
        self.number: int = number
        self.opened_at: float = opened / 1000
        self.there_before = bool(before)
        self.closed_at: float | None = until / 1000 if known else None
        self.last_seen_at: float = max(self.opened_at, last_seen_at) if until is None else until / 1000
        self.end: Literal["closed", "open", "unknown"] = (
            "closed" if known else "open" if live and until is None else "unknown"
        )
        words = values[18]
        found = None if words is None else [holders.get(int(word)) for word in words.split(",") if word]
        processes = None if found is None else tuple(one for one in found if one is not None)
        lasted = self.closed_at - self.opened_at if self.closed_at is not None and not before else None
        self.entry = PastEntry(values, processes, lasted)
        name, protocol, confidence, encrypted = values[19:23]
        self.use = Use(name, protocol, confidence, "", encrypted)

    def __repr__(self) -> str:
        return f"<Past {self.entry.local} {self.entry.peer} {self.end}>"

    @property
    def processes(self) -> tuple[Holder, ...] | None:
        """Who held it; None where nobody could know."""
        return self.entry.processes

    @property
    def state(self) -> str:
        return self.entry.state

    @property
    def port(self) -> int:
        """That of this side; 0 without one."""
        local = self.entry.local
        return 0 if local is None else local.port or 0

    @property
    def received_bytes(self) -> int | None:
        return self.entry.received_bytes

    @property
    def sent_bytes(self) -> int | None:
        return self.entry.sent_bytes

    def as_json(self) -> dict[str, object]:
        """Under stable names: those of `ls --json`, as far as they are kept."""
        entry, use, processes = self.entry, self.use, self.processes
        return {
            "opened_at": self.opened_at,
            "there_before": self.there_before,
            "closed_at": self.closed_at,
            "last_seen_at": self.last_seen_at,
            "end": self.end,
            **{name: getattr(entry, name) for name in ("scheme", "state", "exposure", "interface")},
            "local": None if entry.local is None else str(entry.local),
            "peer": None if entry.peer is None else str(entry.peer),
            **{name: getattr(entry, name) for name in ("namespace", "namespace_name", "inode", "uid", "user")},
            "processes": None if processes is None else [one._asdict() for one in processes],
            **{name: getattr(entry, name) for name in ("received_bytes", "sent_bytes", "retransmits")},
            **{name: getattr(entry, name) for name in ("round_trip_ms", "dropped")},
            "use": {"name": use.name, "protocol": use.protocol, "confidence": use.confidence},
            "encrypted": use.encrypted,
        }


@lru_cache(maxsize=65_536)
def _parsed(text: str) -> Endpoint | None:
    try:
        return Endpoint.parse(text)
    except EndpointError:  # a later version's
        return None


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _number(value: Any) -> int | None:
    return None if value is None else int(value)
