from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socketkit.http import Access, serve
from socketkit.uses.web.files import Files
from socketkit.uses.web.links import Links
from socketkit.uses.web.tree import Tree
from tests.uses.web.asking import Answer, ask

DATA = os.urandom(1000)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def links(tmp_path: Path, clock: Clock) -> Iterator[Links]:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a <b>.txt").write_bytes(DATA)
    with Tree(tmp_path) as tree:
        yield Links(tree, Files(tree), clock=clock)


FILE = "/sub/a <b>.txt"


def fetch(links: Links, where: str, span: str = "", host: str = "10.0.0.1", **request: Any) -> Answer:
    headers = {**({"Range": f"bytes={span}"} if span else {}), **request.pop("headers", {})}
    return ask(links, where, client=(host, 1), headers=headers, **request)


def test_a_link_is_good_once(links: Links) -> None:
    where = links.make(FILE)
    assert where.startswith("/=")
    assert where.endswith("/a%20%3Cb%3E.txt")
    got = fetch(links, where)
    assert (got.status, got.body) == (200, DATA)
    assert got.headers["content-disposition"] == "attachment; filename*=UTF-8''a%20%3Cb%3E.txt"
    assert got.headers["cache-control"] == "no-store"
    again = fetch(links, where)
    assert again.status == 404
    assert again[::2] == fetch(links, "/=" + "x" * 26 + "/a")[::2]  # nothing tells what was from what never was
    assert links.left(where) == 0


def test_other_paths_go_on(links: Links) -> None:
    assert ask(links, "/sub/a%20%3Cb%3E.txt").body == DATA


def test_several_uses(links: Links) -> None:
    where = links.make(FILE, uses=2)
    assert [fetch(links, where).status for _ in range(3)] == [200, 200, 404]


def test_a_link_ends(links: Links, clock: Clock) -> None:
    where = links.make(FILE, uses=5, seconds=60)
    clock.now = 59.9
    assert fetch(links, where).status == 200
    assert links.left(where) == 4
    clock.now = 60
    assert fetch(links, where).status == 404


def test_a_link_is_revoked(links: Links) -> None:
    where = links.make(FILE)
    assert links.revoke(f"https://host:1{where}")
    assert not links.revoke(where)
    assert fetch(links, where).status == 404


def test_looking_is_no_use(links: Links) -> None:
    where = links.make(FILE)
    assert fetch(links, where, method="HEAD").headers["content-length"] == "1000"
    assert fetch(links, where, method="POST").status == 405
    page = fetch(links, where, headers={"Accept": "text/html"})
    assert b"a &lt;b&gt;.txt" in page.body
    assert fetch(links, where, headers={"Sec-Fetch-Mode": "navigate"}).body == page.body
    assert fetch(links, f"{where}?get=1", headers={"Accept": "text/html"}).body == DATA


def test_a_broken_download_is_gone_on_with(links: Links, clock: Clock) -> None:
    where = links.make(FILE)
    assert fetch(links, where, "0-399").body == DATA[:400]
    assert links.left(where) == 1
    assert fetch(links, where, host="10.0.0.2").status == 503  # it is the other one's
    assert fetch(links, where, "400-").body == DATA[400:]
    assert links.left(where) == 0


def test_who_does_not_come_back_leaves_it_to_others(links: Links, clock: Clock) -> None:
    where = links.make(FILE)
    fetch(links, where, "0-399")
    clock.now = 601
    assert fetch(links, where, host="10.0.0.2").body == DATA


def test_all_but_a_byte_again_and_again(links: Links, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socketkit.uses.web.links.TAIL_BYTES", 10)
    where = links.make(FILE)
    got = [fetch(links, where, "0-998").status for _ in range(4)]
    assert got == [206, 206, 206, 404]


def test_what_was_lost_of_the_end(links: Links, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socketkit.uses.web.links.TAIL_BYTES", 100)
    where = links.make(FILE, uses=2)
    assert fetch(links, where).status == 200
    assert fetch(links, where, "950-").body == DATA[950:]
    assert links.left(where) == 1
    assert fetch(links, where, "0-").status == 206
    assert links.left(where) == 0


def test_several_parts_are_the_whole(links: Links) -> None:
    assert fetch(links, links.make(FILE), "0-1,5-6").body == DATA


def test_two_at_once_behind_one_address(links: Links) -> None:
    where = links.make(FILE)
    inner: list[int] = []

    async def main() -> None:
        began, go = asyncio.Event(), asyncio.Event()
        events: list[Any] = []

        async def send(event: Any) -> None:
            events.append(event)
            began.set()
            await go.wait()

        async def second(event: Any) -> None:
            inner.append(event.get("status", 0))

        def scope() -> dict[str, Any]:
            told = {"type": "http", "method": "GET", "path": where, "query_string": b"", "headers": []}
            return {**told, "client": ("10.0.0.1", 1)}

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        first = asyncio.create_task(links(scope(), receive, send))
        await began.wait()
        await links(scope(), receive, second)
        go.set()
        await first
        assert events[0]["status"] == 200

    asyncio.run(main())
    assert inner[0] == 503


def test_no_log_has_it(tmp_path: Path, program: Any) -> None:
    (tmp_path / "a").write_bytes(DATA)
    told: list[Access] = []

    async def main() -> None:
        with Tree(tmp_path) as tree:
            links = Links(tree, Files(tree))
            where = links.make("/a")
            async with serve("tcp://127.0.0.1:0", links, access=told.append) as service:
                url = f"http://127.0.0.1:{service.local.port}{where}"
                words = [program("curl"), "-sS", "--fail", url]
                done = await asyncio.to_thread(subprocess.run, words, capture_output=True, timeout=30)
                assert done.stdout == DATA
                gone = await asyncio.to_thread(subprocess.run, words, capture_output=True, timeout=30)
                assert gone.returncode == 22
        assert [access.target for access in told] == ["/=.../a", "/=.../a"]

    asyncio.run(main())


def test_what_no_link_can_give(links: Links, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        links.make("/none")
    with pytest.raises(FileNotFoundError):
        links.make("/../etc/passwd")
    with pytest.raises(IsADirectoryError):
        links.make("/sub")
    for options in ({"uses": 0}, {"seconds": 0}):
        with pytest.raises(ValueError):
            links.make(FILE, **options)  # type: ignore[arg-type]
    where = links.make(FILE)
    (tmp_path / "sub" / "a <b>.txt").unlink()
    assert fetch(links, where).status == 404


def test_links_are_bounded(links: Links, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    monkeypatch.setattr("socketkit.uses.web.links.MOST_LINKS", 2)
    links.make(FILE, seconds=5)
    links.make(FILE, seconds=50)
    with pytest.raises(RuntimeError):
        links.make(FILE)
    clock.now = 6
    links.make(FILE)


def test_an_empty_file(links: Links, tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    where = links.make("/empty")
    assert fetch(links, where)[::2] == (200, b"")
    assert fetch(links, where).status == 404


@given(st.text("=/.~abckx%", max_size=40))
def test_no_other_link_is_good(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.mktemp("served")
    (folder / "a.txt").write_bytes(DATA)
    with Tree(folder) as tree:
        links = Links(tree, Files(tree))
        where = links.make("/a.txt")
        assert fetch(links, f"/={text}").status == 404
        assert (links.left(text), links.revoke(f"/={text}")) == (0, False)
        assert links.left(where) == 1
        assert fetch(links, where).body == DATA
