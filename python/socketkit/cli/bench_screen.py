"""What `socketkit bench` shows: a line for each second, on a terminal a plot below them, and at the end a table."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .plot import plot
from .units import amount, bit_rate, duration, plural

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from rich.console import RenderableType

    from ..inspect.measuring.measurement import Measurement
    from ..inspect.measuring.reporting import Direction, Interval


class Screen:
    """Shows a measurement while the block runs; at its end, however it ends, what came of it."""

    def __init__(self, measurement: Measurement) -> None:
        self._measurement = measurement
        self._report = measurement.report
        self._console = Printed(highlight=False)
        if not self._console.is_terminal:
            self._console.width = PIPED_WIDTH
        self._lines = Lines(measurement)
        self._curves = Curves(measurement)
        self._live = Live(
            console=self._console, get_renderable=self._curves.drawn, refresh_per_second=REFRESH_PER_SECOND
        )
        self._headed = False

    def tell(self, interval: Interval) -> None:
        """An interval is over."""
        if not self._headed:
            self._headed = True
            self._console.print(Text(self._opening(), "bold"))
            self._console.print(Text(self._lines.head(), "dim"))
        self._console.print(Text(self._lines.line(interval)))
        sys.stdout.flush()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()
        if self._report.begun:
            self._console.print(self._summary())

    def _opening(self) -> str:
        report, plan = self._report, self._report.plan
        way = "both ways" if plan.up and plan.down else "up" if plan.up else "down"
        noun = {"stream": "stream", "messages": "flow of messages", "datagrams": "flow of datagrams"}[report.shape]
        cipher = f", {report.ciphers[0].removeprefix('TLS13_')}" if report.ciphers else ""
        pace = f" at {bit_rate(plan.bits_per_second)}" if plan.bits_per_second else ""
        size = f" of {plan.message_bytes:,} bytes" if report.shape != "stream" else ""
        return f"{report.peer}: {_flows(plan.flows, noun)}{size} {way}{pace} for {duration(plan.seconds)}{cipher}"

    def _summary(self) -> RenderableType:
        report = self._report
        parts: list[RenderableType] = []
        if not report.complete:
            parts.append(Text(f"cut short after {duration(report.seconds)}", "bold yellow"))
        parts += [self._directions(), self._latencies(), Text(self._cpu(), "dim")]
        return Group(*parts)

    def _directions(self) -> Table:
        table = _table("", "received", "rate")
        counted = self._report.shape != "stream"
        for name in ("messages", "per second", "lost", "reordered", "jitter") if counted else ("resent",):
            table.add_column(name, justify="right", no_wrap=True)
        for name, direction in (("up", self._report.up), ("down", self._report.down)):
            if direction:
                figures = _of_messages(direction) if counted else [plural(direction.retransmits, "segment")]
                table.add_row(name, amount(direction.received_bytes), bit_rate(direction.bits_per_second), *figures)
        return table

    def _latencies(self) -> Table:
        names = ("least", "p50", "p90", "p99", "p99.9", "most")
        table = _table("latency", *names)
        report = self._report
        for name, times in (("idle", report.idle), ("under load", report.loaded)):
            if times.count:
                found = report.latency_of(times)
                table.add_row(name, *(duration(found[column]) for column in names))
        return table

    def _cpu(self) -> str:
        here, there = self._report.cpu
        return f"CPU: {here:.0%} of a core here, {there:.0%} there"


class Printed(Console):
    """A console that leaves the end of a pipe to the command line: Rich itself would end the program, with status 1."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


class Lines:
    """An interval in a line of columns."""

    def __init__(self, measurement: Measurement) -> None:
        self._ways = [name for name, wanted in (("up", measurement.plan.up), ("down", measurement.plan.down)) if wanted]
        self._counted = measurement.shape != "stream"

    def head(self) -> str:
        words = ["  seconds"]
        for way in self._ways:
            words.append(f"{way:>14}")
            if self._counted:
                words.append(f"{'messages/s':>12}{'lost':>16}{'jitter':>10}")
        return "".join([*words, f"{'latency':>12}{'p99':>10}"])

    def line(self, interval: Interval) -> str:
        words = [f"{interval.start_seconds:4.0f}-{interval.end_seconds:<4.0f}"]
        for way in self._ways:
            direction: Direction = getattr(interval, way)
            words.append(f"{bit_rate(direction.bits_per_second):>14}")
            if self._counted:
                lost = f"{direction.lost:,} ({direction.lost_fraction:.2%})"
                words.append(f"{direction.messages_per_second:>12,.0f}{lost:>16}")
                words.append(f"{duration(direction.jitter_seconds or 0):>10}")
        if interval.latency["count"]:
            words.append(f"{duration(interval.latency['p50']):>12}{duration(interval.latency['p99']):>10}")
        return "".join(words)


class Curves:
    """The rate of each direction since the test began, as this side sees it: asked for it grows by a column."""

    def __init__(self, measurement: Measurement) -> None:
        self._measurement = measurement
        self._rates: dict[str, list[float]] = {"up": [], "down": []}
        self._before: tuple[float, dict[str, int]] | None = None

    def drawn(self) -> RenderableType:
        self._look()
        shown = {name: rates for name, rates in self._rates.items() if rates}
        if not shown:
            return Text("")
        table = Table.grid(padding=(0, 1))
        for name, rates in shown.items():
            most = max(rates)
            lines = plot(rates, PLOT_COLUMNS, PLOT_ROWS, most)
            labels = [f"{name} {bit_rate(most)}", *[""] * (PLOT_ROWS - 2), "0"]
            for label, line in zip(labels, lines, strict=True):
                table.add_row(Text(label, "dim", justify="right"), Text(line, COLOURS[name]))
        return table

    def _look(self) -> None:
        now = self._measurement.moved()
        if now is None:
            return
        if self._before and now[0] - self._before[0] < LEAST_COLUMN_SECONDS:
            return
        if self._before:
            seconds = now[0] - self._before[0]
            for name, count in now[1].items():
                # Counting begins anew behind the warm-up.
                self._rates[name].append(max(0.0, 8 * (count - self._before[1].get(name, 0)) / seconds))
        self._before = now


def _of_messages(direction: Direction) -> list[str]:
    return [
        f"{direction.messages:,}",
        f"{direction.messages_per_second:,.0f}",
        f"{direction.lost:,} ({direction.lost_fraction:.3%})",
        f"{direction.reordered:,}",
        duration(direction.jitter_seconds or 0),
    ]


def _table(first: str, *names: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first)
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _flows(count: int, noun: str) -> str:
    head, _, tail = noun.partition(" ")
    return f"{plural(count, head)}{' ' * bool(tail)}{tail}"


COLOURS = {"up": "green", "down": "cyan"}
LEAST_COLUMN_SECONDS = 0.2
PIPED_WIDTH = 140
PLOT_COLUMNS = 60
PLOT_ROWS = 4
REFRESH_PER_SECOND = 4
