"""A kept file is whole at any moment, loses no change, and is not used if somebody else could have written it."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socketkit import IdentityError, kept_file


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "kept")


# --- reading


def test_missing_file_is_none(path: str) -> None:
    assert kept_file.read(path) is None


@pytest.mark.parametrize(
    ("mode", "private", "refused"),
    [
        (0o600, True, None),
        (0o400, True, None),
        (0o640, True, "chmod 600"),
        (0o604, True, "chmod 600"),
        (0o610, True, "chmod 600"),
        (0o644, False, None),
        (0o664, False, "says whom to trust: chmod 600"),
        (0o602, False, "says whom to trust: chmod 600"),
    ],
)
def test_modes(path: str, mode: int, private: bool, refused: str | None) -> None:
    Path(path).write_bytes(b"content")
    os.chmod(path, mode)
    if refused is None:
        assert kept_file.read(path, private=private) == b"content"
    else:
        with pytest.raises(IdentityError, match=f"{path}.*{refused}"):
            kept_file.read(path, private=private)


@pytest.mark.privileged
def test_file_of_another_user(path: str) -> None:
    Path(path).write_bytes(b"content")
    os.chmod(path, 0o600)
    os.chown(path, 12345, -1)
    with pytest.raises(IdentityError, match="belongs to another user"):
        kept_file.read(path)
    assert kept_file.read(path, own=False) == b"content"


def test_missing_file_in_a_folder_that_others_can_write_to(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)  # who removed it?
    with pytest.raises(IdentityError, match="chmod go-w"):
        kept_file.read(str(tmp_path / "kept"))
    assert kept_file.read(str(tmp_path / "kept"), own=False) is None


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name in (tmp_path, tmp_path / "fifo"):
        with pytest.raises(IdentityError, match="no regular file"):
            kept_file.read(str(name))
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(IdentityError, match="loop: too many levels"):
        kept_file.read(str(tmp_path / "loop"))


def test_one_byte_too_many(path: str) -> None:
    Path(path).write_bytes(b"x" * kept_file.MOST_BYTES)
    os.chmod(path, 0o600)
    assert len(kept_file.read(path) or b"") == kept_file.MOST_BYTES
    with open(path, "ab") as file:
        file.write(b"x")
    with pytest.raises(IdentityError, match="larger than 1,048,576 bytes: take out"):
        kept_file.read(path)
    with pytest.raises(IdentityError, match="would be larger than"):
        kept_file.replace(path, b"x" * (kept_file.MOST_BYTES + 1))


# --- writing


def test_replaced_file_is_private_whatever_it_was(path: str) -> None:
    Path(path).write_bytes(b"old")
    os.chmod(path, 0o644)
    kept_file.replace(path, b"new")
    assert Path(path).read_bytes() == b"new"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    kept_file.change(str(tmp_path / "link"), lambda text: text + "x\n")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "x\n"


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_crash_before_the_rename_leaves_the_old_file(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    kept_file.replace(path, b"old")

    def crash(*args: object) -> None:
        raise OSError("no space")

    with monkeypatch.context() as patched:
        patched.setattr(os, call, crash)
        with pytest.raises(IdentityError, match="no space"):
            kept_file.replace(path, b"new")
    assert kept_file.read(path) == b"old"
    assert os.listdir(tmp_path) == ["kept"]


@pytest.mark.slow
def test_killed_before_the_rename(path: str) -> None:
    kept_file.replace(path, b"old\n")
    code = """
import os, signal, sys
from socketkit import kept_file
os.rename = lambda *names: os.kill(os.getpid(), signal.SIGKILL)
kept_file.change(sys.argv[1], lambda text: text + "new\\n")
"""
    assert subprocess.run([sys.executable, "-c", code, path], timeout=20).returncode == -9
    assert kept_file.read(path) == b"old\n"
    kept_file.change(path, lambda text: text + "next\n")  # the lock went with the process
    assert kept_file.read(path) == b"old\nnext\n"


def test_unchanged_text_is_not_written(path: str) -> None:
    kept_file.change(path, lambda text: "a\n")
    born = os.stat(path).st_ino
    kept_file.change(path, lambda text: text)
    assert os.stat(path).st_ino == born


def test_bytes_that_are_no_text_survive(path: str) -> None:
    kept_file.replace(path, b"\xff\xfe\n")
    kept_file.change(path, lambda text: text + "x\n")
    assert kept_file.read(path) == b"\xff\xfe\nx\n"


@pytest.mark.slow
def test_two_processes_at_once_lose_nothing(path: str) -> None:
    code = """
import sys
from socketkit import kept_file
for number in range(50):
    kept_file.change(sys.argv[1], lambda text: f"{text}{sys.argv[2]} {number}\\n")
"""
    writers = [subprocess.Popen([sys.executable, "-c", code, path, name]) for name in "ab"]
    assert [writer.wait(20) for writer in writers] == [0, 0]
    lines = (kept_file.read(path) or b"").decode().splitlines()
    assert sorted(lines) == sorted(f"{name} {number}" for name in "ab" for number in range(50))


def test_lock_that_is_held_for_ever(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_file, "LOCK_SECONDS", 0.02)
    with open(f"{path}.lock", "w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(IdentityError, match=r"keeps .*kept\.lock locked: `lslocks`"):
            kept_file.change(path, lambda text: text)


# --- lines


@pytest.mark.slow
@given(st.lists(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1)), st.booleans())
def test_lines(lines: list[str], ended: bool) -> None:
    text = "".join(f"{line}\n" for line in lines)
    text = text if ended else text.removesuffix("\n")
    longer = kept_file.with_line(text, "new", "its comment")
    assert longer.split("\n") == [*lines, "new its comment", ""]
    assert kept_file.without_lines(longer, {len(lines) + 1}).split("\n") == [*lines, ""]


@pytest.mark.parametrize("comment", ["a\nb", "a\0", "\x1b[31m", "a\u2028b"])
def test_comment_stays_on_its_line(comment: str) -> None:
    with pytest.raises(IdentityError, match="one line of printable"):
        kept_file.with_line("", "line", comment)
