"""What a file of history says of the listeners of this machine: which of them nobody connected to."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from .view import Recorded, subject_of

if TYPE_CHECKING:
    import os


def read(path: str | os.PathLike[str], *, unused_seconds: float) -> Recorded | None:
    """Of all that was recorded; None if of no time all TCP sockets were. A port counts as unused only after
    `unused_seconds` in which it was open and somebody recorded.

    Raises HistoryError for a file that is damaged or none, OSError for one that cannot be read.
    """
    from ..inspect.history import History

    with History(path) as history:
        known = history.recorded()
        if not known:
            return None
        found = history.unused_listeners(open_at_least=timedelta(seconds=unused_seconds))
        holes = [(before[1], after[0]) for before, after in pairwise(known)]
        return Recorded(
            known[0][0],
            known[-1][1],
            sum(until - since for since, until in known),
            {subject_of(one.row.entry): one.open_seconds for one in found},
            holes,
        )


UNUSED_SECONDS = 86_400.0
