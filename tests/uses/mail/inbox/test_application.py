"""The API, called as a server calls it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socketkit.uses.mail import Incoming, Store
from socketkit.uses.mail.inbox import Inbox, application
from socketkit.uses.mail.inbox.application import MOST_OPEN
from tests.calling import Answered, Call, called, ended
from tests.conftest import Run
from tests.uses.mail.boxes import whole


def incoming(subject: str = "hello", raw: bytes | None = None) -> Incoming:
    raw = raw if raw is not None else f"Subject: {subject}\r\n\r\ntext\r\n".encode()
    return Incoming(1.0, "ann@example.org", ("bob@example.org",), raw, {"peer": "tcp://127.0.0.1:1", "tls": None})


async def ask(inbox: Inbox, target: str, method: str = "GET", **options: Any) -> tuple[int, Any]:
    answered = await called(inbox, target, method, **options)
    return answered.status, json.loads(answered.body) if answered.body else None


def ids(told: tuple[int, Any]) -> list[int]:
    assert told[0] == 200
    return [mail["id"] for mail in told[1]["mails"]]


def test_list_in_pages_and_search(run: Run) -> None:
    async def main() -> None:
        async with Store(clock=lambda: 1.0) as store:
            inbox = Inbox(store)
            for number in range(1, 8):
                await store.add(incoming(f"number{number} {'odd' if number % 2 else 'even'}"))
            first = await ask(inbox, "/api/mails?limit=3")
            assert ids(first) == [7, 6, 5]
            assert (first[1]["next"], first[1]["count"]) == (5, 7)
            assert ids(await ask(inbox, "/api/mails?limit=3&before=5")) == [4, 3, 2]
            last = await ask(inbox, "/api/mails?limit=3&before=2")
            assert (ids(last), last[1]["next"]) == ([1], None)
            assert (await ask(inbox, "/api/mails?limit=7"))[1]["next"] is None
            found = await ask(inbox, "/api/mails?search=subject:odd+is:unseen&limit=2")
            assert (ids(found), found[1]["next"]) == ([7, 5], 5)
            assert ids(await ask(inbox, "/api/mails?search=subject:odd&limit=2&before=5")) == [3, 1]
            status, told = await ask(inbox, "/api/mails?search=is:red")
            assert status == 400
            assert "there is no is:red" in told["error"]

    run(main())


@pytest.mark.parametrize("query", ["limit=x", "before=-1", "limit=" + "9" * 30, "search=" + "x" * 2_000, "a=1&" * 50])
def test_odd_queries(run: Run, query: str) -> None:
    async def main() -> None:
        async with Store(clock=lambda: 1.0) as store:
            assert (await ask(Inbox(store), f"/api/mails?{query}"))[0] == 400

    run(main())


def test_one_mail(run: Run) -> None:
    async def main() -> None:
        async with Store(clock=lambda: 1.0) as store:
            inbox = Inbox(store)
            await store.add(incoming(raw=whole()))
            status, told = await ask(inbox, "/api/mails/1")
            assert status == 200
            assert (told["subject"], told["text"], told["seen"]) == ("Größe", "hello world\r\n.dot\r\n", False)
            assert told["stopped"] == {"remote": 0, "active": 0}
            raw = await called(inbox, "/api/mails/1/raw")
            assert raw.body == whole()
            assert raw.headers["content-type"] == "message/rfc822"
            assert "filename*=UTF-8''Gr%C3%B6%C3%9Fe.eml" in raw.headers["content-disposition"]
            number = next(part["number"] for part in told["parts"] if part["name"])
            part = await called(inbox, f"/api/mails/1/parts/{number}")
            assert (part.body, part.headers["content-type"]) == (b"PNG", "image/png")
            html = await called(inbox, "/api/mails/1/html")
            assert html.headers["content-security-policy"].startswith("sandbox")
            assert html.headers["x-frame-options"] == "SAMEORIGIN"
            for path in ("2", "2/raw", "1/parts/9", "1/other", "99999999999999999999", "x", "2/html"):
                assert (await called(inbox, f"/api/mails/{path}")).status == 404
            head = await called(inbox, "/api/mails/1/raw", "HEAD")
            assert (head.body, head.headers["content-length"]) == (b"", str(len(whole())))

    run(main())


def test_changes(run: Run) -> None:
    async def main() -> None:
        async with Store(clock=lambda: 1.0) as store:
            inbox = Inbox(store)
            for _ in range(3):
                await store.add(incoming())
            status, told = await ask(inbox, "/api/mails/1", "PATCH", body=b'{"seen": true}')
            assert (status, told["seen"]) == (200, True)
            assert (await ask(inbox, "/api/mails/1", "PATCH", body=b'{"seen": false}'))[1]["seen"] is False
            for body in (b"", b"[]", b'{"seen": 1}', b'{"seen": true, "x": 1}', b"{" * 900, b" " * 2_000):
                assert (await ask(inbox, "/api/mails/1", "PATCH", body=body))[0] == 400
            assert (await ask(inbox, "/api/mails/9", "PATCH", body=b'{"seen": true}'))[0] == 404
            assert await ask(inbox, "/api/mails/2", "DELETE") == (204, None)
            assert (await ask(inbox, "/api/mails/2", "DELETE"))[0] == 404
            assert await ask(inbox, "/api/mails", "DELETE") == (200, {"deleted": 2})
            assert store.count == 0
            answered = await called(inbox, "/api/mails", "POST")
            assert (answered.status, answered.headers["allow"]) == (405, "GET, DELETE")

    run(main())


OTHERS = [
    {"origin": "http://evil.example"},
    {"origin": "null"},
    {"origin": "http://127.0.0.1:9999"},
    {"origin": "https://127.0.0.1:7000"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},  # another port of this host: browsers send it our cookie
]


@pytest.mark.parametrize("headers", OTHERS, ids=str)
def test_pages_of_others_neither_change_nor_read(run: Run, headers: dict[str, str]) -> None:
    async def main() -> None:
        async with Store(clock=lambda: 1.0) as store:
            inbox = Inbox(store)
            await store.add(incoming())
            for method, path in (("DELETE", ""), ("DELETE", "/1"), ("PATCH", "/1"), ("GET", ""), ("GET", "/1/raw")):
                answered = await called(inbox, f"/api/mails{path}", method, headers=headers, body=b'{"seen": true}')
                assert answered.status == 403
            assert (await called(inbox, "/api/events", headers=headers)).status == 403
            kept = await store.get(1)
            assert kept is not None
            assert not kept.seen

    run(main())


def test_the_page_itself_and_programs_may(run: Run) -> None:
    async def main() -> None:
        async with Store(clock=lambda: 1.0) as store:
            inbox = Inbox(store)
            own = {"origin": "http://127.0.0.1:7000", "sec-fetch-site": "same-origin"}
            assert (await ask(inbox, "/api/mails", "DELETE", headers=own))[0] == 200
            assert (await ask(inbox, "/api/mails", "DELETE"))[0] == 200

    run(main())


def test_files_of_the_page(run: Run) -> None:
    async def main() -> None:
        async with Store(clock=lambda: 1.0) as store:
            inbox = Inbox(store)
            page = await called(inbox, "/", headers={"sec-fetch-site": "cross-site"})  # a link that somebody follows
            assert page.headers["content-type"] == "text/html; charset=utf-8"
            assert "script-src 'self'" in page.headers["content-security-policy"]
            assert "frame-src 'self'" in page.headers["content-security-policy"]
            assert (await called(inbox, "/page.css")).status == (await called(inbox, "/colours.css")).status == 200
            assert (await called(inbox, "/page.js", "POST")).status == 405
            assert (await called(inbox, "/application.py")).status == 404

    run(main())


async def told(call: Call, count: int) -> list[Any]:
    return await call.until(lambda events: len(events) >= count)


def test_events(run: Run) -> None:
    async def main() -> None:
        async with Store(clock=lambda: 1.0) as store:
            inbox = Inbox(store, addresses={"smtp": "tcp://localhost:1025"})
            call = Call(inbox, "/api/events")
            running = asyncio.ensure_future(call.run())
            (hello,) = await told(call, 1)
            assert hello.pop("addresses") == {"smtp": "tcp://localhost:1025"}
            assert hello == {"kind": "hello", "release": None, "count": 0, "bytes": 0}
            await store.add(incoming("new"))
            await store.mark(1)
            await store.delete([1])
            events = await told(call, 4)
            assert [event["kind"] for event in events[1:]] == ["added", "marked", "deleted"]
            assert events[1]["mails"][0]["subject"] == "new"
            assert events[2]["mails"][0]["seen"]
            assert (events[3]["ids"], events[3]["count"]) == ([1], 0)
            inbox.end()
            await running

    run(main())


def test_events_end_with_the_page_and_are_bounded(run: Run) -> None:
    async def main() -> None:
        async with Store(clock=lambda: 1.0) as store:
            inbox = Inbox(store)
            calls = [Call(inbox, "/api/events") for _ in range(MOST_OPEN)]
            running: list[asyncio.Task[Answered]] = [asyncio.create_task(call.run()) for call in calls]
            for call in calls:
                await told(call, 1)
            assert (await called(inbox, "/api/events")).status == 503
            await ended(calls[0], running[0])
            again = Call(inbox, "/api/events")
            running.append(asyncio.create_task(again.run()))
            await told(again, 1)
            for call, task in zip([*calls[1:], again], running[1:], strict=True):
                await ended(call, task)
            assert not store._subscribers

    run(main())


def test_a_page_that_is_told_nothing_gets_a_sign(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application, "SIGN_SECONDS", 0.01)

    async def main() -> None:
        async with Store(clock=lambda: 1.0) as store:
            call = Call(Inbox(store), "/api/events")
            running = asyncio.ensure_future(call.run())
            while not any(message.get("body") == b":\n\n" for message in call.messages):
                call.news.clear()
                await call.news.wait()
            await ended(call, running)

    run(main())


def test_other_kinds_of_scope(run: Run) -> None:
    async def main() -> None:
        async with Store(clock=lambda: 1.0) as store:
            sent: list[Any] = []

            async def send(message: Any) -> None:
                sent.append(message)

            async def receive() -> Any:
                return {"type": "lifespan.shutdown"}

            await Inbox(store)({"type": "websocket"}, receive, send)
            await Inbox(store)({"type": "lifespan"}, receive, send)
            assert [message["type"] for message in sent] == ["websocket.close", "lifespan.shutdown.complete"]

    run(main())


PATHS = st.lists(st.sampled_from(["/1", "/0", "/raw", "/html", "/parts", "/999999999999999", "/", "/x"]), max_size=4)
WORDS = ["limit=", "before=", "search=", "pictures=yes", "&", "0", "-1", "is:", '"', "%00", "x"]
FIELDS = st.lists(st.sampled_from(WORDS))
BODIES = st.one_of(st.binary(max_size=30), st.sampled_from([b'{"seen": true}', b'{"seen": 1}', b"[" * 900, b'"seen"']))


@given(PATHS, FIELDS, st.sampled_from(["GET", "HEAD", "PATCH", "POST"]), BODIES)
def test_whatever_is_asked_is_answered(path: list[str], query: list[str], method: str, body: bytes) -> None:
    async def main() -> None:
        async with Store(clock=lambda: 1.0) as store:
            await store.add(incoming(raw=whole()))
            target = f"/api/mails{''.join(path)}?{''.join(query)}"
            answered = await called(Inbox(store), target, method, body=body)
            assert answered.status in (200, 400, 404, 405)
            assert store.count == 1

    asyncio.run(main())
