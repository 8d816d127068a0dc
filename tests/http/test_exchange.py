"""Requests as they are read, answers as they are sent."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from socketkit.http.exchange import Answer, Request, accompany, answer, body_of, files_of


def request(*headers: tuple[str, str], query: str = "") -> Request:
    encoded = [(name.encode(), value.encode()) for name, value in headers]
    return Request.of({"method": "GET", "path": "/", "query_string": query.encode(), "headers": encoded})


def test_a_header_that_comes_twice_is_none() -> None:
    assert request(("Host", "localhost")).headers == {"host": "localhost"}
    assert request(("host", "localhost"), ("Host", "evil.example"), ("accept", "*")).headers == {"accept": "*"}


def test_query() -> None:
    asked = request(query="filter=port%3D443&view=by+use")
    assert asked.query == {"filter": "port=443", "view": "by use"}
    with pytest.raises(ValueError, match="fields"):
        request(query="&".join(f"a{number}=1" for number in range(40)))


def test_every_answer_forbids_what_is_not_ours() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(answer(send, Answer(200, "text/css", b"a{}")))
    headers = dict(sent[0]["headers"])
    assert b"default-src 'none'" in headers[b"content-security-policy"]
    assert b"unsafe" not in headers[b"content-security-policy"]
    assert headers[b"content-length"] == b"3"
    assert headers[b"cache-control"] == b"no-store"
    assert headers[b"referrer-policy"] == b"no-referrer"
    assert sent[1]["body"] == b"a{}"


def test_a_header_of_an_answer_stands_in_place_of_the_usual_one() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(answer(send, Answer(200, headers=(("x-frame-options", "SAMEORIGIN"),))))
    assert [value for name, value in sent[0]["headers"] if name == b"x-frame-options"] == [b"SAMEORIGIN"]


def test_files_of_a_page(tmp_path: Path) -> None:
    (tmp_path / "page.css").write_text("a{}")
    (tmp_path / "code.py").write_text("secret = 1")
    files = files_of(tmp_path)
    assert files.pop("colours.css").kind.startswith("text/css")
    assert files == {"page.css": Answer(200, "text/css; charset=utf-8", b"a{}")}


def test_a_lifespan_of_nothing() -> None:
    events = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    said: list[str] = []

    async def receive() -> Any:
        return events.pop(0)

    async def send(message: Any) -> None:
        said.append(message["type"])

    asyncio.run(accompany(receive, send))
    assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_a_body_is_bounded() -> None:
    def given(*messages: Any) -> bytes | None:
        waiting = list(messages)

        async def receive() -> Any:
            return waiting.pop(0)

        return asyncio.run(body_of(receive, max_bytes=4))

    def part(body: bytes, *, more: bool) -> Any:
        return {"type": "http.request", "body": body, "more_body": more}

    assert given(part(b"ab", more=True), part(b"cd", more=False)) == b"abcd"
    assert given(part(b"ab", more=True), part(b"cde", more=True)) is None
    assert given({"type": "http.disconnect"}) is None
