from __future__ import annotations

import os
from collections.abc import Iterator
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest

from socketkit.uses.web import answers
from socketkit.uses.web.files import Files
from socketkit.uses.web.tree import Tree
from tests.uses.web.asking import ask


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "digits.txt").write_text("0123456789")
    (tmp_path / "sub").mkdir()
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "index.html").write_text("<h1>here</h1>")
    return tmp_path


@pytest.fixture
def files(root: Path) -> Iterator[Files]:
    with Tree(root) as tree:
        yield Files(tree)


def test_a_file(files: Files, root: Path) -> None:
    got = ask(files, "/digits.txt")
    assert (got.status, got.body) == (200, b"0123456789")
    assert got.headers["content-type"] == "text/plain; charset=utf-8"
    assert got.headers["x-content-type-options"] == "nosniff"
    assert ask(files, "/digits.txt", method="HEAD")[::2] == (200, b"")
    assert ask(files, "/digits.txt", headers={"If-None-Match": got.headers["etag"]}).status == 304
    assert ask(files, "/digits.txt", headers={"If-Modified-Since": got.headers["last-modified"]}).status == 304
    assert ask(files, "/digits.txt", headers={"If-Match": '"x"'}).status == 412


def test_parts_of_a_file(files: Files) -> None:
    got = ask(files, "/digits.txt", headers={"Range": "bytes=2-4"})
    assert (got.status, got.body, got.headers["content-range"]) == (206, b"234", "bytes 2-4/10")
    none = ask(files, "/digits.txt", headers={"Range": "bytes=10-"})
    assert (none.status, none.body, none.headers["content-range"]) == (416, b"", "bytes */10")


def test_several_parts_of_a_file(files: Files) -> None:
    got = ask(files, "/digits.txt", headers={"Range": "bytes=0-1,-3"})
    assert got.status == 206
    told = message_from_bytes(b"content-type: " + got.headers["content-type"].encode() + b"\r\n\r\n" + got.body)
    parts = told.get_payload()
    assert isinstance(parts, list)
    assert [(part["content-range"], part.get_payload()) for part in parts] == [  # type: ignore[union-attr, index]
        ("bytes 0-1/10", "01"),
        ("bytes 7-9/10", "789"),
    ]


def test_the_kernel_sends_where_the_server_offers_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "SMALL_BYTES", 0)
    sent: list[dict[str, Any]] = []

    class Offering(Files):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            async def noting(event: dict[str, Any]) -> None:
                if event["type"] == "http.response.zerocopysend":
                    sent.append({**event, "data": os.pread(event["file"], event["count"], event["offset"])})
                    event = {"type": "http.response.body", "body": sent[-1]["data"], "more_body": True}
                await send(event)

            await super().__call__(scope, receive, noting)

    with Tree(root) as tree:
        extensions: dict[str, Any] = {"http.response.zerocopysend": {}}
        assert ask(Offering(tree), "/digits.txt", headers={"Range": "bytes=3-5"}, extensions=extensions).body == b"345"
    assert [(event["offset"], event["count"]) for event in sent] == [(3, 3)]


@pytest.mark.parametrize(
    ("target", "status", "location"),
    [
        ("/page", 301, "/page/"),
        ("//page?a=b", 301, "/page/?a=b"),
        ("/sub/", 404, None),
        ("/digits.txt/", 404, None),
        ("/nothing", 404, None),
        ("/..%2f..%2fetc/passwd", 404, None),
        ("/%2e%2e/", 404, None),
        ("/a%00b", 404, None),
    ],
)
def test_what_is_no_file(files: Files, target: str, status: int, location: str | None) -> None:
    got = ask(files, target)
    assert (got.status, got.headers.get("location")) == (status, location)


def test_a_folder_shows_its_page(files: Files) -> None:
    assert ask(files, "/page/").body == b"<h1>here</h1>"


def test_a_folder_is_below_where_it_is_mounted(files: Files) -> None:
    assert ask(files, "/page", root_path="/~token").headers["location"] == "/~token/page/"


def test_names_of_any_bytes(files: Files, root: Path) -> None:
    (root / os.fsdecode(b"\xff&.txt")).write_text("odd")
    assert ask(files, "/%FF%26.txt").body == b"odd"


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE", "PROPFIND"])
def test_nothing_can_be_changed(files: Files, method: str) -> None:
    got = ask(files, "/digits.txt", method=method)
    assert (got.status, got.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    assert b"for reading only" in got.body


def test_what_may_not_be_read_is_said_to_be_so(files: Files, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: Tree, path: str) -> None:
        raise PermissionError(13, "denied")

    monkeypatch.setattr(Tree, "open", refused)
    assert ask(files, "/digits.txt").status == 403


def test_what_strangers_may_put_there_runs_no_script(root: Path) -> None:
    async def changes(*_: Any) -> None:
        raise AssertionError

    with Tree(root) as tree:
        assert ask(Files(tree, changes=changes), "/page/").headers["content-security-policy"] == "sandbox"


def test_every_file_is_closed(root: Path, no_leaks: None) -> None:
    with Tree(root) as tree:
        files = Files(tree)
        for target in ("/", "/digits.txt", "/page/", "/page", "/nothing"):
            ask(files, target)
