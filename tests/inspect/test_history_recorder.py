"""The recorder: what it keeps in memory, what it says when it cannot write, what is left of it when it is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from socketkit.errors import HistoryError
from socketkit.inspect import history_recorder
from socketkit.inspect.history import History, Recorder
from socketkit.inspect.watch import watch
from tests.conftest import Run
from tests.inspect.histories import Machine, Process, connection
from tests.threats.namespaces import Network


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "history.db")


def recorded(machine: Machine) -> list[int]:
    with History(machine.path) as history:
        return [row.entry.cookie for row in history.sockets()]


def test_bounds_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1,048,576"):
        Recorder(tmp_path / "a", max_bytes=1_048_575)
    with pytest.raises(ValueError, match="more than 0"):
        Recorder(tmp_path / "a", max_age=timedelta(0))
    assert list(tmp_path.iterdir()) == []


def test_a_second_recorder_is_refused(machine: Machine) -> None:
    machine.begin()
    with pytest.raises(HistoryError, match="is being recorded by another program"):
        Recorder(machine.path)
    machine.stop()
    Recorder(machine.path).close()


def test_it_begins_once_and_ends_twice(machine: Machine, no_leaks: None) -> None:
    recorder = machine.begin()
    with pytest.raises(RuntimeError, match="begins once"):
        recorder.begin([], now=machine.time)
    recorder.close()
    recorder.close()
    with Recorder(machine.path):
        pass  # nothing was recorded


def test_a_socket_is_one_row(machine: Machine) -> None:
    """However often it moves; and its figures are those of its end."""
    recorder = machine.begin()
    machine.open(connection(1))
    for received in range(100, 2_000, 100):
        machine.move(1, received)
        machine.wait(20)
    recorder.flush()
    with History(machine.path) as history:
        (row,) = history.sockets()
        assert 1_500 <= (row.received_bytes or 0) <= 1_900  # once a minute
    machine.close(1)
    machine.stop()
    with History(machine.path) as history:
        (row,) = history.sockets()
        assert row.received_bytes == 1_900


def test_figures_that_wait_are_written_at_the_end(machine: Machine) -> None:
    machine.begin()
    machine.open(connection(1))
    machine.move(1, 777)
    machine.stop()
    with History(machine.path) as history:
        assert [row.received_bytes for row in history.sockets()] == [777]


def test_words_that_are_no_text(machine: Machine) -> None:
    machine.begin()
    machine.open(connection(1, processes=(Process(executable="/opt/\udcff/x", name="a\0b"),), interface="é"))
    machine.stop()
    with History(machine.path) as history:
        (row,) = history.sockets()
        assert row.processes is not None
        assert (row.processes[0].executable, row.processes[0].name) == ("/opt/\ufffd/x", "a\0b")
        assert row.entry.interface == "é"


# --- what finds no room


def test_what_finds_no_room_is_counted(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_recorder, "MOST_WAITING", 10)
    monkeypatch.setattr(history_recorder, "WRITE_SECONDS", 60.0)  # it writes when it is asked to
    recorder = machine.begin()
    recorder.flush()
    machine.flash(*(connection(number) for number in range(1, 11)))
    assert (recorder.dropped, recorder.overrun) == (0, False)
    machine.flash(connection(11))
    assert (recorder.dropped, recorder.overrun) == (1, True)
    machine.wait(10)
    machine.flash(connection(12))
    recorder.flush()
    machine.wait(10)
    machine.flash(connection(13))
    machine.stop()
    assert recorded(machine) == [*range(1, 11), 13]
    with History(machine.path) as history:
        assert [gap.lost for gap in history.gaps()] == [2]


def test_what_is_open_is_found_again_when_there_is_room(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_recorder, "MOST_WAITING", 4)
    monkeypatch.setattr(history_recorder, "WRITE_SECONDS", 60.0)
    recorder = machine.begin()
    machine.open(connection(1), connection(2))
    recorder.flush()
    machine.flash(*(connection(number) for number in range(10, 14)))
    machine.close(1)  # there is no room to say so
    machine.open(connection(3))
    assert recorder.dropped == 2
    recorder.flush()
    machine.wait(10)
    machine.stop()
    with History(machine.path) as history:
        ends = {row.entry.cookie: row.end for row in history.sockets()}
    assert ends == {1: "closed", 2: "unknown", 3: "unknown", 10: "closed", 11: "closed", 12: "closed", 13: "closed"}


def test_a_full_disk_is_waited_for(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_recorder, "WRITE_SECONDS", 60.0)
    recorder = machine.begin()
    recorder.flush()
    write = recorder._writer.write

    def refuse(batch: object) -> int:
        failure = sqlite3.OperationalError("database or disk is full")
        failure.sqlite_errorname = "SQLITE_FULL"
        raise failure

    monkeypatch.setattr(recorder._writer, "write", refuse)
    machine.open(connection(1))
    recorder.lose(1)
    with pytest.raises(HistoryError, match="the disk is full: make room"):
        recorder.flush()
    machine.close(1)
    with pytest.raises(HistoryError):
        recorder.flush()
    monkeypatch.setattr(recorder._writer, "write", write)
    recorder.flush()
    assert recorder.failure is None
    machine.stop()
    with History(machine.path) as history:
        assert [(row.entry.cookie, row.end) for row in history.sockets()] == [(1, "closed")]
        assert [gap.lost for gap in history.gaps()] == [1]


@pytest.mark.slow
def test_a_broken_file_ends_the_recording(run: Run, tmp_path: Path, no_leaks: None) -> None:
    async def main() -> None:
        async with watch("port=1", first_bytes=False, namespaces="own") as watching:
            with Recorder(tmp_path / "history.db") as recorder:

                def refuse(batch: object) -> int:
                    raise sqlite3.DatabaseError("database disk image is malformed")

                recorder._writer.write = refuse  # type: ignore[method-assign]
                with pytest.raises(HistoryError, match="move it away"):
                    await recorder.record(watching)

    run(main())


# --- the clock


def test_a_clock_that_is_set_back_a_little_stands_still(machine: Machine) -> None:
    machine.begin()
    machine.wait(100)
    machine.open(connection(1))
    machine.time -= 30
    machine.close(1)
    machine.stop()
    with History(machine.path) as history:
        (row,) = history.sockets()
        assert row.closed_at is not None
        assert row.closed_at >= row.opened_at
        assert len(history.spans()) == 1


def test_a_clock_that_jumps_back_begins_a_new_span(machine: Machine) -> None:
    recorder = machine.begin()
    machine.wait(10_000)
    recorder.flush()
    machine.time -= 9_000
    machine.wait(100)
    machine.stop()
    with History(machine.path) as history:
        assert len(history.spans()) == 2
        assert history.gaps() == []


# --- real ones


@pytest.mark.slow
def test_what_is_watched_is_recorded(run: Run, tmp_path: Path, no_leaks: None) -> None:
    path = tmp_path / "history.db"

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            async with watch(f"port={port}", namespaces="own", interval_seconds=0.05) as watching:
                with Recorder(path) as recorder:
                    recording = asyncio.create_task(recorder.record(watching))
                    with socket.create_connection(listener.getsockname()) as caller:
                        callee, _ = listener.accept()
                        with callee:
                            caller.send(b"hello")
                            async for change in watching:
                                if change.row.received_bytes == 5:
                                    break
                    async for change in watching:
                        local = change.row.entry.local
                        if change.kind == "closed" and local is not None and local.port == port:
                            break
                    recording.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await recording
                assert not watching._hearers
        with History(path) as history:
            rows = list(history.connections(select=f"local-port={port}"))
            assert [(row.received_bytes, row.end) for row in rows] == [(5, "closed")]
            assert rows[0].processes is not None
            assert [(one.pid, one.started) for one in rows[0].processes] == [
                (os.getpid(), rows[0].processes[0].started)
            ]
            assert [row.state for row in history.sockets(select="listening")] == ["listening"]

    run(main())


RECORD = """
import asyncio, socket, sys
from socketkit.inspect.history import Recorder
from socketkit.inspect.watch import watch
async def main():
    listener = socket.create_server(("127.0.0.1", 0))
    caller = socket.create_connection(listener.getsockname())
    async with watch(f"port={listener.getsockname()[1]}", namespaces="own") as watching:
        with Recorder(sys.argv[1]) as recorder:
            recording = asyncio.create_task(recorder.record(watching))
            await asyncio.sleep(0)
            recorder.flush()
            print(listener.getsockname()[1], flush=True)
            await recording
asyncio.run(main())
"""


@pytest.mark.slow
def test_after_sigkill_the_file_opens_and_ends_are_unknown(tmp_path: Path) -> None:
    path = str(tmp_path / "history.db")
    with subprocess.Popen([sys.executable, "-c", RECORD, path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline())
        with History(path) as history:
            assert {row.end for row in history.sockets()} == {"open"}
            assert history.spans()[0].running
        with pytest.raises(HistoryError, match="being recorded"):
            Recorder(path)
        process.send_signal(signal.SIGKILL)
    with History(path) as history:
        assert [row.end for row in history.sockets()] == ["unknown"] * 3
        assert [(span.running, span.ended) for span in history.spans()] == [(False, False)]
    with Recorder(path) as recorder:  # the lock died with the process
        recorder.begin([], now=0.0)
    with History(path) as history:
        assert [row.end for row in history.sockets()] == ["unknown"] * 3
        assert [gap.lost for gap in history.gaps()] == [None]


@pytest.mark.slow
@pytest.mark.privileged
def test_in_a_network_each_connection_is_named_with_its_owner(program: Callable[[str], str], tmp_path: Path) -> None:
    nc, ip = program("nc"), program("ip")
    assert ip
    with Network("near", "far") as network:
        near, far = network["near"], network["far"]
        server = far.start(nc, "-lk", far.ip4, "7171", stdin=subprocess.PIPE)
        path = str(tmp_path / "history.db")
        recorder = near.start(sys.executable, "-c", IN_NETWORK, path, far.ip4, nc, stdout=subprocess.PIPE)
        assert recorder.stdout is not None
        at, pid = recorder.stdout.readline().split()
        assert recorder.wait(60) == 0
        assert server.poll() is None
    with History(path) as history:
        (row,) = history.connections(at=float(at), select=f"peer={far.ip4} peer-port=7171")
        assert row.processes is not None
        assert [(one.pid, one.name, one.user) for one in row.processes] == [(int(pid), "nc", "root")]
        assert row.end == "closed"


IN_NETWORK = """
import asyncio, subprocess, sys, time
from socketkit.inspect.history import Recorder
from socketkit.inspect.watch import watch
path, host, nc = sys.argv[1:]
async def main():
    async with watch("tcp", namespaces="own", interval_seconds=0.05) as watching:
        with Recorder(path) as recorder:
            recording = asyncio.create_task(recorder.record(watching, alone=False))
            await asyncio.sleep(0)
            while True:  # until the server listens
                caller = subprocess.Popen([nc, host, "7171"], stdin=subprocess.PIPE)
                async for change in watching:
                    row = change.row
                    if row.processes and row.processes[0].pid == caller.pid and row.state == "established":
                        break
                    if change.kind == "closed" and caller.poll() is not None:
                        break
                if caller.poll() is None:
                    break
            await asyncio.sleep(0.01)
            at = time.time()
            print(at, caller.pid, flush=True)
            caller.kill()
            async for change in watching:
                if change.kind == "closed" and change.row is row:
                    break
            caller.wait()
            recording.cancel()
asyncio.run(main())
"""
