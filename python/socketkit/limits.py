"""`Limits`: every size, time and number that bounds a connection or a listener. All are finite."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, NoReturn


class Limits:
    """Bounds of one listener or one connection: a frozen value.

    - `connections` (None: 10,000, or 0.9 of the process's descriptors if fewer): open at once, per listener; the
      backlog keeps further callers.
    - `backlog` (1,024): callers that the kernel keeps until they are accepted (man 2 listen; capped by
      net.core.somaxconn).
    - `write_high_bytes` (262,144): with more than this queued, `send` waits.
    - `write_low_bytes` (65,536): `send` goes on once the queue has fallen to this.
    - `connect_seconds` (30): for a whole `connect`: name, attempts and all.
    - `close_seconds` (5): for `aclose` to send what is queued; then the connection is reset.
    - `grace_seconds` (5): for handlers to end by themselves when a server stops; then they are cancelled.

    Raises ValueError when made with a bound that is not finite and positive, or whose parts contradict each other.
    """

    # Not a dataclass: importing that module costs half of what importing socketkit does.
    __slots__ = (
        "backlog",
        "close_seconds",
        "connect_seconds",
        "connections",
        "grace_seconds",
        "write_high_bytes",
        "write_low_bytes",
    )

    connections: int | None
    backlog: int
    write_high_bytes: int
    write_low_bytes: int
    connect_seconds: float
    close_seconds: float
    grace_seconds: float

    def __init__(
        self,
        *,
        connections: int | None = None,
        backlog: int = 1024,
        write_high_bytes: int = 262_144,
        write_low_bytes: int = 65_536,
        connect_seconds: float = 30.0,
        close_seconds: float = 5.0,
        grace_seconds: float = 5.0,
    ) -> None:
        given = locals()
        for name in ("connect_seconds", "close_seconds", "grace_seconds"):
            if not 0 <= given[name] < 1e9:
                raise ValueError(f"Limits.{name} must be finite and not negative")
        for name in ("connections", "backlog", "write_high_bytes"):
            if given[name] is not None and not 1 <= given[name] < 1 << 62:
                raise ValueError(f"Limits.{name} must be at least 1 and finite")
        if not 0 <= write_low_bytes <= write_high_bytes:
            raise ValueError("Limits.write_low_bytes must be between 0 and write_high_bytes")
        for name in self.__slots__:
            object.__setattr__(self, name, given[name])

    def __eq__(self, other: object) -> bool:
        return self._values() == other._values() if isinstance(other, Limits) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        return f"Limits({', '.join(f'{name}={getattr(self, name)!r}' for name in sorted(self.__slots__))})"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"Limits are frozen: make new ones with another {name}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("Limits are frozen")

    def __reduce__(self) -> tuple[object, ...]:
        return _remade, (dict(zip(self.__slots__, self._values(), strict=True)),)

    def _values(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def most_connections(self) -> int:
        """`connections`, or what this process's descriptors allow.

        A reserve stays for files, names and the program's own sockets.
        """
        if self.connections is not None:
            return self.connections
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if descriptors == resource.RLIM_INFINITY:
            return CONNECTIONS
        return max(1, min(CONNECTIONS, int(0.9 * (descriptors - DESCRIPTOR_RESERVE))))


CONNECTIONS = 10_000
DESCRIPTOR_RESERVE = 32


def _remade(values: dict[str, Any]) -> Limits:
    return Limits(**values)
