"""What is kept, for how long, and how it is found."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from socketkit.uses.mail.database import SEEN, Database, Incoming, Keep

NOW = 1_000_000.0


def mail(subject: str = "hello", text: str = "", *, to: str = "bob@example.org", received: float = NOW) -> Incoming:
    raw = f"Subject: {subject}\r\nFrom: Ann <ann@example.org>\r\nTo: {to}\r\n\r\n{text}\r\n".encode()
    return Incoming(received, "ann@example.org", (to,), raw, {"peer": "tcp://127.0.0.1:1"})


def test_round_trip() -> None:
    database = Database()
    given = [mail("one"), mail("two")]
    caught, gone = database.add(given, NOW)
    assert gone == []
    assert [found.id for found in database.newest(10)] == [2, 1]
    assert database.newest(10) == caught[::-1]
    assert database.newest(1, before=2) == caught[:1]
    assert database.newest(10, after=1) == caught[1:]
    assert database.raw(1) == given[0].raw
    assert (database.get(3), database.raw(3)) == (None, None)
    assert (database.count, database.bytes) == (2, len(given[0].raw) + len(given[1].raw))


def test_flags() -> None:
    database = Database()
    database.add([mail()], NOW)
    marked = database.mark(1, frozenset({SEEN, "\\Deleted"}))
    assert marked is not None
    assert marked.seen
    assert database.get(1) == marked
    assert database.mark(2, frozenset()) is None


def test_delete() -> None:
    database = Database()
    database.add([mail(), mail(), mail()], NOW)
    assert database.delete([1, 7, 3]) == [1, 3]
    assert database.delete() == [2]
    assert (database.count, database.bytes, database.newest(9)) == (0, 0, [])
    (caught,), _ = database.add([mail()], NOW)
    assert caught.id == 4  # a number is never used again: IMAP's clients remember them


def test_numbers_and_the_index_outlast_a_restart(tmp_path: Path) -> None:
    path = str(tmp_path / "mail.db")
    database = Database(path)
    database.add([mail(), mail(), mail("third")], NOW)
    assert not database.index(9)
    database.delete([2, 3])
    database.close()
    again = Database(path)
    assert not again.index(9)
    (caught,), _ = again.add([mail("fourth")], NOW)
    assert caught.id == 4
    assert [found.id for found in again.search("subject:fourth", 9)] == [4]
    again.close()


def test_bounds() -> None:
    size = len(mail("x").raw)
    database = Database(keep=Keep(most_mails=3, most_bytes=100 * size, seconds=100.0))
    database.add([mail("x")] * 3, NOW)
    assert database.add([mail("x")], NOW)[1] == [1]
    assert database.add([mail("x")] * 5, NOW)[1] == [2, 3, 4, 5, 6]
    assert [found.id for found in database.newest(9)] == [9, 8, 7]
    assert database.add([mail("x", received=NOW + 101)], NOW + 101)[1] == [7, 8, 9]
    by_size = Database(keep=Keep(most_mails=100, most_bytes=2 * size, seconds=100.0))
    assert by_size.add([mail("x")] * 3, NOW)[1] == [1]
    assert (by_size.count, by_size.bytes) == (2, 2 * size)


def test_search() -> None:
    database = Database()
    database.add(
        [mail("Invoice 12", "please pay"), mail("Hello", "the invoice is paid"), mail("x", to="eve@b.org")], NOW
    )
    database.mark(1, frozenset({SEEN}))

    def found(words: str) -> list[int]:
        return [caught.id for caught in database.search(words, 10)]

    assert found("invoice") == [2, 1]
    assert found("inv") == [2, 1]
    assert found("subject:invoice") == [1]
    assert found("to:eve@b.org") == [3]
    assert found('"is paid" from:ann') == [2]
    assert found("invoice is:unseen") == [2]
    assert found("is:seen") == [1]
    assert found("") == [3, 2, 1]
    assert [caught.id for caught in database.search("invoice", 10, before=2)] == [1]
    database.delete([2])
    assert found("invoice") == [1]


def test_index_is_done_bit_by_bit() -> None:
    database = Database()
    database.add([mail()] * 5, NOW)
    assert [database.index(2) for _ in range(3)] == [True, True, False]
    assert len(database.search("hello", 10)) == 5


def test_file(tmp_path: Path) -> None:
    path = str(tmp_path / "mail.db")
    database = Database(path)
    database.add([mail("kept")], NOW)
    for file in tmp_path.iterdir():
        assert os.stat(file).st_mode & 0o777 == 0o600
    database.close()
    again = Database(path)
    assert [found.summary.subject for found in again.newest(9)] == ["kept"]
    assert (again.count, again.made) == (1, database.made)
    again.close()


def test_files_that_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mail.db"
    Database(str(path)).close()
    path.chmod(0o640)
    with pytest.raises(OSError, match="chmod 600"):
        Database(str(path))
    other = tmp_path / "other.db"
    sql = sqlite3.connect(other)
    sql.execute("CREATE TABLE x (y)")
    sql.close()
    other.chmod(0o600)
    with pytest.raises(OSError, match="something else"):
        Database(str(other))
    assert str(other) not in [os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]
    text = tmp_path / "text"
    text.write_text("not a database, but long enough to be read as one" * 30)
    text.chmod(0o600)
    with pytest.raises(OSError, match="cannot be kept there"):
        Database(str(text))
    with pytest.raises(OSError, match="No such file"):
        Database(str(tmp_path / "missing" / "mail.db"))


def test_what_cannot_be_taken_apart_is_found_by_its_envelope(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object) -> str:
        raise RuntimeError("a fault of the parser")

    monkeypatch.setattr("socketkit.uses.mail.parsed.Parsed.readable", property(fail))
    database = Database()
    database.add([mail("lost", to="eve@b.example")], NOW)
    assert [found.id for found in database.search("to:eve@b.example", 9)] == [1]


def test_a_failed_delete_leaves_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database()
    database.add([mail()], NOW)

    def fail(numbers: object, following: int) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(database, "_delete", fail)
    with pytest.raises(OSError, match="gone"):
        database.delete()
    monkeypatch.undo()
    assert (database.count, len(database.newest(9)), database.delete()) == (1, 1, [1])


def test_a_failed_add_leaves_nothing() -> None:
    database = Database()
    broken = mail()._replace(raw="no bytes at all\ud800")  # type: ignore[arg-type]
    with pytest.raises((TypeError, UnicodeEncodeError, AttributeError)):
        database.add([mail(), broken], NOW)
    assert (database.count, database.newest(9)) == (0, [])
