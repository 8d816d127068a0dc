"""Ports that nobody uses, by a history: the fault is made, seen, mended, and gone."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from socketkit.cli import main
from socketkit.errors import HistoryError
from socketkit.inspect.history import Recorder
from socketkit.inspect.ledger import Ledger
from socketkit.threats.audit import audit, look
from socketkit.threats.recorded import UNUSED_SECONDS, read
from tests.inspect.histories import BEGAN, Machine, connection, listener
from tests.threats.findings.looking import TABLE
from tests.threats.namespaces import Network

DAY = UNUSED_SECONDS


def test_what_a_history_says(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "history.db")
    machine.open(listener(1, "tcp://*:80"), listener(2, "tcp://*:81"))
    machine.begin()
    machine.wait(DAY / 2)
    machine.flash(connection(3, 80))
    machine.stop()
    machine.sleep(60)
    machine.begin()
    machine.wait(DAY / 2)
    machine.stop()
    found = read(machine.path, unused_seconds=DAY)
    assert found is not None
    assert (found.since, found.seconds, found.unused) == (BEGAN, DAY, {"tcp://*:81 nginx": DAY})
    assert found.not_recorded == [(BEGAN + DAY / 2, BEGAN + DAY / 2 + 60)]
    longer = read(machine.path, unused_seconds=DAY + 1)
    assert longer is not None
    assert longer.unused == {}  # by one second too short


def test_a_selection_proves_nothing(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "history.db")
    machine.begin("port=80")
    machine.wait(2 * DAY)
    machine.stop()
    assert read(machine.path, unused_seconds=DAY) is None
    unknown = look(history=machine.path, remember=False).unknown
    assert any("no time in which all TCP sockets were recorded" in line for line in unknown)


def test_a_short_history_says_so(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "history.db")
    machine.begin()
    machine.wait(3_600)
    machine.stop()
    assert "which ports are never used: 1.0 hours are recorded of the 24.0 that it takes" in (
        look(history=machine.path, remember=False).unknown
    )


def test_no_history_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("none" * 1_000)
    with pytest.raises(HistoryError, match="move it away"):
        audit(history=tmp_path / "text", remember=False)


class Recording:
    """Records the namespace that the thread has entered, by a clock of its own."""

    def __init__(self, path: Path) -> None:
        self.now = BEGAN
        self._book = Ledger()
        self._recorder = Recorder(path, clock=lambda: self.now)
        self._book.seen(TABLE.refresh(), self.now)
        self._recorder.begin(self._book.rows, now=self.now)

    def look(self) -> None:
        self._recorder.put(self._book.seen(TABLE.refresh(), self.now), now=self.now)

    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 10)
            self._recorder.beat(now=self.now)

    def close(self) -> None:
        self._recorder.close()


@pytest.mark.privileged
@pytest.mark.slow
def test_an_unused_port_is_seen_until_it_is_used_or_closed(
    network: Callable[..., Network], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "history.db"

    def found(*words: str) -> list[str]:
        capsys.readouterr()
        main(["audit", "--own", "--json", "--fail-on", "never", "--history", str(path), *words])
        lines = map(json.loads, capsys.readouterr().out.splitlines())
        return sorted(one["socket"] for one in lines if one["id"] == "OP6")

    with network("server")["server"].entered():
        with socket.create_server(("127.0.0.1", 7171)) as used, socket.create_server(("127.0.0.1", 7272)) as unused:
            recording = Recording(path)
            recording.wait(DAY / 2)
            with socket.create_connection(used.getsockname()), used.accept()[0]:
                recording.look()
            recording.wait(DAY / 2 - 20)
            recording.close()
            assert found() == []  # 20 seconds short of a day
            assert found("--unused-hours", "23") == ["tcp://127.0.0.1:7272"]
            recording = Recording(path)
            recording.wait(DAY)
            recording.close()
            assert found() == ["tcp://127.0.0.1:7272"]
            assert found("port=7171") == []
            # The remedy: close it if nobody needs it.
            unused.close()
            assert found() == []
        with socket.create_server(("127.0.0.1", 7272)) as needed:
            recording = Recording(path)
            with socket.create_connection(needed.getsockname()), needed.accept()[0]:
                recording.look()
            recording.wait(DAY)
            recording.close()
            assert found() == []


def test_the_option_needs_a_history(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "--unused-hours", "3"]) == 2
    assert "goes with --history FILE" in capsys.readouterr().err
