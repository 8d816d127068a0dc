from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.uses.web.asking import ask
from tests.uses.web.uploads.calls import TUS, begun, meta, parts_in
from tests.uses.web.uploads.conftest import Taking


def test_nothing_is_replaced(taking: Taking, root: Path) -> None:
    (root / "a").write_text("mine")
    got = ask(taking(), "/a", method="PUT", body=[b"yours"])
    assert got.status == 409
    assert b"--overwrite" in got.body
    assert (root / "a").read_text() == "mine"


def test_what_may_be_replaced_is(taking: Taking, root: Path) -> None:
    (root / "a").write_text("mine")
    assert ask(taking(overwrite=True), "/a", method="PUT", body=[b"yours"]).status == 200
    assert (root / "a").read_text() == "yours"


def test_a_folder_and_a_link_are_never_replaced(taking: Taking, root: Path) -> None:
    (root / "link").symlink_to("a")
    for target in ("/sub", "/link"):
        assert ask(taking(overwrite=True), target, method="PUT", body=[b"x"]).status == 409
    assert (root / "link").is_symlink()


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/", 400),
        ("/sub/", 400),
        ("/a%00b", 400),
        ("/a%0ab", 400),
        ("/a%5cb", 400),
        ("/gpj%E2%80%AEexe", 400),
        ("/%FF", 400),
        ("/" + "a" * 256, 400),
        ("/.bashrc", 403),
        ("/.sub/a", 404),
        ("/../a", 404),
        ("/sub/%2e%2e/a", 404),
        ("/none/a", 404),
        ("/.socketkit-upload-x", 400),
    ],
)
def test_bad_names(taking: Taking, root: Path, target: str, status: int) -> None:
    assert ask(taking(), target, method="PUT", body=[b"x"]).status == status
    assert sorted(path.name for path in root.rglob("*")) == ["sub"]
    assert os.listdir(root.parent) == ["served"]


def test_hidden_names_where_they_are_served(taking: Taking, root: Path) -> None:
    files = taking(hidden=True)
    assert ask(files, "/.bashrc", method="PUT", body=[b"x"]).status == 201
    begun(files, "b", 3)
    (part,) = (name for name in parts_in(root) if "upload" in name)
    assert ask(files, f"/{part}").status == 404


def test_a_link_out_of_the_folder_leads_nowhere(taking: Taking, root: Path) -> None:
    (root / "out").symlink_to("/tmp")
    assert ask(taking(), "/out/x", method="PUT", body=[b"x"]).status == 404


def test_into_a_file(taking: Taking, root: Path) -> None:
    (root / "a").write_text("x")
    assert ask(taking(), "/a/b", method="PUT", body=[b"x"]).status in (404, 409)


def test_too_large(taking: Taking, root: Path) -> None:
    files = taking(max_bytes=5)

    async def receive() -> Any:
        raise AssertionError("the body was read")

    events: list[Any] = []

    async def send(event: Any) -> None:
        events.append(event)

    scope = {"type": "http", "method": "PUT", "path": "/a", "query_string": b"", "root_path": ""}
    asyncio.run(files({**scope, "headers": [(b"content-length", b"6")]}, receive, send))
    assert events[0]["status"] == 413
    assert ask(files, "/a", method="PUT", body=[b"123", b"456"]).status == 413
    assert parts_in(root) == []
    assert ask(files, "/a", method="PUT", body=[b"123", b"45"]).status == 201


@pytest.mark.parametrize("known", [True, False])
def test_the_quota_of_the_whole_folder(taking: Taking, root: Path, known: bool) -> None:
    (root / "sub" / "old").write_bytes(bytes(90))
    files = taking(quota_bytes=100)
    for name, size, status in (("a", 11, 507), ("b", 10, 201), ("c", 1, 507)):
        headers = {"Content-Length": str(size)} if known else {}
        got = ask(files, f"/{name}", method="PUT", body=[bytes(size)], headers=headers)
        assert got.status == status, got
    assert b"0 are left" in got.body
    assert sorted(path.name for path in root.iterdir()) == ["b", "sub"]
    assert parts_in(root) == []


def test_room_is_kept_for_what_has_begun(taking: Taking, root: Path) -> None:
    files = taking(quota_bytes=100)
    where = begun(files, "a", 60)
    assert ask(files, "/b", method="PUT", body=[bytes(41)], headers={"Content-Length": "41"}).status == 507
    assert ask(taking(quota_bytes=100), "/b", method="PUT", body=[bytes(41)]).status == 507
    assert ask(files, where, method="DELETE", headers=TUS).status == 204
    assert ask(files, "/b", method="PUT", body=[bytes(41)], headers={"Content-Length": "41"}).status == 201
    assert parts_in(root) == []


def test_what_is_replaced_counts_no_more(taking: Taking) -> None:
    files = taking(quota_bytes=100, overwrite=True)
    for _ in range(3):
        assert ask(files, "/a", method="PUT", body=[bytes(50)]).status in (200, 201)
    assert ask(files, "/b", method="PUT", body=[bytes(50)]).status == 201
    assert ask(files, "/c", method="PUT", body=[bytes(1)]).status == 507


def test_what_is_kept_free_on_the_disk(taking: Taking) -> None:
    got = ask(taking(free_bytes=1 << 60), "/a", method="PUT", body=[b"x"], headers={"Content-Length": "1"})
    assert got.status == 507
    assert b"disk" in got.body


def test_unfinished_uploads_are_bounded(taking: Taking) -> None:
    files = taking(most_parts=2)
    begun(files, "a", 5)
    begun(files, "b", 5)
    got = ask(files, "/", method="POST", headers={**TUS, **meta("c"), "Upload-Length": "5"})
    assert (got.status, got.headers["retry-after"]) == (503, "3600")


def test_parts_of_yesterday_go(taking: Taking, root: Path) -> None:
    files = taking(most_parts=1)
    begun(files, "a", 5)
    (part,) = parts_in(root)
    old = time.time() - 90_000
    os.utime(root / part, (old, old))
    begun(taking(most_parts=1), "b", 5)
    assert part not in parts_in(root)


def test_a_disk_without_links(taking: Taking, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any, **__: Any) -> None:
        raise PermissionError(1, "no links")

    monkeypatch.setattr(os, "link", none)
    assert ask(taking(), "/a", method="PUT", body=[b"x"]).status == 201
    assert ((root / "a").read_bytes(), parts_in(root)) == (b"x", [])
