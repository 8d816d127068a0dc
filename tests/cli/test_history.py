"""`socketkit history`: what it finds in a file, and what it says of what is not in it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from socketkit.cli import main
from tests.inspect.histories import BEGAN, Machine, Process, connection, listener

HOUR = 3_600.0
Ran = Callable[..., tuple[int, list[str], str]]


@pytest.fixture
def ran(capsys: pytest.CaptureFixture[str]) -> Ran:
    def ran(*words: str) -> tuple[int, list[str], str]:
        status = main(["history", *words])
        out, err = capsys.readouterr()
        return status, out.splitlines(), err

    return ran


@pytest.fixture
def file(tmp_path: Path) -> str:
    """Two hours; somebody was connected in the first half hour, and another for a moment after an hour."""
    machine = Machine(tmp_path / "history.db")
    machine.open(listener(1, "tcp://*:7000"), listener(2, "tcp://*:81"), connection(3))
    machine.begin()
    machine.wait(HOUR / 2)
    machine.close(3)
    machine.wait(HOUR / 2)
    machine.flash(connection(4, received_bytes=5_000))
    machine.wait(HOUR)
    machine.stop()
    return machine.path


def iso(seconds: float) -> str:
    return datetime.fromtimestamp(BEGAN + seconds).isoformat(timespec="seconds")


def test_what_was_connected_at_a_time(ran: Ran, file: str) -> None:
    status, out, err = ran(file, "--at", iso(60), "--columns", "opened,closed,lasted,local,peer,process,use")
    assert status == 0
    shown = [iso(0).replace("T", " "), iso(HOUR / 2).replace("T", " ")]
    assert out[1].split("  ") == [
        f"< {shown[0]}",
        shown[1],
        "> 30.0 min",
        "tcp://127.0.0.1:7000",
        "tcp://127.0.0.1:10003",
        "nginx[812]",
        "web",
    ]
    assert "times: " in err
    assert "recorded from" in err
    assert "not recorded" not in err


def test_from_one_time_to_another(ran: Ran, file: str) -> None:
    def peers(*words: str) -> list[str]:
        _, out, _ = ran(file, "--columns", "peer", *words)
        return [line.rpartition(":")[2] for line in out[1:]]

    assert peers() == ["10003", "10004"]
    assert peers("--since", iso(HOUR / 2 + 1)) == ["10004"]
    assert peers("--until", iso(60)) == ["10003"]
    assert peers("--sort", "received") == ["10004", "10003"]
    assert peers("--sort", "opened") == ["10004", "10003"]
    assert peers("received>1k") == ["10004"]
    assert peers("--since", iso(HOUR + 1)) == []


def test_with_a_term_or_all_of_them(ran: Ran, file: str) -> None:
    assert len(ran(file, "listening")[1]) == 3
    assert len(ran(file, "--all")[1]) == 5


def test_json(ran: Ran, file: str) -> None:
    _, out, _ = ran(file, "--json", "peer-port=10004")
    (told,) = map(json.loads, out)
    assert (told["received_bytes"], told["end"], told["opened_at"]) == (5_000, "closed", BEGAN + HOUR)


def test_ports_that_nobody_used(ran: Ran, file: str) -> None:
    status, out, err = ran(file, "--unused")
    assert (status, [line.split()[0] for line in out]) == (0, ["local", "tcp://*:81"])
    assert "recorded 2.00 h from" in err
    _, out, _ = ran(file, "--unused", "--json")
    (told,) = map(json.loads, out)
    assert (told["local"], told["recorded_seconds"], told["recorded_since"]) == ("tcp://*:81", 2 * HOUR, BEGAN)
    _, out, err = ran(file, "--unused", "port=1")
    assert (len(out), "no TCP listener was open all the time" in err) == (1, True)


def test_what_was_not_recorded_is_told(ran: Ran, tmp_path: Path) -> None:
    machine = Machine(tmp_path / "history.db")
    machine.begin()
    machine.wait(600)
    machine.stop()
    machine.sleep(600)
    machine.begin("port=1")
    machine.wait(60)
    assert machine.recorder is not None
    machine.recorder.lose(7)
    machine.stop()
    _, _, err = ran(machine.path)
    assert f"not recorded: {iso(600)} to {iso(1_200)}".replace("T", " ") in err
    assert ", 7 changes at most" in err
    assert "recorded was only: port=1" in err
    _, _, err = ran(machine.path, "--at", iso(900))
    assert "not recorded: " in err
    assert "nothing of that time was recorded" in ran(machine.path, "--at", iso(-900))[2]
    _, _, err = ran(machine.path, "--since", iso(-900), "--until", iso(9_000))
    assert "not recorded: before" in err
    assert "not recorded: after" in err
    assert f"recorded 10.0 min from {iso(0).replace('T', ' ')}" in ran(machine.path, "--unused")[2]


def test_a_file_with_nothing_in_it(ran: Ran, tmp_path: Path) -> None:
    from socketkit.inspect.history import Recorder

    Recorder(tmp_path / "history.db").close()
    assert "nothing was ever recorded" in ran(str(tmp_path / "history.db"))[2]
    assert "of no time all TCP sockets were recorded" in ran(str(tmp_path / "history.db"), "--unused")[2]


def test_names_move_no_cursor(ran: Ran, tmp_path: Path) -> None:
    machine = Machine(tmp_path / "history.db")
    machine.open(connection(1, processes=(Process(name="a\x1b[2Jb"),)))
    machine.begin()
    machine.stop()
    _, out, _ = ran(machine.path)
    assert "a·[2Jb[812]" in out[1]


def test_it_runs_now_too(ran: Ran, tmp_path: Path) -> None:
    machine = Machine(tmp_path / "history.db")
    machine.time = time.time()
    recorder = machine.begin()
    machine.open(connection(1))
    recorder.flush()
    _, out, err = ran(machine.path, "--since", "1m")
    assert ("  open  " in out[1], "to now" in err) == (True, True)
    machine.kill()
    assert "  ? > " in ran(machine.path)[1][1]


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["--at", "noon"], 2, "--at: noon is no moment"),
        (["--at", "1h", "--since", "2h"], 2, "give the one or the others"),
        (["--since", "1h", "--until", "2h"], 2, "--until is before --since"),
        (["--columns", "locl"], 2, "there is no column locl (did you mean local?)"),
        (["--columns", ","], 2, "--columns names none"),
        (["--sort", "quiet"], 2, "there is no column quiet"),
        (["prot=1"], 2, "there is no prot"),
    ],
)
def test_what_cannot_be_meant(ran: Ran, file: str, words: list[str], status: int, told: str) -> None:
    found, _, err = ran(file, *words)
    assert (found, told in err) == (status, True), err


def test_files_that_are_none(ran: Ran, tmp_path: Path) -> None:
    status, _, err = ran(str(tmp_path / "missing"))
    assert (status, "missing: no such" in err) == (1, True), err
    (tmp_path / "text").write_text("no history\n" * 1_000)
    status, _, err = ran(str(tmp_path / "text"))
    assert (status, "move it away" in err) == (1, True)
