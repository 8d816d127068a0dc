"""`Limits`: every size, time and number that bounds a connection or a listener. All are finite."""

from __future__ import annotations

import resource
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one listener or one connection.

    Raises ValueError when made with a bound that is not finite and positive, or whose parts contradict each other.
    """

    connections: int | None = None
    """Open at once, per listener; the backlog keeps further callers.

    None: 10,000, or 0.9 of the process's descriptors if fewer.
    """

    backlog: int = 1024
    """Callers that the kernel keeps until they are accepted (man 2 listen; capped by net.core.somaxconn)."""

    write_high_bytes: int = 262_144
    """With more than this queued, `send` waits."""

    write_low_bytes: int = 65_536
    """`send` goes on once the queue has fallen to this."""

    connect_seconds: float = 30.0
    """For a whole `connect`: name, attempts and all."""

    close_seconds: float = 5.0
    """For `aclose` to send what is queued; then the connection is reset."""

    grace_seconds: float = 5.0
    """For handlers to end by themselves when a server stops; then they are cancelled."""

    def __post_init__(self) -> None:
        for name in ("connect_seconds", "close_seconds", "grace_seconds"):
            if not 0 <= getattr(self, name) < 1e9:
                raise ValueError(f"Limits.{name} must be finite and not negative")
        for name in ("connections", "backlog", "write_high_bytes"):
            value = getattr(self, name)
            if value is not None and not 1 <= value < 1 << 62:
                raise ValueError(f"Limits.{name} must be at least 1 and finite")
        if not 0 <= self.write_low_bytes <= self.write_high_bytes:
            raise ValueError("Limits.write_low_bytes must be between 0 and write_high_bytes")

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
