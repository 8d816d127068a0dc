"""Rows of a history in the words of the socket table."""

from __future__ import annotations

import json
from pathlib import Path

from socketkit.inspect.history import History
from socketkit.inspect.history_rows import Past, PastEntry
from socketkit.inspect.selection import FIELDS, FLAGS
from tests.inspect.histories import BEGAN, Entry, Machine, connection


def only(machine: Machine, entry: Entry) -> Past:
    machine.begin()
    machine.open(entry)
    machine.stop()
    with History(machine.path) as history:
        (row,) = history.sockets()
    return row


def test_every_word_of_a_selection_can_be_asked(tmp_path: Path) -> None:
    row = only(Machine(tmp_path / "history.db"), connection(1))
    for field in FIELDS.values():
        list(field.values(row))
    for flag in FLAGS.values():
        assert flag(row) in (True, False)


def test_json(tmp_path: Path) -> None:
    row = only(Machine(tmp_path / "history.db"), connection(1, received_bytes=7))
    told = json.loads(json.dumps(row.as_json()))
    assert (told["local"], told["peer"]) == ("tcp://127.0.0.1:7000", "tcp://127.0.0.1:10001")
    assert (told["opened_at"], told["closed_at"], told["end"]) == (BEGAN, None, "unknown")
    assert told["processes"][0]["name"] == "nginx"
    assert (told["received_bytes"], told["use"]["name"], told["encrypted"]) == (7, "web", "no")


def test_what_is_not_known_is_none(tmp_path: Path) -> None:
    nothing = Entry(0, processes=None, received_bytes=None, sent_bytes=None, uid=None, user=None, retransmits=None)
    row = only(Machine(tmp_path / "history.db"), nothing)
    assert (row.processes, row.received_bytes, row.entry.user, row.entry.uid) == (None, None, None, None)
    assert (row.entry.local, row.entry.peer, row.port) == (None, None, 0)
    assert row.entry.oldest_seconds is None


def test_an_address_of_a_later_version_is_none() -> None:
    assert PastEntry.endpoint("warp://earth:1") is None
