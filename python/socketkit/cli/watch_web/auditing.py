"""Audits now and then while watching: what the page and the metrics say of findings.

An audit reads hundreds of files, so it runs in a thread, a minute after the last one at the earliest, and it keeps
nothing: what was found before is the business of `socketkit audit`.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING

from ...inspect.metrics import Found

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Literal

    from ...inspect.watch import Watching
    from ...threats.audit import Report
    from ...threats.finding import Finding


class Audited:
    """What the last audit said; version 0 is before the first."""

    def __init__(
        self, findings: Sequence[Finding] = (), unknown: Sequence[str] = (), at: float = 0.0, version: int = 0
    ) -> None:
        self.findings = tuple(findings)
        self.unknown = tuple(unknown)
        self.at = at
        self.version = version

    @cached_property
    def severities(self) -> Mapping[str, str]:
        """The worst of each socket, by its name."""
        return {one.socket: one.severity for one in reversed(self.findings) if one.socket is not None}

    def found(self) -> Found | None:
        """For metrics: of each check how many, none of them too."""
        if not self.version:
            return None
        from ...threats.audit import checks

        counts: Counter[tuple[str, str]] = Counter({(check.id, check.severity): 0 for check in checks()})
        counts.update((one.id, one.severity) for one in self.findings)
        return Found(counts, self.at)


class Auditing:
    """`last` is what is known by now; `go_on` looks again and again until it is cancelled."""

    def __init__(self, look: Callable[[], Report], *, pause_seconds: float = 60.0) -> None:
        self.last = Audited()
        self._look = look
        self._pause_seconds = pause_seconds

    async def go_on(self) -> None:
        while True:
            took = await self.again()
            await asyncio.sleep(max(self._pause_seconds, took * PAUSES_PER_AUDIT))

    async def again(self) -> float:
        """Look once; how many seconds that took. What fails is said where findings would be."""
        began = time.monotonic()
        looking = asyncio.ensure_future(asyncio.to_thread(self._look))
        try:
            report = await asyncio.shield(looking)
        except asyncio.CancelledError:
            await asyncio.wait([looking])  # it cannot be cancelled, and uses what ends with its caller
            raise
        except OSError as failure:
            self.last = Audited(unknown=[f"what an audit would find: {failure}"], version=self.last.version + 1)
        else:
            self.last = Audited(report.findings, report.unknown, time.time(), self.last.version + 1)
        return time.monotonic() - began


def audits_of(watching: Watching, *, namespaces: Literal["all", "own"]) -> Auditing:
    """Audits of what is watched, with the first bytes that are collected there."""
    from ...inspect.table import SocketTable
    from ...threats.audit import look

    table = SocketTable(namespaces=namespaces)
    select = str(watching.selection)
    return Auditing(lambda: look(select, table=table, first_bytes=watching.collector, remember=False))


PAUSES_PER_AUDIT = 50
