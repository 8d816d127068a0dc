from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from socketkit.uses.web.files import Files
from socketkit.uses.web.tree import Tree
from socketkit.uses.web.uploads import Uploads
from tests.browser import browser

__all__ = ["Taking", "browser"]

Taking = Callable[..., Files]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "served"
    (folder / "sub").mkdir(parents=True)
    return folder


@pytest.fixture
def taking(root: Path) -> Iterator[Taking]:
    """`taking(**options)`: the folder `root` with uploads."""
    trees = []

    def make(hidden: bool = False, **options: Any) -> Files:
        trees.append(Tree(root, hidden=hidden))
        return Files(trees[-1], changes=Uploads(trees[-1], **{"free_bytes": 0, **options}))

    yield make
    for tree in trees:
        tree.close()
