from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socketkit.uses.web.uploads.names import fault_of
from socketkit.uses.web.words import shown


@pytest.mark.parametrize("name", ["a", "a b.txt", "ä" * 127, "CON", "x.", " ", "-rf", "日本"])
def test_names_that_may_be(name: str) -> None:
    assert fault_of(name) is None


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("", "no file"),
        (".", "folder"),
        ("..", "folder"),
        ("a/b", "slashes"),
        ("a\\b", "slashes"),
        ("ä" * 128, "255"),
        ("a\tb", "control"),
        ("a\x7f", "control"),
        ("a\x9bm", "control"),
        ("gpj.\u202eexe", "control"),
        ("\udcff", "UTF-8"),
        (".socketkit-upload-a-1", "unfinished"),
    ],
)
def test_names_that_may_not(name: str, word: str) -> None:
    assert word in (fault_of(name) or "")


@given(st.one_of(st.text(min_size=1), st.text("a./\\\0\u202e\u200b\udc80", min_size=1)))
def test_a_name_that_may_be_is_one_file_of_its_folder(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    if fault_of(name) is not None:
        return
    folder = tmp_path_factory.mktemp("names")
    (folder / name).write_bytes(b"")
    assert os.listdir(folder) == [name]
    assert Path(name).name == name
    assert "\n" not in shown(name)
