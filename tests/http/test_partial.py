"""The file that is on its way."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from socketkit.http import partial as partials
from socketkit.http.partial import Partial, TargetError


def made(folder: Path, *, url: str = "https://a/f", overwrite: bool = False) -> Partial:
    partial = Partial(folder / "f", url, overwrite=overwrite)
    partial.open()
    return partial


def begun(folder: Path) -> Partial:
    partial = made(folder)
    partial.restart('"one"', 10)
    return partial


def test_parts_are_joined(tmp_path: Path) -> None:
    partial = begun(tmp_path)
    assert partial.gap() == (0, 10)
    partial.write(4, b"ef")
    assert (partial.gap(), partial.gap(4), partial.count) == ((0, 4), (6, 10), 2)
    partial.write(0, b"abcd")
    assert (partial.done, partial.gap()) == ([(0, 6)], (6, 10))
    partial.write(5, b"fghij")
    assert partial.complete
    partial.finish()
    assert (tmp_path / "f").read_bytes() == b"abcdefghij"
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_what_was_saved_is_found_again(tmp_path: Path) -> None:
    partial = begun(tmp_path)
    partial.write(0, b"abc")
    partial.write(6, b"gh")
    partial.save()
    partial.write(3, b"def")  # not saved: as good as not there
    partial.close()
    again = made(tmp_path)
    assert (again.done, again.validator, again.total) == ([(0, 3), (6, 8)], '"one"', 10)
    assert "https" not in (tmp_path / "f.part.json").read_text()
    again.close()


@pytest.mark.parametrize(
    "change",
    [
        {"of": "x"},
        {"validator": None},
        {"total": "x"},
        {"total": 2},
        {"done": [[0, 99]]},
        {"done": [[3, 1]]},
        {"done": [[2, 3], [0, 1]]},
        {"done": [["a", "b"]]},
        {"done": []},
        {"done": [[-1, 3]]},
        {"done": None},
    ],
)
def test_a_state_that_cannot_be_true(tmp_path: Path, change: dict[str, object]) -> None:
    partial = begun(tmp_path)
    partial.write(0, b"abc")
    partial.save()
    partial.close()
    state = tmp_path / "f.part.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | change))
    again = made(tmp_path)
    assert (again.count, (tmp_path / "f.part").stat().st_size, state.exists()) == (0, 0, False)
    again.close()


def test_another_address_begins_anew(tmp_path: Path) -> None:
    partial = begun(tmp_path)
    partial.write(0, b"abc")
    partial.save()
    partial.close()
    other = made(tmp_path, url="https://b/f")
    assert other.count == 0
    other.close()


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "f").symlink_to("nowhere")
    with pytest.raises(TargetError, match="exists: --force writes over it"):
        made(tmp_path)
    assert not (tmp_path / "f.part").exists()
    partial = made(tmp_path, overwrite=True)
    partial.write(0, b"new")
    partial.finish()
    assert not (tmp_path / "f").is_symlink() and (tmp_path / "f").read_bytes() == b"new"


@pytest.mark.parametrize("linking", [True, False])
def test_what_came_into_being_meanwhile(tmp_path: Path, linking: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object, **__: object) -> None:
        raise PermissionError(1, "no links here")

    if not linking:
        monkeypatch.setattr(partials.os, "link", link)
    partial = begun(tmp_path)
    partial.write(0, b"abc")
    (tmp_path / "f").write_text("another one's")
    with pytest.raises(TargetError, match="meanwhile; all of it is in"):
        partial.finish()
    assert (tmp_path / "f").read_text() == "another one's"
    (tmp_path / "f").unlink()
    partial.finish()
    assert (tmp_path / "f").read_bytes() == b"abc"


def test_one_writer(tmp_path: Path) -> None:
    partial = made(tmp_path)
    with pytest.raises(TargetError, match="written by another program"):
        made(tmp_path)
    partial.close()
    made(tmp_path).close()


def test_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "f.part").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TargetError):
        made(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


def test_a_full_disk(tmp_path: Path) -> None:
    partial = made(tmp_path)
    os.close(partial._fd)
    partial._fd = os.open("/dev/full", os.O_RDWR)
    with pytest.raises(TargetError, match="No space left"):
        partial.write(0, b"x")
    partial.close()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="No such file"):
        made(tmp_path / "none")


def test_saving_behind_the_end(tmp_path: Path) -> None:
    partial = begun(tmp_path)
    partial.write(0, b"0123456789")
    partial.finish()
    partial.save()
    partial.close()
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_digest(tmp_path: Path) -> None:
    partial = begun(tmp_path)
    partial.write(0, b"hello")
    assert partial.digest() == "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    partial.discard()
    assert not list(tmp_path.iterdir())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 15)), max_size=12))
def test_parts_in_any_order(tmp_path: Path, parts: list[tuple[int, int]]) -> None:
    partial = made(tmp_path)
    partial.restart('"one"', 60)
    there: set[int] = set()
    for start, length in parts:
        partial.write(start, b"x" * length)
        there |= set(range(start, start + length))
        covered = {at for begin, end in partial.done for at in range(begin, end)}
        assert covered == there and partial.count == len(there)
        for after in (0, start, 30):
            missing = [at for at in range(after, 60) if at not in there]
            begin, stop = partial.gap(after)
            assert begin == (missing[0] if missing else max(60, begin))
            assert stop is not None and not any(at in there for at in range(begin, stop))
    partial.discard()
