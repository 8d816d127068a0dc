from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socketkit.uses.web.tree import Tree


@pytest.fixture
def root(tmp_path: Path) -> Path:
    served = tmp_path / "served"
    (served / "inner").mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    (served / "file").write_text("file")
    (served / ".hidden").write_text("hidden")
    (served / "inner" / "deep").write_text("deep")
    (served / "out").symlink_to("../secret")
    (served / "within").symlink_to("inner/deep")
    (served / "inner" / "up").symlink_to("../file")
    (served / "dangling").symlink_to("nowhere")
    os.mkfifo(served / "pipe")
    return served


@pytest.fixture
def tree(root: Path) -> Iterator[Tree]:
    with Tree(root) as tree:
        yield tree


def read(tree: Tree, path: str) -> str | None:
    opened = tree.open(path)
    if opened is None:
        return None
    with opened:
        return "folder" if opened.is_folder else os.pread(opened.fd, 100, 0).decode()


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/", "folder"),
        ("/file", "file"),
        ("//inner///deep", "deep"),
        ("/inner", "folder"),
        ("/within", "deep"),
        ("/inner/up", "file"),
        ("/nothing", None),
        ("/file/below", None),
        ("/.hidden", None),
        ("/out", None),
        ("/dangling", None),
        ("/pipe", None),
        ("/../secret", None),
        ("/inner/../../secret", None),
        ("/inner/../file", None),
        ("/a\0b", None),
        ("/" + "x" * 300, None),
        ("/\udcff", None),
    ],
)
def test_what_a_path_opens(tree: Tree, path: str, content: str | None) -> None:
    assert read(tree, path) == content


def test_hidden_names_are_there_if_asked_for(root: Path) -> None:
    with Tree(root, hidden=True) as tree:
        assert read(tree, "/.hidden") == "hidden"
        assert read(tree, "/..") is None


def test_what_is_in_a_folder(tree: Tree) -> None:
    def listed(path: str) -> dict[str, tuple[bool, int]]:
        folder = tree.open(path)
        assert folder is not None
        with folder:
            return {entry.name: (entry.is_folder, entry.size) for entry in tree.entries(folder)}

    assert listed("/") == {"file": (False, 4), "inner": (True, 0), "within": (False, 4)}
    assert listed("/inner") == {"deep": (False, 4), "up": (False, 4)}


def test_one_file_is_all_that_is_served(root: Path) -> None:
    with Tree(root / "file") as tree:
        assert tree.only == "file"
        assert read(tree, "/file") == "file"
        assert read(tree, "/within") is None
        assert read(tree, "/inner/deep") is None


def test_names_of_any_bytes(root: Path, tree: Tree) -> None:
    (root / os.fsdecode(b"\xff name")).write_text("odd")
    assert read(tree, os.fsdecode(b"/\xff name")) == "odd"


def test_nothing_stays_open(root: Path, no_leaks: None) -> None:
    with Tree(root) as tree:
        read(tree, "/")
        read(tree, "/pipe")
    tree.close()
    with pytest.raises(FileNotFoundError):
        Tree(root / "none")


def test_a_tag_changes_with_the_file(root: Path, tree: Tree) -> None:
    def tag() -> str:
        opened = tree.open("/file")
        assert opened is not None
        with opened:
            return opened.tag

    before = tag()
    assert tag() == before
    os.utime(root / "file", ns=(1, 2))
    assert tag() != before


@given(st.lists(st.sampled_from(["..", ".", "", "inner", "file", "out", "up", "deep", "/", "\0", "%2e%2e"])))
def test_no_path_leads_out(served: Path, names: list[str]) -> None:
    with Tree(served) as tree:
        assert read(tree, "/" + "/".join(names)) in (None, "folder", "file")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("outer") / "served"
    (root / "inner").mkdir(parents=True)
    (root / "file").write_text("file")
    (root.parent / "file").write_text("outside")
    (root / "out").symlink_to("..")
    (root / "inner" / "up").symlink_to("../..")
    return root
