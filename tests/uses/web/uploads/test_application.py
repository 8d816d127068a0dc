from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from socketkit.uses.web.files import Files
from socketkit.uses.web.tree import Tree
from socketkit.uses.web.uploads import Uploads
from tests.uses.web.asking import ask
from tests.uses.web.uploads.calls import begun, patch
from tests.uses.web.uploads.conftest import Taking


def test_where_one_file_is_served(root: Path) -> None:
    (root / "a").write_text("x")
    with Tree(root / "a") as tree:
        assert ask(Files(tree, changes=Uploads(tree)), "/a", method="PUT", body=[b"y"]).status == 405


def test_pages_of_other_sites_put_nothing_here(taking: Taking) -> None:
    files = taking()
    for headers, status in (
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://evil.example", "Host": "localhost:1"}, 403),
        ({"Origin": "null", "Host": "localhost:1"}, 403),
        ({"Origin": "http://localhost:1", "Host": "localhost:1"}, 201),
        ({"Origin": "null", "Sec-Fetch-Site": "same-origin"}, 409),
    ):
        assert ask(files, "/a", method="PUT", body=[b"x"], headers=headers).status == status, headers


def test_who_may_not_write(taking: Taking, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = taking()
    real = os.open

    def refused(path: Any, flags: int, *more: Any, **named: Any) -> int:
        if flags & os.O_CREAT:
            raise PermissionError(13, "denied")
        return real(path, flags, *more, **named)

    monkeypatch.setattr(os, "open", refused)
    got = ask(files, "/a", method="PUT", body=[b"x"])
    assert (got.status, got.body) == (403, b"who serves this may not write here himself\n")


def test_every_descriptor_is_closed(taking: Taking, no_leaks: None) -> None:
    files = taking(max_bytes=10)
    where = begun(files, "a", 5)
    for offset, data in ((0, b"01"), (1, b"x"), (2, b"234")):
        patch(files, where, offset, data)
    ask(files, "/b", method="PUT", body=[bytes(11)])
    ask(files, "/b", method="PUT", body=[bytes(3)])
    for tree in [files._tree]:
        tree.close()
