"""`socketkit ls --watch`, as it is run, and the table that it shows on a terminal."""

from __future__ import annotations

import json
import os
import select
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import pytest

from socketkit.cli.ls import COLUMNS
from socketkit.cli.ls_watch import WATCHED_COLUMNS, Cells, change_as_json, table_lines
from socketkit.inspect.ledger import Change, Ledger
from socketkit.inspect.processes import process
from socketkit.inspect.table import sockets
from socketkit.inspect.uses import Use
from tests.cli.programs import Result, Start
from tests.inspect.test_ledger import Entry

Ran = Callable[..., Result]


def visited(listener: socket.socket) -> None:
    """Connects, moves 5 bytes, and closes: the caller first, since its end counts once it has come."""
    with socket.create_connection(listener.getsockname()) as caller:
        callee, _ = listener.accept()
        caller.send(b"hello")
    with callee:
        while callee.recv(5):
            pass


@pytest.mark.slow
@pytest.mark.parametrize("words", [[], ["--json"]], ids=["text", "json"])
def test_a_line_for_each_change(socketkit: Start, words: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        command = socketkit("ls", "--watch", "--own", *words, f"local-port={port}", "!listening")
        printed = b""
        while printed.count(b"\n") < 2:
            visited(listener)  # again, until the command watches
            readable, _, _ = select.select([command.output], [], [], 0.05)
            printed += os.read(command.output.fileno(), 65_536) if readable else b""
        command.interrupt()
        assert command.finish().status == 130
        opened, closed = printed.decode().splitlines()[:2]
    if words:
        rows = [json.loads(opened), json.loads(closed)]
        assert [row["change"] for row in rows] == ["opened", "closed"]
        assert (rows[1]["state"], rows[1]["received_bytes"], rows[1]["sent_bytes"]) == ("closed", 5, 0)
        assert rows[1]["local"] == f"tcp://127.0.0.1:{port}"
    else:
        assert (opened[0], closed[0]) == ("+", "-")
        assert closed.split()[1:3] == ["closed", f"tcp://127.0.0.1:{port}"]
        assert closed.split()[-4:] == ["5", "B", "0", "B"]


@pytest.mark.slow
def test_what_it_does_not_go_with(ran: Ran) -> None:
    for word in ("--tree", "--kill"):
        result = ran("ls", "--watch", word, "tcp")
        assert (result.status, "--watch goes on" in result.err) == (2, True)
    assert ran("ls", "--watch", "--sort", "nothing").status == 2
    assert "there is no prot" in ran("ls", "--watch", "prot=80").err


def ledger() -> Ledger:
    return Ledger(purpose=lambda entry: Use("web", "HTTP/1", 0.95, "", "no"))


def test_table_of_a_terminal() -> None:
    book, cells = ledger(), Cells(["state", "process", "received", "sent"], COLUMNS)
    old, new = Entry(1, received_bytes=5, processes=()), replace(Entry(2, processes=None), received_bytes=None)
    book.seen([old], 100.0)  # type: ignore[list-item]
    book.seen([old, new], 101.0)  # type: ignore[list-item]
    book.ended([Entry(3).ended()], 101.0)  # type: ignore[list-item]
    lines = table_lines(book.rows, cells, lambda rows: rows, 102.0)
    assert [text.split() for text, _ in lines[:-1]] == [
        ["state", "process", "received", "sent"],
        ["established", "-", "5", "B", "0", "B"],
        ["established", "?", "-", "0", "B"],
        ["closed", "?", "0", "B", "0", "B"],
    ]
    assert [style for _, style in lines] == ["bold", "", "green", "dim strike", "dim"]
    assert lines[-1][0] == "2 sockets, 1 closed a moment ago. Ctrl-C ends."
    assert [style for _, style in table_lines(book.rows, cells, lambda rows: rows, 104.0)][2] == ""


def test_lines_stay_in_their_columns() -> None:
    book, cells = ledger(), Cells(["use", "received"], COLUMNS)
    book.seen([Entry(1, received_bytes=5), Entry(2, received_bytes=123_000_000)], 100.0)  # type: ignore[list-item]
    few, many = book.rows
    assert [cells.line(row) for row in (few, many, few)] == ["web       5 B", "web    123 MB", "web       5 B"]


def test_json_of_what_no_look_saw() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        (entry,) = sockets(f"port={listener.getsockname()[1]}", namespaces="own")
    book = ledger()
    book.seen([], 100.0)
    opened, closed = book.ended([entry], 101.0)
    fields = change_as_json(closed)
    assert (fields["change"], fields["processes"], fields["unknown"]) == ("closed", None, ["processes"])
    assert (fields["first_seen"], fields["closed_at"], fields["state"]) == (101.0, 101.0, "closed")
    assert opened == Change("opened", closed.row)
    assert set(WATCHED_COLUMNS) <= set(COLUMNS)


def test_json_of_what_no_look_saw_and_whose_it_was_was_noted() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        (entry,) = sockets(f"port={listener.getsockname()[1]}", namespaces="own")
    book = Ledger(purpose=lambda _: Use("web", "", 0.3, "", "unknown"), owner=lambda _: process(os.getpid()))
    book.seen([], 100.0)
    fields = change_as_json(book.ended([entry], 101.0)[-1])
    (owner,) = cast("list[dict[str, object]]", fields["processes"])
    assert (owner["pid"], fields["unknown"]) == (os.getpid(), [])
