"""What every service needs that a person starts by one command.

Which address to open and to show (`place`), the link with its token (`link`, `gate`), certificates for browsers
(`authority`), who is connected (`peers`), and the block that holds them together (`host`).
"""

from __future__ import annotations

from .gate import Gate
from .hosted import Hosted, host
from .link import Link
from .peers import Happening, Peers, Present, Row
from .places import Place, Wanted, at, place

__all__ = ["Gate", "Happening", "Hosted", "Link", "Peers", "Place", "Present", "Row", "Wanted", "at", "host", "place"]
