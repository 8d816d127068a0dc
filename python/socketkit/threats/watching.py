"""`audit --watch`: looks again and again, and tells what is found when it is; until it is closed.

`phoning_home.Watch` decides. What it needs for that is here: a table, the kernel's report of ends, a clock; and, as far
as it is permitted, notes of whose they were and the answers to questions for names.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Literal

    from ..inspect.births import Births
    from ..inspect.first_bytes import FirstBytes
    from .finding import Finding
    from .view import View


def watch(
    view: View,
    told: Iterable[str] = (),
    *,
    namespaces: Literal["all", "own"] = "all",
    listening: Callable[[], object] = lambda: None,
) -> Iterator[Finding]:
    """What is found from now on, each once, and not again what is in `told` (`Finding.key`); it never ends.

    `view` is what an audit looked at: programs and destinations that are declared there are. `listening` is called
    when nothing that begins from then on is missed. OSError where the kernel does not tell of sockets.
    """
    from contextlib import ExitStack
    from select import select

    from .._core import EndedSockets, SocketTable
    from .names import Answers, Calls
    from .phoning_home import Watch

    with ExitStack() as stack:
        # Births before ends: whatever is told to have ended was noted.
        births, first_bytes = _births(), _first_bytes()
        for heard_by in (births, first_bytes):
            if heard_by is not None:
                stack.callback(heard_by.close)
        ended = EndedSockets(namespaces=namespaces)
        stack.callback(ended.close)
        table = SocketTable(namespaces=namespaces)
        calls = None if first_bytes is None else Calls(Answers(first_bytes))
        seen, watching = set(told), Watch(view, calls)
        heard = [ended.fileno()] if births is None else [ended.fileno(), births.fileno()]
        listening()
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
                    note = None if births is None else births.take(entry.cookie)
                    watching.ended(entry, clock(), *(note or ()))
            for finding in watching.find(clock()):
                if finding.key not in seen and len(seen) < MOST_TOLD:
                    seen.add(finding.key)
                    yield replace(finding, first_seen=time.time())


def _births() -> Births | None:
    """Whose short connections were; without them those count for a program that is not known."""
    from ..inspect.births import Births

    try:
        return Births()
    except OSError:
        return None


def _first_bytes() -> FirstBytes | None:
    """Answers to questions for names; without them nobody knows which addresses have one."""
    from ..inspect.first_bytes import FirstBytes

    try:
        return FirstBytes(flows=MOST_FLOWS)
    except OSError:
        return None


clock = time.monotonic
MOST_FLOWS = 8_192
LOOK_SECONDS = 1.0
MOST_TOLD = 65_536
