"""`audit --watch`: looks again and again, and tells what is found when it is; until it is closed.

`phoning_home.Watch` decides. What it needs for that is here: a table, the kernel's report of ends and, where BPF is
permitted, notes of whose they were, a clock.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Literal

    from ..inspect.births import Births
    from .finding import Finding
    from .view import View


def watch(view: View, told: Iterable[str] = (), *, namespaces: Literal["all", "own"] = "all") -> Iterator[Finding]:
    """What is found from now on, each once, and not again what is in `told` (`Finding.key`); it never ends.

    `view` is what an audit looked at: programs and destinations that are declared there are. OSError where the kernel
    does not tell of sockets.
    """
    from select import select

    from .._core import EndedSockets, SocketTable
    from .phoning_home import Watch

    births = _births()
    seen, watching = set(told), Watch(view)
    table, ended = SocketTable(namespaces=namespaces), EndedSockets(namespaces=namespaces)
    heard = [ended.fileno()] if births is None else [ended.fileno(), births.fileno()]
    try:
        while True:
            watching.look(watching.view.again(table.refresh()))
            # Looked at once for all that ends meanwhile: a flood of short connections costs no flood of looks.
            next_look = time.monotonic() + LOOK_SECONDS
            while (left := next_look - time.monotonic()) > 0:
                select(heard, [], [], left)
                entries = ended.read()
                if births is not None:
                    births.read()  # after the ends: whatever has ended was noted before
                for entry in entries:
                    watching.ended(entry, clock(), None if births is None else births.take(entry.cookie))
            for finding in watching.find(clock()):
                if finding.key not in seen and len(seen) < MOST_TOLD:
                    seen.add(finding.key)
                    yield replace(finding, first_seen=time.time())
    finally:
        ended.close()
        if births is not None:
            births.close()


def _births() -> Births | None:
    """Whose short connections were; without them those count for a program that is not known."""
    from ..inspect.births import Births

    try:
        return Births()
    except OSError:
        return None


clock = time.monotonic
LOOK_SECONDS = 1.0
MOST_TOLD = 65_536
