"""History against a model: whatever came and went, moved or was cut off is read back as it was."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from socketkit.errors import HistoryError, SelectionError
from socketkit.inspect.history import Gap, History
from tests.inspect.histories import BEGAN, Machine, connection, listener

HOUR = 3_600.0


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "history.db")


# --- the model


@dataclass(frozen=True)
class Known:
    opened_at: float
    there_before: bool
    received: int
    closed_at: float | None = None
    last_seen_at: float | None = None


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["open", "open", "move", "close", "flash", "wait", "stop", "kill", "crowd"]),
        st.integers(0, 9),
        st.integers(0, 72).map(lambda eighths: eighths / 8),  # exact in binary, and in milliseconds
    ),
    max_size=40,
)


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(STEPS, st.integers(0, 1_600))
def test_whatever_happens_is_read_back(steps: list[tuple[str, int, float]], moment: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        machine, model = Machine(Path(folder, "history.db")), dict[int, Known]()
        machine.begin()
        numbers = iter(range(1, 10_000))
        try:
            for kind, which, seconds in steps:
                machine.wait(seconds)
                step(machine, model, kind, which, numbers.__next__)
        finally:
            machine.stop()
        with History(machine.path) as history:
            rows = list(history.sockets())
            at = BEGAN + moment / 8
            then = {row.entry.cookie for row in history.sockets(at=at)}
        assert {row.entry.cookie: told(row) for row in rows} == {
            number: replace(known, last_seen_at=known.last_seen_at or machine.time) for number, known in model.items()
        }
        assert len(rows) == len(model)
        assert then == {
            number
            for number, known in model.items()
            if known.opened_at <= at <= (known.closed_at or known.last_seen_at or machine.time)
        }


def step(machine: Machine, model: dict[int, Known], kind: str, which: int, new: Callable[[], int]) -> None:
    open_ones = sorted(machine.entries)
    number = open_ones[which % len(open_ones)] if open_ones else None
    if kind == "open":
        fresh = new()
        model[fresh] = Known(machine.time, False, 0)
        machine.open(connection(fresh))
    elif kind in ("flash", "crowd"):
        fresh_ones = [new() for _ in range(1 if kind == "flash" else 20)]
        for fresh in fresh_ones:
            model[fresh] = Known(machine.time, False, which, machine.time, machine.time)
        machine.flash(*(connection(fresh, received_bytes=which) for fresh in fresh_ones))
    elif kind == "move" and number is not None:
        machine.move(number, which * 100)
        # A count that falls is one that was forgotten, if it is 0.
        model[number] = replace(model[number], received=which * 100 or model[number].received)
    elif kind == "close" and number is not None:
        machine.close(number)
        model[number] = replace(model[number], closed_at=machine.time, last_seen_at=machine.time)
    elif kind in ("stop", "kill"):
        machine.wait(61)  # figures are written once a minute
        machine.stop() if kind == "stop" else machine.kill()
        ended = machine.time
        machine.sleep(30)
        if number is not None and which % 2:
            # It went while nobody looked.
            del machine.entries[number]
            model[number] = replace(model[number], last_seen_at=ended)
        machine.begin()


def told(row: object) -> Known:
    past: object = row
    return Known(
        past.opened_at,  # type: ignore[attr-defined]
        past.there_before,  # type: ignore[attr-defined]
        past.received_bytes,  # type: ignore[attr-defined]
        past.closed_at,  # type: ignore[attr-defined]
        past.last_seen_at,  # type: ignore[attr-defined]
    )


def test_all_that_is_kept_of_a_socket(machine: Machine) -> None:
    entry = connection(2**63 + 5, received_bytes=10, sent_bytes=2**40, retransmits=3, round_trip_ms=0.5)
    machine.begin()
    machine.open(entry)
    machine.stop()
    with History(machine.path) as history:
        (row,) = history.connections()
    for name in ("local", "peer", "scheme", "state", "namespace", "user", "uid", "retransmits", "round_trip_ms"):
        assert getattr(row.entry, name) == getattr(entry, name), name
    assert (row.entry.cookie, row.sent_bytes) == (2**63 + 5, 2**40)
    assert (row.use.name, row.use.protocol, row.use.confidence, row.use.encrypted) == ("web", "HTTP/1", 0.75, "no")
    assert row.use.reason == ""  # it may hold what bytes said
    assert row.processes is not None
    (holder,) = row.processes
    assert (holder.pid, holder.name, holder.user, holder.unit) == (812, "nginx", "www-data", "nginx.service")
    assert (row.end, row.closed_at, row.state) == ("unknown", None, "established")


def test_3000_short_connections_are_3000_rows(machine: Machine) -> None:
    machine.begin()
    for number in range(1, 3_001):
        machine.flash(connection(number))
        machine.wait(0.01)
    machine.stop()
    with History(machine.path) as history:
        assert len({row.entry.cookie for row in history.connections()}) == 3_000
        assert sum(1 for _ in history.sockets()) == 3_000
        assert history.gaps() == []


# --- what is asked


def test_a_moment_and_a_time(machine: Machine) -> None:
    machine.begin()
    machine.open(connection(1))
    machine.wait(10)
    machine.open(connection(2))
    machine.wait(10)
    machine.close(1)
    machine.wait(10)
    machine.stop()

    def asked(**when: float | datetime | None) -> list[int]:
        with History(machine.path) as history:
            return [row.entry.cookie for row in history.sockets(**when)]  # type: ignore[arg-type]

    assert asked() == asked(since=BEGAN) == [1, 2]
    assert asked(at=BEGAN + 5) == [1]
    assert asked(at=datetime.fromtimestamp(BEGAN + 5)) == [1]
    assert asked(at=datetime.fromtimestamp(BEGAN + 15, UTC)) == [1, 2]
    assert asked(at=BEGAN + 25) == [2]
    assert asked(at=BEGAN + 31) == asked(at=BEGAN - 1) == asked(until=BEGAN - 1) == []
    assert asked(since=BEGAN + 21) == [2]
    with History(machine.path) as history, pytest.raises(ValueError, match="the one or the others"):
        history.sockets(at=1.0, since=2.0)


def test_a_selection_judges_the_past(machine: Machine) -> None:
    machine.begin()
    machine.open(connection(1, 7001), connection(2, 7002, received_bytes=5_000), listener(3))
    machine.wait(100)
    machine.close(2)
    machine.stop()
    with History(machine.path) as history:

        def asked(select: str) -> list[int]:
            return [row.entry.cookie for row in history.sockets(select=select)]

        assert asked("port=7001") == [1]
        assert asked("received>1k") == [2]
        assert asked("listening") == [3]
        assert asked("name=nginx user=www-data use=web plain") == [1, 2, 3]
        assert asked("unit=ssh* or !unit=nginx.service") == []
        assert asked("age>90s") == [2]  # how long it lasted, where that is known
        assert [row.entry.cookie for row in history.connections(select="~nginx")] == [1, 2]
        with pytest.raises(SelectionError, match="there is no prot"):
            history.sockets(select="prot=7")


def test_it_is_read_while_it_is_written(machine: Machine) -> None:
    recorder = machine.begin()
    machine.open(connection(1))
    recorder.flush()
    with History(machine.path) as history:
        (row,) = history.sockets()
        assert (row.end, history.spans()[0].running) == ("open", True)
        machine.open(connection(2))
        machine.close(1)
        recorder.flush()
        assert [row.end for row in history.sockets()] == ["closed", "open"]
    machine.stop()
    with History(machine.path) as history:
        assert [row.end for row in history.sockets()] == ["closed", "unknown"]
        assert (history.spans()[0].running, history.spans()[0].ended) == (False, True)


def test_a_reader_that_waits_between_two_rows_holds_nothing_up(machine: Machine) -> None:
    recorder = machine.begin()
    machine.flash(*(connection(number) for number in range(1, 1_500)))
    recorder.flush()
    with History(machine.path) as history:
        rows = history.sockets()
        next(rows)
        machine.flash(connection(2_000))
        recorder.flush()
        with sqlite3.connect(machine.path) as other:
            assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0  # nobody holds the log
        other.close()
        assert sum(1 for _ in rows) == 1_498  # what came later is not told
    machine.stop()


# --- what was not recorded


def test_times_without_a_recorder_are_told(machine: Machine) -> None:
    machine.begin()
    machine.wait(100)
    machine.stop()
    machine.sleep(50)
    machine.begin("port=1")
    machine.wait(20)
    machine.sleep(HOUR)  # suspended
    machine.wait(20)
    machine.stop()
    with History(machine.path) as history:
        spans = history.spans()
        assert [(span.since - BEGAN, span.selection) for span in spans] == [
            (0, ""),
            (150, "port=1"),
            (170 + HOUR + 10, "port=1"),
        ]
        assert [(gap.since - BEGAN, gap.lost) for gap in history.gaps()] == [
            (100, None),
            (spans[1].until - BEGAN, None),
        ]
        assert history.recorded() == [(BEGAN, BEGAN + 100)]


def test_a_killed_recorder_leaves_ends_unknown(machine: Machine) -> None:
    machine.open(connection(1), connection(2))
    machine.begin()
    machine.wait(100)
    machine.kill()
    with History(machine.path) as history:
        assert [(row.end, row.last_seen_at) for row in history.sockets()] == [("unknown", BEGAN + 100)] * 2
        assert [(span.running, span.ended) for span in history.spans()] == [(False, False)]
    machine.sleep(50)
    del machine.entries[1]
    machine.begin()
    machine.wait(50)
    machine.close(2)
    machine.stop()
    with History(machine.path) as history:
        gone, went_on = history.sockets()
        assert (gone.end, gone.last_seen_at) == ("unknown", BEGAN + 100)
        assert (went_on.end, went_on.opened_at, went_on.closed_at) == ("closed", BEGAN, BEGAN + 200)


# --- listeners that nobody uses


def unused(machine: Machine, **options: object) -> list[str]:
    with History(machine.path) as history:
        return [str(one.row.entry.local) for one in history.unused_listeners(**options)]  # type: ignore[arg-type]


def test_listeners_that_nobody_connects_to(machine: Machine) -> None:
    machine.open(
        listener(1, "tcp://*:80"),
        listener(2, "tcp://*:81"),
        listener(3, "tcp4://*:82"),
        listener(4, "tcp6://*:82"),
        listener(5, "tcp://127.0.0.2:83"),
    )
    machine.begin()
    machine.wait(HOUR)
    machine.open(listener(6, "tcp://*:84"))
    machine.flash(connection(10, 80), connection(11, 82), connection(12, 83))
    machine.wait(HOUR)
    machine.stop()
    assert unused(machine) == ["tcp://*:81", "tcp6://*:82", "tcp://127.0.0.2:83"]
    assert unused(machine, select="port=81") == ["tcp://*:81"]
    assert unused(machine, open_at_least=timedelta(minutes=59)) == [
        "tcp://*:81",
        "tcp6://*:82",
        "tcp://127.0.0.2:83",
        "tcp://*:84",
    ]
    assert "tcp4://*:82" in unused(machine, since=BEGAN + HOUR + 1)
    assert "tcp://*:84" in unused(machine, since=BEGAN + HOUR)
    assert "tcp://*:80" in unused(machine, until=BEGAN + HOUR - 1)
    with History(machine.path) as history:
        one = history.unused_listeners()[0]
    assert (one.since, one.until, one.recorded_seconds, one.open_seconds) == (
        BEGAN,
        BEGAN + 2 * HOUR,
        2 * HOUR,
        2 * HOUR,
    )


def test_a_scan_that_shook_no_hand_is_no_use(machine: Machine) -> None:
    machine.open(listener(1, "tcp://*:80"))
    machine.begin()
    machine.open(connection(2, 80, state="syn-received"))
    machine.wait(10)
    machine.close(2)
    machine.stop()
    assert unused(machine) == ["tcp://*:80"]


def test_a_program_that_is_started_anew_has_the_same_listener(machine: Machine) -> None:
    machine.open(listener(1, "tcp://*:80"), listener(2, "tcp://*:81"))
    machine.begin()
    machine.flash(connection(20, 81))
    machine.wait(HOUR)
    machine.close(1, 2)
    machine.wait(100)
    machine.open(listener(3, "tcp://*:80"), listener(4, "tcp://*:81"))
    machine.wait(HOUR)
    machine.stop()
    with History(machine.path) as history:
        (one,) = history.unused_listeners()
    assert (one.row.entry.cookie, one.open_seconds) == (3, 2 * HOUR)


def test_a_listener_that_has_closed_is_not_told(machine: Machine) -> None:
    machine.open(listener(1, "tcp://*:80"))
    machine.begin()
    machine.wait(HOUR)
    machine.close(1)
    machine.wait(HOUR)
    machine.stop()
    assert unused(machine) == []


def test_what_was_not_all_recorded_proves_nothing(machine: Machine) -> None:
    machine.open(listener(1, "tcp://*:80"))
    machine.begin("listening")
    machine.wait(HOUR)
    machine.stop()
    assert unused(machine) == []
    machine.begin("!unix")
    machine.wait(60)
    assert machine.recorder is not None
    machine.recorder.lose(12)
    machine.wait(60)
    machine.stop()
    with History(machine.path) as history:
        (one,) = history.unused_listeners()
        assert one.recorded_seconds == pytest.approx(119)
        assert history.gaps()[-1] == Gap(one.since + 59, one.since + 60, 12)


# --- files


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        History(tmp_path / "missing")
    with pytest.raises(HistoryError, match="no regular file"):
        History(tmp_path)


@pytest.mark.parametrize("at", [0, 5_000, 20_000])
def test_a_damaged_file_names_the_remedy(machine: Machine, at: int) -> None:
    machine.begin()
    machine.flash(*(connection(number) for number in range(1, 500)))
    machine.stop()
    with open(machine.path, "r+b") as file:
        file.seek(at)
        file.write(os.urandom(60_000))

    def read() -> None:
        with History(machine.path) as history:
            list(history.sockets())
            history.spans()
            history.gaps()

    with pytest.raises(HistoryError, match="move it away, and a new one is begun"):
        read()
    with suppress(HistoryError):
        # Whether it is noticed at once or when it is written to: never another kind of error.
        machine.begin().flush()
    machine.stop()
