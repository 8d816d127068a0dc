"""What is known of a stop of the tour, and what makes one fail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Literal


@dataclass
class Visit:
    """What is known of a stop so far."""

    stop: str
    endpoint: str
    """The address to open, then the one that was opened."""
    outcome: Literal["waiting", "running", "works", "absent", "failed"] = "waiting"
    reason: str | None = None
    peer: str | None = None
    encrypted: bool | None = None
    cipher: str | None = None
    key_exchange: str | None = None
    sent_bytes: int = 0
    received_bytes: int = 0
    bytes_per_second: float | None = None
    latency_seconds: float | None = None
    group: str = ""
    """What sockets of this type are."""


class TourError(Exception):
    """A socket did not do what it must."""


def require(true: bool, otherwise: str) -> None:
    if not true:
        raise TourError(otherwise)


BULK_BYTES = 16_777_216
ROUND_TRIPS = 300
MESSAGE_BYTES = 64
