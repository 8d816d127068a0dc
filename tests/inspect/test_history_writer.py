"""The bounds of a file of history: passed by one, and kept."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from socketkit.inspect import history_recorder
from socketkit.inspect.history import History
from tests.inspect.histories import BEGAN, Machine, Process, connection, listener

MEBIBYTE = 1_048_576


def size(machine: Machine) -> int:
    """Of the file, with what its log still has to write into it."""
    assert machine.recorder is not None
    execute = machine.recorder._writer._connection.execute
    ((pages,), (page_bytes,)) = (execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size"))
    return int(pages) * int(page_bytes)


def numbers(machine: Machine) -> list[int]:
    with History(machine.path) as history:
        return [row.entry.cookie for row in history.sockets()]


def test_the_oldest_goes_when_the_file_is_full(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "history.db", max_bytes=MEBIBYTE)
    machine.open(listener(1))
    recorder = machine.begin()
    recorder.flush()
    written, most = 1, 0
    while len(numbers(machine)) == written:
        machine.flash(*(connection(number) for number in range(written + 1, written + 501)))
        written += 500
        machine.wait(10)
        recorder.flush()
        most = max(most, size(machine))
    assert most <= MEBIBYTE
    for _ in range(5):
        machine.flash(*(connection(number) for number in range(written + 1, written + 501)))
        written += 500
        machine.wait(10)
        recorder.flush()
        assert size(machine) <= MEBIBYTE
    left = numbers(machine)
    assert left[0] == 1  # it is open
    assert left[1:] == list(range(left[1], written + 1))  # the latest, without a hole
    with History(machine.path) as history:
        (span,) = history.spans()
        first = next(row for row in history.connections())
        assert BEGAN < span.since <= first.closed_at  # type: ignore[operator]
        assert history.gaps() == []  # what was deleted is before the beginning
        assert recorder.dropped == 0
    machine.stop()
    assert os.path.getsize(machine.path) <= MEBIBYTE


def test_more_in_one_second_than_the_file_takes(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "history.db", max_bytes=MEBIBYTE)
    recorder = machine.begin()
    machine.flash(*(connection(number) for number in range(1, 20_001)))
    recorder.flush()
    assert (size(machine) <= MEBIBYTE, recorder.dropped) == (True, 20_000)
    machine.flash(connection(30_000))
    machine.stop()
    with History(machine.path) as history:
        assert [row.entry.cookie for row in history.sockets()] == [30_000]
        assert sum(gap.lost or 0 for gap in history.gaps()) == 20_000


def test_a_file_full_of_what_is_open_takes_no_more(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "history.db", max_bytes=MEBIBYTE)
    recorder = machine.begin()
    for start in range(1, 12_000, 1_000):
        machine.open(*(connection(number) for number in range(start, start + 1_000)))
        recorder.flush()
        assert size(machine) <= MEBIBYTE
    assert recorder.dropped >= 1_000
    machine.stop()
    kept = numbers(machine)
    assert len(kept) + recorder.dropped == 12_000
    with History(machine.path) as history:
        assert sum(gap.lost or 0 for gap in history.gaps()) == recorder.dropped


def test_what_is_too_old_is_forgotten(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "history.db", max_age=timedelta(days=1))
    machine.open(connection(1), listener(2))
    recorder = machine.begin()
    machine.wait(10)
    machine.flash(connection(3))
    recorder.lose(5)
    machine.wait(86_400)
    recorder.flush()
    assert numbers(machine) == [1, 2, 3]  # by one second not too old
    machine.close(1)
    machine.wait(3_600)
    machine.flash(connection(4))
    recorder.flush()
    assert numbers(machine) == [1, 2, 4]
    with History(machine.path) as history:
        (span,) = history.spans()
        assert span.since == machine.time - 86_400
        assert history.gaps() == []
        assert [row.processes is not None for row in history.sockets()] == [True, True, False]
    machine.stop()


def test_processes_of_what_is_forgotten_are_forgotten(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "history.db", max_age=timedelta(hours=2))
    machine.open(listener(1))
    recorder = machine.begin()
    for number in range(2, 8):
        machine.open(connection(number, processes=(Process(pid=number),)))
        machine.close(number)
        machine.wait(3_600)
        recorder.flush()
    (count,) = recorder._writer._connection.execute("SELECT count(*) FROM process").fetchone()
    assert 3 <= count <= 5
    with History(machine.path) as history:
        for row in history.sockets():
            assert row.processes is not None
            assert [one.pid for one in row.processes] == [812 if row.entry.cookie == 1 else row.entry.cookie]
    machine.stop()


def test_the_next_recorder_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "history.db")
    machine.open(connection(1))
    machine.begin()
    machine.open(connection(2))
    machine.stop()
    machine.open(connection(3))
    machine.begin()
    machine.stop()
    assert numbers(machine) == [1, 2, 3]


def test_nothing_goes_on_after_a_new_start_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(tmp_path / "history.db")
    machine.open(connection(1))
    machine.begin()
    machine.stop()
    monkeypatch.setattr(history_recorder, "_boot", lambda: "another")
    machine.begin()
    machine.stop()
    assert numbers(machine) == [1, 1]
