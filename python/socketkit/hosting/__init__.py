"""What every service needs that a person starts by one command.

Which address to open and to show (`place`), the link with its token (`link`, `gate`), certificates for browsers
(`authority`), who is connected (`peers`), several listeners as one service (`together`), and the block
that holds all of it (`host`).
"""

from __future__ import annotations

from .gate import Gate
from .hosted import Hosted, host
from .link import Link
from .peers import About, Happening, Peers, Present, Row
from .places import Place, Wanted, at, place
from .together import Door, Together

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
