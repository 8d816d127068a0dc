"""The file of history: who may open it, who writes it, and what it refuses to be."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path

import pytest

from socketkit.errors import HistoryError
from socketkit.inspect.history_store import VERSION, hold, is_held, open_to_read, open_to_write


def made(path: Path) -> Path:
    open_to_write(str(path)).close()
    return path


def test_it_is_for_this_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    connection = open_to_write(str(path))
    connection.execute("INSERT INTO gap VALUES (1, 2, 3)")
    modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in tmp_path.iterdir()}
    assert modes == {"history.db": 0o600, "history.db-wal": 0o600, "history.db-shm": 0o600}
    connection.close()
    path.chmod(0o644)
    made(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_it_has_a_log_and_gives_pages_back(tmp_path: Path) -> None:
    connection = open_to_write(str(tmp_path / "history.db"))
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)
    connection.close()


def test_what_is_no_history_is_not_written_to(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE mine (a)")
    connection.close()
    text = tmp_path / "notes.txt"
    text.write_text("these are notes, and not few of them\n" * 100)
    for path, words in ((other, "is no history of socketkit"), (text, "move it away")):
        before = path.read_bytes()
        for opened in (open_to_write, open_to_read):
            with pytest.raises(HistoryError, match=words):
                opened(str(path))
        assert path.read_bytes() == before
    with pytest.raises(HistoryError, match="no regular file"):
        open_to_write(str(tmp_path))


def test_an_empty_file_becomes_one(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    path.touch()
    made(path)
    open_to_read(str(path)).close()


def test_a_later_version_is_left_alone(tmp_path: Path) -> None:
    path = made(tmp_path / "history.db")
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    for opened in (open_to_write, open_to_read):
        with pytest.raises(HistoryError, match=f"its version is {VERSION + 1}, this one knows {VERSION}.*update"):
            opened(str(path))


def test_a_folder_that_others_write_to_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(HistoryError, match="chmod go-w"):
        open_to_write(str(folder / "history.db"))


@pytest.mark.privileged
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path / "history.db")
    os.chown(path, 65_534, -1)
    with pytest.raises(HistoryError, match="belongs to another user"):
        open_to_write(str(path))


def test_the_lock_is_of_one(tmp_path: Path) -> None:
    path = str(tmp_path / "history.db")
    assert not is_held(path)
    fd = hold(path)
    assert is_held(path)
    with pytest.raises(HistoryError, match="is being recorded by another program"):
        hold(path)
    assert is_held(path)  # neither who asked nor who was refused has freed it
    os.close(fd)
    assert not is_held(path)
    os.close(hold(path))


def test_a_folder_that_nobody_writes_to_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made(tmp_path / "history.db")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    connection = open_to_read(str(path))
    assert connection.execute("SELECT count(*) FROM span").fetchone() == (0,)
    assert [entry.name for entry in tmp_path.iterdir()] == ["history.db"]
    connection.close()
