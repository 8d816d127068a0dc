"""`Access`: one request that was answered, for logs and screens."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ..connection import Peer


class Access(NamedTuple):
    """Told when an answer has ended, or the connection with it."""

    peer: Peer
    method: str
    target: str
    """Path and query as they were sent; "" where the request could not be read."""
    status: int
    """0: the application ended without an answer, or the client had gone before one."""
    sent_bytes: int
    """Of the answer's body."""
    seconds: float
    version: str
    """"1.0", "1.1" or "2"."""
