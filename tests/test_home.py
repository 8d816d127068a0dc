"""Where the folder is, and that nobody else can change what is in it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from socketkit import Endpoint, Identity, IdentityError, home
from socketkit.securing import client_identity


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"SOCKETKIT_HOME": "/a/b", "XDG_CONFIG_HOME": "/c", "HOME": "/h"}, "/a/b"),
        ({"SOCKETKIT_HOME": "", "XDG_CONFIG_HOME": "/c", "HOME": "/h"}, "/c/socketkit"),
        ({"XDG_CONFIG_HOME": "relative", "HOME": "/h"}, "/h/.config/socketkit"),
        ({"HOME": "/h"}, "/h/.config/socketkit"),
    ],
)
def test_folder(environment: dict[str, str], folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SOCKETKIT_HOME", "XDG_CONFIG_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert home.folder() == folder
    assert home.file("identity.pem") == f"{folder}/identity.pem"


def test_relative_folder_is_that_of_now(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SOCKETKIT_HOME", "here")
    monkeypatch.chdir(tmp_path)
    assert home.folder() == str(tmp_path / "here")


def test_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOCKETKIT_HOME")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(IdentityError, match="SOCKETKIT_HOME=/path"):
        home.folder()


def test_prepare_makes_it_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        home.prepare(str(tmp_path / "config" / "socketkit" / "file"))
    finally:
        os.umask(before)
    for made in (tmp_path / "config", tmp_path / "config" / "socketkit"):
        assert stat.S_IMODE(made.stat().st_mode) == 0o700
    home.prepare(str(tmp_path / "config" / "socketkit" / "file"))


@pytest.mark.parametrize("mode", [0o770, 0o702])
def test_folder_that_others_can_write_to(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    for call in (home.prepare, home.check):
        with pytest.raises(IdentityError, match=f"others can write to {tmp_path}.*chmod go-w {tmp_path}"):
            call(str(tmp_path / "file"))


def test_folder_where_everyone_keeps_what_is_his(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    home.check(str(tmp_path / "file"))


def test_missing_folder_is_as_good_as_an_empty_one(tmp_path: Path) -> None:
    home.check(str(tmp_path / "none" / "file"))


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(home.UnwritableHome, match=r"file/socketkit cannot be written \(.*SOCKETKIT_HOME=/path"):
        home.prepare(str(tmp_path / "file" / "socketkit" / "known_peers"))


def test_client_does_without_a_key_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOCKETKIT_HOME", "/proc/none/socketkit")  # not even root makes it
    endpoint = Endpoint.parse("tls://localhost:1")
    assert client_identity(endpoint, None) is None
    with pytest.raises(IdentityError, match="SOCKETKIT_HOME=/path"):
        Identity.of_user()


@pytest.mark.privileged
def test_folder_of_another_user(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir(0o755)
    os.chown(folder, 12345, -1)
    with pytest.raises(IdentityError, match="belongs to another user"):
        home.prepare(str(folder / "file"))
