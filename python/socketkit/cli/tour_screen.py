"""The tour's table: alive on a terminal while the tour goes on, otherwise printed when it is done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from ..endpoint import Endpoint
from ..schemes import SCHEMES
from .units import amount, duration, plural, rate

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

    from rich.console import RenderableType

    from .visits import Visit


class Screen:
    """Shows the visits, which change meanwhile, for as long as the block runs; then what came of them."""

    def __init__(self, visits: Sequence[Visit]) -> None:
        self._visits = visits
        self._spinner = Spinner("dots", style="cyan")
        self._console = Console(highlight=False)
        if not self._console.is_terminal:
            self._console.width = PIPED_WIDTH
        self._live = Live(console=self._console, get_renderable=self._table, refresh_per_second=REFRESH_PER_SECOND)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()
        elif kind is None:
            self._console.print(self._table())
        if kind is None:
            self._console.print(self._conclusion())

    def _table(self) -> Table:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("")
        table.add_column("endpoint", overflow="fold")
        table.add_column("peer", overflow="fold")
        table.add_column("encrypted")
        for name in ("bytes", "rate", "latency"):
            table.add_column(name, justify="right", no_wrap=True)
        group = ""
        for visit in self._visits:
            if visit.group != group:
                group = visit.group
                table.add_section()
                name, _, meaning = group.partition(": ")
                table.add_row("", Text(name, "bold"), meaning)
            table.add_row(*self._row(visit), style="dim" if visit.outcome in ("waiting", "absent") else "")
        return table

    def _row(self, visit: Visit) -> list[RenderableType]:
        if visit.outcome == "waiting":
            return ["", visit.stop]
        # The key of its pin is the user's own at every stop, and longer than all the rest.
        opened = Text(visit.endpoint.partition("?pin=")[0] if visit.outcome != "absent" else visit.stop)
        reason = Text(visit.reason or "", "red" if visit.outcome == "failed" else "")
        return [
            self._spinner if visit.outcome == "running" else MARKS[visit.outcome],
            opened,
            reason if visit.reason else visit.peer or "",
            _encryption(visit),
            amount(visit.sent_bytes + visit.received_bytes) if visit.peer else "",
            rate(visit.bytes_per_second) if visit.bytes_per_second else "",
            duration(visit.latency_seconds) if visit.latency_seconds else "",
        ]

    def _conclusion(self) -> Text:
        outcomes = [visit.outcome for visit in self._visits]
        used = sum(visit.outcome == "works" and visit.group.startswith("uses") for visit in self._visits)
        text = Text(f"{plural(outcomes.count('works') - used, 'socket type')} opened and used both ways")
        if used:
            text.append(f"; {plural(used, 'use')} tried")
        if absent := outcomes.count("absent"):
            text.append(f"; {absent} not on this machine")
        if failed := outcomes.count("failed"):
            text.append(f"; {failed} FAILED", "bold red")
        return text


def _encryption(visit: Visit) -> str:
    if visit.encrypted is None:
        return ""
    if visit.cipher and visit.key_exchange:
        return f"{visit.cipher.removeprefix('TLS13_')}, {visit.key_exchange}"
    if SCHEMES[Endpoint.parse(visit.endpoint).scheme].local:
        return "not needed"  # nothing of it ever leaves the kernel
    return "yes" if visit.encrypted else "no"


MARKS = {"works": "[green]✓[/]", "absent": "-", "failed": "[bold red]✗[/]"}
REFRESH_PER_SECOND = 12
PIPED_WIDTH = 140
