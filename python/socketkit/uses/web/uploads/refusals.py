"""`Refused`: why something is not taken, as a status and words that name the way out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Refused"]


class Refused(Exception):
    """Answered with `status` and `words`."""

    def __init__(self, status: int, words: str, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        super().__init__(words)
        self.status = status
        self.words = words
        self.headers = headers
