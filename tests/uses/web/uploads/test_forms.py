from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from socketkit.uses.web.files import Files
from socketkit.uses.web.tree import Tree
from socketkit.uses.web.uploads import Uploads
from tests.uses.web.asking import Answer, Gone, ask
from tests.uses.web.uploads.conftest import Taking

KIND = {"Content-Type": "multipart/form-data; boundary=BORDER"}


def form(*files: tuple[str, bytes], more: bytes = b"") -> bytes:
    text = b""
    for name, data in files:
        text += b"--BORDER\r\nContent-Disposition: form-data; name=file; filename=" + f'"{name}"\r\n'.encode()
        text += b"Content-Type: text/plain\r\n\r\n" + data + b"\r\n"
    return text + more + b"--BORDER--\r\n"


def post(files: Any, whole: bytes, target: str = "/", **request: Any) -> Answer:
    headers = {**KIND, "Content-Length": str(len(whole)), **request.pop("headers", {})}
    return ask(files, target, method="POST", headers=headers, **{"body": [whole], **request})


def test_several_files(taking: Taking, root: Path) -> None:
    field = b'--BORDER\r\nContent-Disposition: form-data; name="words"\r\n\r\nhello\r\n'
    got = post(taking(), form(("a", b"1"), ("ä b", b"22\r\n"), more=field), "/sub/")
    assert (got.status, got.body.decode()) == (201, "a is here\nä b is here\n")
    assert ((root / "sub" / "a").read_bytes(), (root / "sub" / "ä b").read_bytes()) == (b"1", b"22\r\n")


def test_a_browser_is_led_back(taking: Taking) -> None:
    got = post(taking(), form(("a", b"1")), "/sub/", headers={"Accept": "text/html,*/*"}, root_path="/~t")
    assert (got.status, got.headers["location"]) == (303, "/~t/sub/")
    assert post(taking(), form(("a", b"1")), headers={"Accept": "text/html"}).headers["location"] == "/"


def test_no_file_chosen(taking: Taking) -> None:
    got = post(taking(), form(("", b"")))
    assert (got.status, got.body) == (400, b"the form has no file in it: choose one\n")


@pytest.mark.parametrize("name", ["../a", "sub/a", ".a", "x\\\\y", "a" * 300])
def test_bad_names(taking: Taking, root: Path, name: str) -> None:
    assert post(taking(), form((name, b"x"))).status in (400, 403)
    assert [path.name for path in root.rglob("*")] == ["sub"]


def test_what_is_there_ends_the_form(taking: Taking, root: Path) -> None:
    (root / "b").write_text("mine")
    got = post(taking(), form(("a", b"1"), ("b", b"2"), ("c", b"3")))
    assert got.status == 409
    assert b"(a from the same form came through)" in got.body
    assert sorted(path.name for path in root.iterdir()) == ["a", "b", "sub"]
    assert (root / "b").read_text() == "mine"


def test_a_broken_form_leaves_nothing(taking: Taking, root: Path) -> None:
    whole = form(("a", b"12345"))
    with pytest.raises(Gone):
        post(taking(), whole, body=[whole[:-20]], cut=True)
    assert post(taking(), whole[:-20]).status == 400
    assert post(taking(), b"nonsense").status == 400
    assert post(taking(), whole, headers={"Content-Type": "multipart/form-data"}).status == 415
    assert post(taking(), whole, headers={"Content-Type": "text/plain"}).status == 415
    assert [path.name for path in root.rglob("*")] == ["sub"]


def test_bounds(taking: Taking, root: Path) -> None:
    assert post(taking(max_bytes=10), form(("a", bytes(11)))).status == 413
    assert post(taking(max_bytes=10), form(("a", bytes(70_000)))).status == 413
    assert post(taking(quota_bytes=10), form(("a", bytes(3)))).status == 507
    assert post(taking(quota_bytes=10), form(("a", bytes(11))), headers={"Content-Length": ""}).status == 507
    many = form(*((f"f{number}", b"") for number in range(257)))
    assert post(taking(), many).status == 413
    assert not [path for path in root.iterdir() if path.name.startswith(".")]


def test_without_the_package(taking: Taking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "multipart", None)
    got = post(taking(), form(("a", b"1")))
    assert got.status == 501
    assert b"socketkit[web]" in got.body


@settings(max_examples=60, deadline=None)
@given(data=st.lists(st.binary(max_size=60), min_size=1, max_size=3), cuts=st.lists(st.integers(0, 600), max_size=8))
def test_any_split_of_a_form(tmp_path_factory: pytest.TempPathFactory, data: list[bytes], cuts: list[int]) -> None:
    root = tmp_path_factory.mktemp("served")
    whole = form(*((f"f{number}", each) for number, each in enumerate(data)))
    borders = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    chunks = [whole[first:last] for first, last in pairwise(borders)]
    with Tree(root) as tree:
        assert post(Files(tree, changes=Uploads(tree, free_bytes=0)), whole, body=chunks).status == 201
    assert [(root / f"f{number}").read_bytes() for number in range(len(data))] == data
