from __future__ import annotations

import asyncio
import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from socketkit.uses.web.files import Files
from socketkit.uses.web.tree import Tree
from socketkit.uses.web.uploads import Uploads
from tests.uses.web.asking import Answer, Gone, ask, asked
from tests.uses.web.uploads.calls import TUS, meta, parts_in
from tests.uses.web.uploads.conftest import Taking


def test_put(taking: Taking, root: Path) -> None:
    files = taking()
    got = ask(files, "/sub/a%20b.txt", method="PUT", body=[b"one", b"two"], headers={"Content-Length": "6"})
    assert (got.status, got.headers["location"]) == (201, "/sub/a%20b.txt")
    assert (root / "sub" / "a b.txt").read_bytes() == b"onetwo"
    assert parts_in(root) == []


def test_put_of_unknown_length(taking: Taking, root: Path) -> None:
    assert ask(taking(), "/a", method="PUT", body=[b"one", b"two"]).status == 201
    assert (root / "a").read_bytes() == b"onetwo"


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


CHUNKS = st.lists(st.binary(max_size=50), max_size=6)


@settings(max_examples=40, deadline=None)
@given(chunks=CHUNKS.filter(bool), known=st.booleans())
def test_any_split_of_a_body(tmp_path_factory: pytest.TempPathFactory, chunks: list[bytes], known: bool) -> None:
    root = tmp_path_factory.mktemp("served")
    with Tree(root) as tree:
        files = Files(tree, changes=Uploads(tree, free_bytes=0))
        headers = {"Content-Length": str(len(b"".join(chunks)))} if known else {}
        assert ask(files, "/a", method="PUT", body=chunks, headers=headers).status == 201
    assert (root / "a").read_bytes() == b"".join(chunks)
