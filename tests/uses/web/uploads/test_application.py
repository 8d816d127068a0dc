from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from socketkit.uses.web.files import Files
from socketkit.uses.web.tree import Tree
from socketkit.uses.web.uploads import Uploads
from tests.uses.web.asking import Answer, Gone, ask, asked
from tests.uses.web.uploads.conftest import Taking

TUS = {"Tus-Resumable": "1.0.0"}
PATCH = {**TUS, "Content-Type": "application/offset+octet-stream"}


def meta(name: str) -> dict[str, str]:
    return {"Upload-Metadata": f"filename {base64.b64encode(name.encode()).decode()}"}


def begun(files: Any, name: str, length: int, folder: str = "/") -> str:
    got = ask(files, folder, method="POST", headers={**TUS, **meta(name), "Upload-Length": str(length)})
    assert got.status == 201, got
    return got.headers["location"]


def patch(files: Any, where: str, offset: int, *chunks: bytes, **more: Any) -> Answer:
    headers = {**PATCH, "Upload-Offset": str(offset), **more.pop("headers", {})}
    return ask(files, where, method="PATCH", headers=headers, body=chunks or (b"",), **more)


def offset_of(files: Any, where: str) -> int:
    return int(ask(files, where, method="HEAD", headers=TUS).headers["upload-offset"])


def parts_in(root: Path) -> list[str]:
    return [name for _, _, names in os.walk(root) for name in names if name.startswith(".")]


# --- PUT


def test_put(taking: Taking, root: Path) -> None:
    files = taking()
    got = ask(files, "/sub/a%20b.txt", method="PUT", body=[b"one", b"two"], headers={"Content-Length": "6"})
    assert (got.status, got.headers["location"]) == (201, "/sub/a%20b.txt")
    assert (root / "sub" / "a b.txt").read_bytes() == b"onetwo"
    assert parts_in(root) == []


def test_put_of_unknown_length(taking: Taking, root: Path) -> None:
    assert ask(taking(), "/a", method="PUT", body=[b"one", b"two"]).status == 201
    assert (root / "a").read_bytes() == b"onetwo"


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


def test_a_file_that_comes_meanwhile_is_not_replaced(taking: Taking, root: Path) -> None:
    async def receive() -> dict[str, Any]:
        (root / "a").write_text("first")
        return {"type": "http.request", "body": b"second", "more_body": False}

    events: list[Any] = []

    async def send(event: Any) -> None:
        events.append(event)

    scope = {"type": "http", "method": "PUT", "path": "/a", "query_string": b"", "headers": [], "root_path": ""}
    asyncio.run(taking()(scope, receive, send))
    assert events[0]["status"] == 409
    assert (root / "a").read_text() == "first"
    assert parts_in(root) == []


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


def test_where_one_file_is_served(root: Path) -> None:
    (root / "a").write_text("x")
    with Tree(root / "a") as tree:
        assert ask(Files(tree, changes=Uploads(tree)), "/a", method="PUT", body=[b"y"]).status == 405


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


def test_two_uploads_of_one_name(taking: Taking, root: Path) -> None:
    files = taking()

    async def main() -> None:
        came, go = asyncio.Event(), asyncio.Event()
        events: list[Any] = []

        async def receive() -> dict[str, Any]:
            came.set()
            await go.wait()
            return {"type": "http.request", "body": b"first", "more_body": False}

        async def send(event: Any) -> None:
            events.append(event)

        scope = {"type": "http", "method": "PUT", "path": "/a", "query_string": b"", "headers": [], "root_path": ""}
        first = asyncio.create_task(files(scope, receive, send))
        await came.wait()
        for request in (
            {"method": "PUT", "body": [b"second"]},
            {"method": "PUT", "body": [b"other"], "headers": {"Content-Length": "5"}},
        ):
            second = await asked(files, "/a", **request)
            assert second.status == 409
            assert b"just now" in second.body
        beginning = {**TUS, **meta("a"), "Upload-Length": "5"}
        assert (await asked(files, "/", method="POST", headers=beginning)).status == 409
        assert (await asked(files, "/b", method="PUT", body=[b"x"])).status == 201
        go.set()
        await first
        assert events[0]["status"] == 201

    asyncio.run(main())
    assert (root / "a").read_bytes() == b"first"


def test_a_broken_put_is_gone_on_with(taking: Taking, root: Path) -> None:
    files = taking()
    with pytest.raises(Gone):
        ask(files, "/a", method="PUT", body=[b"01234"], headers={"Content-Length": "10"}, cut=True)
    assert not (root / "a").exists()

    def go_on(first: int, data: bytes) -> Answer:
        headers = {"Content-Range": f"bytes {first}-9/10", "Content-Length": str(len(data))}
        return ask(files, "/a", method="PUT", body=[data], headers=headers)

    got = go_on(7, b"789")
    assert (got.status, got.headers["upload-offset"]) == (409, "5")
    assert b"curl -C 5" in got.body
    assert go_on(5, b"5678").status == 400
    assert go_on(4, b"456789").status == 201
    assert (root / "a").read_bytes() == b"0123456789"


def test_a_broken_put_of_unknown_length_leaves_nothing(taking: Taking, root: Path) -> None:
    with pytest.raises(Gone):
        ask(taking(), "/a", method="PUT", body=[b"01234"], cut=True)
    assert parts_in(root) == []


def test_digests(taking: Taking, root: Path) -> None:
    files = taking()
    right = base64.b64encode(hashlib.sha256(b"data").digest()).decode()
    wrong = base64.b64encode(hashlib.sha256(b"Data").digest()).decode()
    for name in ("Repr-Digest", "Content-Digest"):
        got = ask(files, "/a", method="PUT", body=[b"data"], headers={name: f"md5=:xx:, sha-256=:{wrong}:"})
        assert got.status == 400
        assert name.encode() in got.body
        assert not (root / "a").exists()
        assert ask(files, f"/{name}", method="PUT", body=[b"data"], headers={name: f"sha-256=:{right}:"}).status == 201
    assert ask(files, "/a", method="PUT", body=[b"data"], headers={"Repr-Digest": "sha-256=x"}).status == 400
    assert parts_in(root) == []


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


def test_a_disk_without_links(taking: Taking, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any, **__: Any) -> None:
        raise PermissionError(1, "no links")

    monkeypatch.setattr(os, "link", none)
    assert ask(taking(), "/a", method="PUT", body=[b"x"]).status == 201
    assert ((root / "a").read_bytes(), parts_in(root)) == (b"x", [])


# --- tus


def test_an_upload_in_pieces(taking: Taking, root: Path) -> None:
    files = taking()
    where = begun(files, "a b.txt", 10, "/sub/")
    assert where.startswith("/sub/a%20b.txt?upload=")
    assert offset_of(files, where) == 0
    got = patch(files, where, 0, b"01", b"23")
    assert (got.status, got.headers["upload-offset"]) == (204, "4")
    assert not (root / "sub" / "a b.txt").exists()
    assert offset_of(taking(), where) == 4
    assert patch(files, where, 4, b"456789").headers["upload-offset"] == "10"
    assert (root / "sub" / "a b.txt").read_bytes() == b"0123456789"
    assert parts_in(root) == []
    assert offset_of(files, where) == 10  # for whom the last answer got lost
    assert patch(files, where, 10).status == 404


def test_an_upload_with_its_beginning(taking: Taking, root: Path) -> None:
    files = taking()
    headers = {**PATCH, **meta("a"), "Upload-Length": "4"}
    got = ask(files, "/", method="POST", headers=headers, body=[b"da"])
    assert (got.status, got.headers["upload-offset"]) == (201, "2")
    assert patch(files, got.headers["location"], 2, b"ta").status == 204
    assert (root / "a").read_bytes() == b"data"
    with pytest.raises(Gone):
        ask(files, "/", method="POST", headers={**headers, **meta("b")}, body=[b"da"], cut=True)
    assert parts_in(root) == []


def test_an_empty_upload(taking: Taking, root: Path) -> None:
    begun(taking(), "a", 0)
    assert (root / "a").read_bytes() == b""


def test_a_broken_piece_is_kept(taking: Taking) -> None:
    files = taking()
    where = begun(files, "a", 10)
    with pytest.raises(Gone):
        patch(files, where, 0, b"0123", cut=True)
    assert offset_of(files, where) == 4


def test_all_of_it_came_but_not_its_end(taking: Taking, root: Path) -> None:
    files = taking()
    where = begun(files, "a", 4)
    with pytest.raises(Gone):
        patch(files, where, 0, b"data", cut=True)
    assert not (root / "a").exists()
    assert offset_of(files, where) == 4
    assert (root / "a").read_bytes() == b"data"


def test_a_broken_piece_with_a_digest_is_not(taking: Taking) -> None:
    files = taking()
    where = begun(files, "a", 10)
    checksum = {"Upload-Checksum": "sha1 " + base64.b64encode(hashlib.sha1(b"01234").digest()).decode()}
    with pytest.raises(Gone):
        patch(files, where, 0, b"0123", cut=True, headers=checksum)
    assert offset_of(files, where) == 0
    assert patch(files, where, 0, b"01235", headers=checksum).status == 460
    assert offset_of(files, where) == 0
    assert patch(files, where, 0, b"01234", headers=checksum).status == 204


def test_the_digest_of_a_file_that_came_in_pieces(taking: Taking, root: Path) -> None:
    files = taking()
    for name, text, status in (("a", b"0123456789", 204), ("b", b"0123456788", 400)):
        where = begun(files, name, 10)
        patch(files, where, 0, b"01234")
        digest = {"Repr-Digest": f"sha-256=:{base64.b64encode(hashlib.sha256(text).digest()).decode()}:"}
        assert patch(files, where, 5, b"56789", headers=digest).status == status
    assert sorted(path.name for path in root.iterdir()) == ["a", "sub"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Upload-Length": "5"}, 400),
        (meta("a"), 400),
        ({**meta("a"), "Upload-Length": "x"}, 400),
        ({**meta("a"), "Upload-Length": "5", "Tus-Resumable": "0.2.2"}, 412),
        ({**meta("../a"), "Upload-Length": "5"}, 400),
        ({**meta("x/a"), "Upload-Length": "5"}, 400),
        ({**meta(".a"), "Upload-Length": "5"}, 403),
        ({"Upload-Metadata": "filename !", "Upload-Length": "5"}, 400),
        ({**meta("a"), "Upload-Length": "101"}, 413),
    ],
)
def test_what_cannot_begin(taking: Taking, root: Path, headers: dict[str, str], status: int) -> None:
    got = ask(taking(max_bytes=100), "/", method="POST", headers={**TUS, **headers})
    assert (got.status, got.headers["tus-resumable"]) == (status, "1.0.0")
    assert parts_in(root) == []


def test_what_cannot_go_on(taking: Taking, root: Path) -> None:
    files = taking()
    where = begun(files, "a", 10)
    assert patch(files, where, 1, b"x").status == 409
    assert patch(files, where, 0, bytes(11)).status == 413
    assert patch(files, where, 0, bytes(11), headers={"Content-Length": "11"}).status == 413
    assert patch(files, where, 0, b"x", headers={"Content-Type": "text/plain"}).status == 415
    assert patch(files, where.replace("-10", "-11"), 0, b"x").status == 404
    assert patch(files, "/a", 0, b"x").status == 404
    assert offset_of(files, where) == 0
    (root / "a").write_text("mine")
    assert patch(files, where, 0, bytes(10)).status == 409
    assert (root / "a").read_text() == "mine"


def test_what_can_be_done(taking: Taking) -> None:
    got = ask(taking(max_bytes=7), "/", method="OPTIONS")
    assert got.headers["tus-version"] == "1.0.0"
    assert got.headers["tus-max-size"] == "7"
    assert "PUT" in got.headers["allow"]
    assert ask(taking(), "/a", method="DELETE").status == 405
    assert ask(taking(), "/a", method="PROPFIND").status == 405


def test_who_comes_again_ends_his_forerunner(taking: Taking, root: Path) -> None:
    files = taking()
    where = begun(files, "a", 4)

    async def main() -> None:
        came, never = asyncio.Event(), asyncio.Event()
        answers: list[Any] = []

        async def receive() -> dict[str, Any]:
            if came.is_set():
                await never.wait()
            came.set()
            return {"type": "http.request", "body": b"da", "more_body": True}

        async def send(event: Any) -> None:
            answers.append(event)

        path, _, query = where.partition("?")
        headers = [(name.lower().encode(), value.encode()) for name, value in PATCH.items()]
        scope = {"type": "http", "method": "PATCH", "path": path, "query_string": query.encode(), "root_path": ""}
        old = asyncio.create_task(files({**scope, "headers": [*headers, (b"upload-offset", b"0")]}, receive, send))
        await came.wait()
        head = await asked(files, where, method="HEAD", headers=TUS)
        assert head.headers["upload-offset"] == "2"
        await old
        assert answers[0]["status"] == 409
        more = {**PATCH, "Upload-Offset": "2"}
        assert (await asked(files, where, method="PATCH", headers=more, body=[b"ta"])).status == 204

    asyncio.run(main())
    assert (root / "a").read_bytes() == b"data"


CHUNKS = st.lists(st.binary(max_size=50), max_size=6)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    whole=st.binary(min_size=1, max_size=200),
    steps=st.lists(st.tuples(st.integers(0, 210), st.integers(0, 120), st.integers(1, 50), st.booleans()), max_size=12),
)
def test_any_order_of_pieces(
    tmp_path_factory: pytest.TempPathFactory, whole: bytes, steps: list[tuple[int, int, int, bool]]
) -> None:
    """The file is right, or not there; what is refused changes nothing."""
    root = tmp_path_factory.mktemp("served")
    with Tree(root) as tree:
        files = Files(tree, changes=Uploads(tree, free_bytes=0))
        where, here = begun(files, "a", len(whole)), 0
        for at, count, piece, cut in [*steps, (-1, len(whole), 7, False)]:
            offset = here if at < 0 else at
            data = whole[offset : offset + count]
            chunks = [data[place : place + piece] for place in range(0, len(data), piece)]
            try:
                status = patch(files, where, offset, *chunks, cut=cut and bool(chunks)).status
            except Gone:
                status = 204
                if offset + len(data) == len(whole):
                    assert not (root / "a").exists() or here == len(whole)
            if here < len(whole):
                assert status == (204 if offset == here else 409)
            here = offset + len(data) if status == 204 else here
            if here < len(whole):
                assert not (root / "a").exists()
                assert offset_of(files, where) == here
        if (root / "a").exists():
            assert (root / "a").read_bytes() == whole
        else:
            assert patch(files, where, here).status == 204
            assert (root / "a").read_bytes() == whole
    assert parts_in(root) == []


@settings(max_examples=40, deadline=None)
@given(chunks=CHUNKS.filter(bool), known=st.booleans())
def test_any_split_of_a_body(tmp_path_factory: pytest.TempPathFactory, chunks: list[bytes], known: bool) -> None:
    root = tmp_path_factory.mktemp("served")
    with Tree(root) as tree:
        files = Files(tree, changes=Uploads(tree, free_bytes=0))
        headers = {"Content-Length": str(len(b"".join(chunks)))} if known else {}
        assert ask(files, "/a", method="PUT", body=chunks, headers=headers).status == 201
    assert (root / "a").read_bytes() == b"".join(chunks)


def test_every_descriptor_is_closed(taking: Taking, no_leaks: None) -> None:
    files = taking(max_bytes=10)
    where = begun(files, "a", 5)
    for offset, data in ((0, b"01"), (1, b"x"), (2, b"234")):
        patch(files, where, offset, data)
    ask(files, "/b", method="PUT", body=[bytes(11)])
    ask(files, "/b", method="PUT", body=[bytes(3)])
    for tree in [files._tree]:
        tree.close()
