from __future__ import annotations

import pytest

from socketkit.uses.web.uploads.names import fault_of


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
