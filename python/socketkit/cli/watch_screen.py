"""The screen of `socketkit watch`: rates, a filter line, and the table, of which only what is visible is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

from rich.segment import Segment
from rich.style import Style
from textual.app import App
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.geometry import Region, Size
from textual.screen import ModalScreen
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widgets import Footer, Input, Static

from ..errors import SelectionError
from ..inspect.ledger import SPARK_SECONDS
from ..inspect.selection import Selection
from .units import rate
from .watch_rows import (
    VIEWS,
    Title,
    arranged,
    capture_command,
    cells,
    details,
    header,
    notes,
    spark,
    told,
    trace_command,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from textual.app import ComposeResult
    from textual.binding import BindingType

    from ..inspect.watch import Change, Watched
    from . import watch_rows

    class Source(watch_rows.Source, Protocol):
        """What is asked of a `Watching`."""

        def take(self) -> list[Change]: ...


class Rows(ScrollView, can_focus=True):
    """The table. A line is made when it is drawn, so many rows cost no more than those on the screen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", show=False),
        Binding("down", "move(1)", show=False),
        Binding("pageup", "move(-20)", show=False),
        Binding("pagedown", "move(20)", show=False),
        Binding("home", "move(-1000000)", show=False),
        Binding("end", "move(1000000)", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[Title | Watched] = []
        self.now = 0.0
        self._at = 0
        self._drawn: dict[int, tuple[str, Style]] = {}  # by the lines of the screen

    @property
    def chosen(self) -> Watched | None:
        line = self.lines[self._at] if self._at < len(self.lines) else None
        return None if isinstance(line, Title) else line

    def show_lines(self, lines: Sequence[Title | Watched], now: float) -> None:
        """New lines; the row that was chosen stays chosen, wherever it is now."""
        before = self.chosen
        self.lines, self.now = list(lines), now
        if before is not None:
            self._at = next((at for at, line in enumerate(self.lines) if line is before), self._at)
        self._at = max(0, min(self._at, len(self.lines) - 1))
        if self.chosen is None:
            self.action_move(1)
        self.virtual_size = Size(self.size.width, len(self.lines))
        self._draw_what_changed()

    def _draw_what_changed(self) -> None:
        """Most lines are as they were: a screen that nothing happens on costs next to nothing."""
        for y in range(self.size.height):
            if self._line(y) != self._drawn.get(y):
                self.refresh(Region(0, y, self.size.width, 1))

    def action_move(self, by: int) -> None:
        """To the next row there; titles are passed over."""
        rows = [at for at, line in enumerate(self.lines) if not isinstance(line, Title)]
        if rows:
            place = next((number for number, at in enumerate(rows) if at >= self._at), len(rows) - 1)
            step = by if rows[place] == self._at else 0
            self._at = rows[max(0, min(place + step, len(rows) - 1))]
            self.scroll_to_region(Region(0, self._at, 1, 1), animate=False)
        self.refresh()

    def render_line(self, y: int) -> Strip:
        self._drawn[y] = text, style = self._line(y)
        return Strip([Segment(text, style)], self.size.width)

    def _line(self, y: int) -> tuple[str, Style]:
        """Rows are live: what is said of one may be another at each call."""
        at, width = y + self.scroll_offset.y, self.size.width
        if at >= len(self.lines):
            return " " * width, Style()
        line = self.lines[at]
        if isinstance(line, Title):
            return line.text[:width].ljust(width), Style(bold=True)
        style = self._style(line)
        return cells(line, width), style + Style(reverse=True) if at == self._at else style

    def _style(self, row: Watched) -> Style:
        """Closed rows fade."""
        if row.closed_at is None:
            exposed = row.entry.exposure == "everywhere" and row.entry.state == "listening"
            return Style(color="yellow") if exposed else Style()
        left = max(0.0, 1 - (self.now - row.closed_at) / FADING_SECONDS)
        grey = int(70 + 90 * left)
        return Style(color=f"rgb({grey},{grey},{grey})")


class Detail(ModalScreen[None]):
    """Everything of one socket."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,enter,q", "dismiss", "back")]

    def __init__(self, row: Watched, now: float, names: Sequence[str]) -> None:
        super().__init__()
        self._known = details(row, now, names)

    def compose(self) -> ComposeResult:
        widest = max(len(name) for name, _ in self._known)
        text = "\n".join(f"{name.ljust(widest)}  {value}" for name, value in self._known)
        with VerticalScroll(id="details"):
            yield Static(text, id="detail", markup=False)


class Question(ModalScreen[bool]):
    """Yes or no."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "yes"),
        Binding("n,escape,enter", "answer(False)", "no"),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        yield Static(f"{self._question} [y/N]", id="question", markup=False)

    def action_answer(self, answer: bool) -> None:
        self.dismiss(answer)


class WatchApp(App[None]):
    """The screen, over what is watched. `close_socket` ends one (`inspect.table.destroy`)."""

    CSS = """
    #rates, #header, #problem { height: auto; }
    #header { text-style: bold; }
    #problem { color: $error; display: none; }
    #problem.told { display: block; }
    #filter { height: 3; display: none; }
    #filter.open { display: block; }
    Rows { height: 1fr; background: $background; overflow-x: hidden; scrollbar-size-vertical: 1; }
    Detail, Question { align: center middle; }
    #details, #question { width: 90%; height: auto; max-height: 90%; border: round $primary; padding: 1 2; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(str(number), f"view({name!r})", name) for number, name in enumerate(VIEWS, 1)),
        Binding("slash", "filter", "filter"),
        Binding("enter", "detail", "detail"),
        Binding("k", "kill", "close"),
        Binding("c", "capture", "capture"),
        Binding("t", "trace", "trace"),
        Binding("escape", "rows", show=False),
        Binding("q", "quit", "quit"),
    ]
    ENABLE_COMMAND_PALETTE = False
    TITLE = "socketkit watch"

    def __init__(self, source: Source, *, close_socket: Callable[[Watched], None] | None = None) -> None:
        super().__init__()
        self._source = source
        self._close_socket = close_socket or _close
        self._view = VIEWS[0]
        self._selection = Selection()
        self._texts: dict[str, str] = {}

    def compose(self) -> ComposeResult:
        yield Static(id="rates", markup=False)
        yield Input(placeholder="state=established port=443 !loopback", id="filter")
        yield Static(id="problem", markup=False)
        yield Static(id="header", markup=False)
        yield Rows()
        yield Footer()

    def on_mount(self) -> None:
        self.query_one(Rows).focus()
        self.set_interval(UPDATE_SECONDS, self.update)
        self.call_after_refresh(self.update)

    def update(self) -> None:
        """What is known by now. What went wrong with watching is raised here, and ends the screen."""
        self._source.take()
        rows = [row for row in self._source.rows if self._selection.holds(row)]
        table = next((rows for screen in self.screen_stack[:1] for rows in screen.query(Rows)), None)
        if table is None:
            return  # the timer runs once more while the screen is taken down, or when it is
        table.show_lines(arranged(rows, self._view), self._source.now)
        self._write("header", header(table.size.width))
        self._write("rates", self._rates(rows))

    def _write(self, name: str, text: str) -> None:
        """A new layout of the screen costs more than all the rest: only for another number of lines."""
        before = self._texts.get(name)
        if text != before:
            self._texts[name] = text
            layout = before is None or text.count("\n") != before.count("\n")
            self.screen_stack[0].query_one(f"#{name}", Static).update(text, layout=layout)

    def _rates(self, rows: Sequence[Watched]) -> str:
        totals, now = self._source.totals, self._source.now
        parts = []
        for name, book in (("in ", totals.received_spark), ("out", totals.sent_spark)):
            values = book.values(now)
            latest = values[-2] if values else 0.0  # the last second that is over
            parts.append(f"{name} {rate(latest):>10} {spark(values, SPARK_SECONDS)}")
        return "\n".join([*parts, f"{told(rows, totals)}  {self._view}", *notes(self._source)])

    def complain(self, text: str) -> None:
        """What goes wrong beside watching, and does not end it."""
        self.notify(text, severity="error", markup=False, timeout=COMPLAINT_SECONDS)

    # --- keys

    def action_view(self, name: str) -> None:
        self._view = name
        self.update()

    def action_filter(self) -> None:
        line = self.query_one("#filter", Input)
        line.add_class("open")
        line.focus()

    def action_rows(self) -> None:
        self.query_one("#filter", Input).remove_class("open")
        self.query_one(Rows).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        problem = self.query_one("#problem", Static)
        try:
            self._selection = Selection(event.value)
        except SelectionError as failure:
            problem.add_class("told")
            problem.update(str(failure))  # with the caret; the rows stay those of the last words that said something
        else:
            problem.update("")
            problem.remove_class("told")
            self.update()

    def on_input_submitted(self) -> None:
        self.action_rows()

    def action_detail(self) -> None:
        row = self.query_one(Rows).chosen
        if row is not None:
            self.push_screen(Detail(row, self._source.now, self._source.names(row)))

    def action_kill(self) -> None:
        row = self.query_one(Rows).chosen
        if row is None or row.closed_at is not None:
            return

        def answered(yes: bool | None) -> None:
            if not yes:
                return
            try:
                self._close_socket(row)
            except OSError as failure:
                self.notify(str(failure), severity="error", markup=False)

        self.push_screen(Question(f"Close {row.entry.local} {row.entry.peer or ''}?"), answered)

    def action_capture(self) -> None:
        self._tell(capture_command)

    def action_trace(self) -> None:
        self._tell(trace_command)

    def _tell(self, command: Callable[[Watched], str | None]) -> None:
        row = self.query_one(Rows).chosen
        words = None if row is None else command(row)
        if words is None:
            self.notify("this socket has no address for that", severity="warning")
        else:
            self.copy_to_clipboard(words)
            self.notify(f"copied: {words}", markup=False)


def _close(row: Watched) -> None:
    from ..inspect.table import destroy

    destroy(row.entry)


UPDATE_SECONDS = 0.5
FADING_SECONDS = 10.0
COMPLAINT_SECONDS = 30.0
