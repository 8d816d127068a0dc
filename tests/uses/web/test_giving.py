from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from socketkit.uses.web.files import Files
from socketkit.uses.web.giving import Once
from socketkit.uses.web.pieces import MOST_PIECES
from socketkit.uses.web.tree import Tree
from tests.uses.web.asking import Answer, ask

SIZE = 1_000_000


class Given:
    def __init__(self, application: Any) -> None:
        self.times = 0
        self.app = Once(application, SIZE, self._gone)

    def _gone(self) -> None:
        self.times += 1


@pytest.fixture
def given(tmp_path: Path) -> Iterator[Given]:
    (tmp_path / "a.bin").write_bytes(bytes(SIZE))
    with Tree(tmp_path / "a.bin") as tree:
        yield Given(Files(tree))


def get(given: Given, part: str | None = None, host: str = "192.0.2.1", method: str = "GET") -> Answer:
    return ask(given.app, "/a.bin", headers={"Range": part} if part else {}, method=method, client=(host, 1))


def test_whoever_gets_all_is_the_last(given: Given) -> None:
    assert get(given, method="HEAD").status == 200
    assert (get(given).status, given.times) == (200, 1)
    assert (get(given).status, given.times) == (410, 1)


def test_parts_come_to_the_whole(given: Given) -> None:
    assert get(given, "bytes=-100").status == 206
    assert get(given, "bytes=0-499999").status == 206
    assert get(given, "bytes=500000-999899", host="192.0.2.9").status == 206
    assert given.times == 0  # nobody has all of it
    assert get(given, "bytes=500000-999899").status == 206
    assert given.times == 1


def test_what_is_not_there_counts_for_nothing(given: Given) -> None:
    assert ask(given.app, "/b", client=("192.0.2.1", 1)).status == 404
    assert get(given, f"bytes={SIZE}-").status == 416
    assert given.times == 0


def test_a_download_that_broke_does_not_count_as_whole_and_others_wait(given: Given) -> None:
    async def main() -> None:
        went, go_on = asyncio.Event(), asyncio.Event()
        statuses = []

        async def stalled(event: Any) -> None:
            if event["type"] == "http.response.body":
                went.set()
                await go_on.wait()
                raise ConnectionResetError

        async def noted(event: Any) -> None:
            if event["type"] == "http.response.start":
                statuses.append(event["status"])

        scope = {"type": "http", "method": "GET", "path": "/a.bin", "headers": [], "query_string": b"", "root_path": ""}
        first = asyncio.create_task(given.app({**scope, "client": ("192.0.2.1", 1)}, None, stalled))  # type: ignore[arg-type]
        await went.wait()
        await given.app({**scope, "client": ("192.0.2.2", 1)}, None, noted)  # type: ignore[arg-type]
        go_on.set()
        await asyncio.wait([first])
        assert isinstance(first.exception(), ConnectionResetError)
        assert statuses == [503]
        await given.app({**scope, "client": ("192.0.2.2", 1)}, None, noted)  # type: ignore[arg-type]
        assert statuses == [503, 200]

    asyncio.run(main())
    assert given.times == 1


def test_who_goes_on_where_it_broke_has_what_is_before(given: Given) -> None:
    """The kernel sent it: how much that was is not known here."""

    async def broken(event: Any) -> None:
        if event["type"] == "http.response.zerocopysend":
            raise ConnectionResetError

    scope = {"type": "http", "method": "GET", "path": "/a.bin", "headers": [], "query_string": b"", "root_path": ""}
    offered = {**scope, "client": ("192.0.2.1", 1), "extensions": {"http.response.zerocopysend": {}}}
    for _ in range(MOST_PIECES + 2):  # however often
        with pytest.raises(ConnectionResetError):
            asyncio.run(given.app(offered, None, broken))  # type: ignore[arg-type]
    assert (get(given, "bytes=400000-", host="192.0.2.7").status, given.times) == (206, 0)
    assert (get(given, "bytes=400000-").status, given.times) == (206, 1)
