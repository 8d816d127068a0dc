"""A token that is kept in a file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from socketkit import IdentityError
from socketkit.hosting import Wanted, place
from socketkit.hosting.token_file import kept_token


def test_it_is_made_once_and_kept(tmp_path: Path) -> None:
    path = str(tmp_path / "token")
    token = kept_token(path)
    assert len(token) == 26
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert kept_token(path) == token
    os.chmod(path, 0o640)  # for a program of this group, which scrapes metrics
    assert kept_token(path) == token


def test_a_token_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text("Aa0_-" * 8 + "\n")
    assert kept_token(str(path)) == "Aa0_-" * 8


@pytest.mark.parametrize("text", ["", "short", "x" * 25, "x" * 129, "x" * 5_000, f"{'x' * 26}/..", "x" * 20 + " " * 20])
def test_what_is_no_token(tmp_path: Path, text: str) -> None:
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text(text)
    with pytest.raises(IdentityError, match=r"has no token .* remove it") as refused:
        kept_token(str(path))
    assert len(text) < 25 or text not in str(refused.value)


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o602, 0o604])
def test_others_could_read_or_choose_it(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "token"
    path.write_text("x" * 26)
    path.chmod(mode)
    with pytest.raises(IdentityError, match="chmod 600"):
        kept_token(str(path))


def test_what_is_no_plain_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(IdentityError, match="no plain file"):
        kept_token(str(tmp_path / "fifo"))
    with pytest.raises(FileNotFoundError):
        kept_token(str(tmp_path / "missing" / "token"))
    os.symlink("nowhere", tmp_path / "dangling")
    with pytest.raises(FileNotFoundError):
        kept_token(str(tmp_path / "dangling"))
    assert not (tmp_path / "nowhere").exists()


def test_a_place_has_it(tmp_path: Path) -> None:
    path = str(tmp_path / "token")
    made = place(Wanted(token_file=path))
    assert made.token == kept_token(path) == place(Wanted(token_file=path)).token
    with pytest.raises(ValueError, match="public"):
        place(Wanted(token_file=path, public=True))
    with pytest.raises(ValueError, match="no browser"):
        place(Wanted(token_file=path), web=False)
