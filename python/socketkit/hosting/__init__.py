"""What every service needs that a person starts by one command.

Which address to open and to show (`place`), the link with its token (`link`, `gate`), certificates for browsers
(`authority`), who is connected (`peers`), several listeners as one service (`together`), and the block
that holds all of it (`host`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .hosted import Hosted, host
from .link import Link
from .peers import About, Happening, Peers, Present, Row
from .places import Place, Wanted, at, place
from .together import Door, Together

if TYPE_CHECKING:
    from .gate import Gate

__all__ = [
    "About",
    "Door",
    "Gate",
    "Happening",
    "Hosted",
    "Link",
    "Peers",
    "Place",
    "Present",
    "Row",
    "Together",
    "Wanted",
    "at",
    "host",
    "place",
]


def __getattr__(name: str) -> object:
    # It needs HTTP, which services without browsers do not.
    if name != "Gate":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .gate import Gate

    return Gate
