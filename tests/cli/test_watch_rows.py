"""What the screen says of each row."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from socketkit import Endpoint
from socketkit.cli.watch_rows import (
    VIEWS,
    Said,
    Title,
    arranged,
    capture_command,
    cells,
    details,
    header,
    said,
    spark,
    trace_command,
)
from socketkit.inspect.ledger import Ledger, Watched
from socketkit.inspect.uses import Use
from tests.inspect.test_ledger import Entry as Bare


@dataclass(frozen=True)
class Program:
    name: str
    pid: int = 7
    user: str | None = "www"
    executable: str | None = "/usr/sbin/nginx"
    unit: str | None = "nginx.service"
    container: str | None = None


@dataclass(frozen=True)
class Entry(Bare):
    exposure: str = "loopback"
    round_trip_ms: float | None = 1.5
    namespace_name: str = ""
    user: str | None = "www"


LISTENER = Entry(1, state="listening", received_bytes=None, sent_bytes=None, exposure="everywhere", processes=())
WEB = Entry(2, peer=Endpoint.parse("tcp://192.0.2.9:443"), processes=(Program("nginx"),))
HIDDEN = replace(WEB, cookie=3, processes=None, local=Endpoint.parse("tcp://127.0.0.1:7003"))


class Scripted:
    """A ledger with a listener, a connection that moves, one that is silent, and one that was closed."""

    complete = False
    why_no_first_bytes = "first bytes: needs CAP_NET_RAW"

    def __init__(self) -> None:
        self.ledger = Ledger(purpose=purpose)
        self.now = 102.0
        look: Any = self.ledger.seen
        look([LISTENER, HIDDEN], 100.0)
        look([LISTENER, HIDDEN, WEB], 101.0)
        look([LISTENER, HIDDEN, replace(WEB, received_bytes=4_000, sent_bytes=100)], 102.0)
        end: Any = self.ledger.ended
        end([replace(WEB, cookie=4, received_bytes=70_000).ended()], 102.0)

    @property
    def rows(self) -> list[Watched]:
        return self.ledger.rows

    @property
    def totals(self) -> Any:
        return self.ledger.totals

    def names(self, row: Watched) -> tuple[str, ...]:
        return ("www.example.com",) if row.entry.peer is not None else ()

    def take(self) -> list[Any]:
        return []


def purpose(entry: Any) -> Use:
    if entry.peer is None:
        return Use("unknown", "", 0.0, "nothing known begins like this", "unknown")
    return Use("web", "TLS 1.3", 0.95, "its first bytes are TLS", "yes")


def cookies(lines: list[Title | Watched]) -> list[object]:
    return [line.text if isinstance(line, Title) else line.entry.cookie for line in lines]  # type: ignore[attr-defined]


def test_views() -> None:
    rows = Scripted().rows
    assert cookies(arranged(rows, "all")) == [2, 1, 3, 4]
    assert cookies(arranged(rows, "by process")) == ["nginx[7]  1  4.10 kB/s", 2, "-  1", 1, "?  2", 3, 4]
    assert cookies(arranged(rows, "by use")) == ["web  3  4.10 kB/s", 2, 3, 4, "unknown  1", 1]
    assert cookies(arranged(rows, "listeners")) == [1]


def test_sorted_by_a_column() -> None:
    rows = Scripted().rows
    assert cookies(arranged(rows, "all", "received", downwards=True)) == [2, 3, 1, 4]  # closed rows stay below
    assert cookies(arranged(rows, "all", "received")) == [1, 3, 2, 4]
    assert cookies(arranged(rows, "all", "local")) == [1, 2, 3, 4]
    assert cookies(arranged(rows, "by use", "peer", downwards=True)) == ["web  3  4.10 kB/s", 3, 2, 4, "unknown  1", 1]
    for view in VIEWS:
        for column in Said._fields:
            assert len(arranged(rows, view, column)) == len(arranged(rows, view))


def test_what_is_said_of_a_row() -> None:
    moving, listener, hidden, closed = (said(row) for row in arranged(Scripted().rows, "all"))  # type: ignore[arg-type]
    assert moving.use == "web 95%"
    assert (moving.process, hidden.process, listener.process) == ("nginx[7]", "?", "-")
    assert (moving.received, moving.sent) == ("4.00 kB/s", "100 B/s")
    assert (closed.state, closed.received) == ("closed", "70.0 kB")
    assert listener.peer == "(everywhere)"


def test_cells_are_as_wide_as_the_screen() -> None:
    moving, listener, hidden, closed = arranged(Scripted().rows, "all")
    for width in (20, 100, 200):
        assert {len(cells(row, width)) for row in (moving, listener, hidden, closed)} == {width}  # type: ignore[arg-type]
        assert len(header(width)) == width
    assert cells(moving, 160).split() == [  # type: ignore[arg-type]
        *["yes", "established", "tcp://127.0.0.1:7000", "tcp://192.0.2.9:443", "nginx[7]", "web", "95%"],
        *["4.00", "kB/s", "100", "B/s", "█"],
    ]
    assert cells(listener, 160).split()[3:] == ["(everywhere)", "-", "unknown", "0%", "?", "?"]  # type: ignore[arg-type]
    assert cells(closed, 160).split()[1] == "closed"  # type: ignore[arg-type]
    assert "70.0 kB" in cells(closed, 160)  # type: ignore[arg-type]


def test_details() -> None:
    moving, _, hidden, closed = arranged(Scripted().rows, "all")
    known = dict(details(moving, 102.0))  # type: ignore[arg-type]
    assert known["process"] == "nginx (pid 7, www)"
    assert (known["unit"], known["because"]) == ("nginx.service", "its first bytes are TLS")
    assert (known["received"], known["round trip"]) == ("4.00 kB", "1.50 ms")
    assert "container" not in known
    assert "asked for" not in known
    assert dict(details(moving, 102.0, ("a.test", "b.test")))["asked for"] == "a.test, b.test"  # type: ignore[arg-type]
    assert dict(details(hidden, 102.0))["process"] == "?"  # type: ignore[arg-type]
    assert "it was there before" in dict(details(hidden, 102.0))["timeline"]  # type: ignore[arg-type]
    assert dict(details(closed, 102.0))["timeline"].endswith("closed")  # type: ignore[arg-type]


def test_a_name_does_not_reach_the_terminal_as_a_command() -> None:
    book = Ledger(purpose=purpose)
    look: Any = book.seen
    look([replace(WEB, processes=(Program("\x1b[2Jgone", executable="/x\r"),))], 100.0)
    (row,) = book.rows
    shown = [cells(row, 160), *dict(details(row, 100.0)).values()]
    shown += [line.text for line in arranged(book.rows, "by process") if isinstance(line, Title)]
    assert all(text.isprintable() for text in shown)


def test_spark() -> None:
    assert spark((), 3) == "   "
    assert spark((0.0, 1.0, 8.0), 4) == "  ▂█"


def test_commands_to_copy() -> None:
    moving, listener, *_ = arranged(Scripted().rows, "all")
    assert capture_command(moving) == (  # type: ignore[arg-type]
        "sudo socketkit capture any tcp and port 7000 and port 443 and host 192.0.2.9"
    )
    assert trace_command(moving) == "socketkit trace 192.0.2.9"  # type: ignore[arg-type]
    assert trace_command(listener) is None  # type: ignore[arg-type]
    assert capture_command(listener) == "sudo socketkit capture any tcp and port 7000"  # type: ignore[arg-type]
