from __future__ import annotations

import asyncio
import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from socketkit.uses.web.files import Files
from socketkit.uses.web.tree import Tree
from socketkit.uses.web.uploads import Uploads
from tests.uses.web.asking import Gone, ask, asked
from tests.uses.web.uploads.calls import PATCH, TUS, begun, meta, offset_of, parts_in, patch
from tests.uses.web.uploads.conftest import Taking


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
