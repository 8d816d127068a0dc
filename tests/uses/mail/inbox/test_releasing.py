"""A mail goes on from the inbox, if it may, and only then."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest

from socketkit.uses.mail import Catcher, Failures, Store
from socketkit.uses.mail.inbox import Inbox, releasing
from socketkit.uses.mail.release import Outlet
from tests.calling import Call, called
from tests.conftest import Run
from tests.uses.mail.inbox.test_application import OTHERS, incoming

pytestmark = pytest.mark.slow

JSON = {"content-type": "application/json"}


class Both(NamedTuple):
    """A store with a mail in it and its inbox; `real` is what another server has got."""

    inbox: Inbox
    real: Store
    server: str


@asynccontextmanager
async def both(*rules: str) -> AsyncIterator[Both]:
    async with Store(clock=lambda: 1.0) as store, Store() as real, Catcher(real, failures=Failures(rules, 1)) as server:
        outlet = Outlet([str(server.smtps), str(server.smtp)], ["*@example.org"])
        await store.add(incoming())
        yield Both(Inbox(store, outlet=outlet), real, str(server.smtps))


async def post(inbox: Inbox, body: object, number: int = 1, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    options = {"headers": {**JSON, **(headers or {})}, "body": data}
    answered = await called(inbox, f"/api/mails/{number}/release", "POST", **options)
    return answered.status, json.loads(answered.body)


def test_released(run: Run) -> None:
    async def main() -> None:
        async with both() as there:
            status, told = await post(there.inbox, {})
            assert (status, [each["accepted"] for each in told["deliveries"]]) == (200, [True])
            assert told["deliveries"][0]["recipient"] == "bob@example.org"
            status, told = await post(there.inbox, {"server": there.server, "to": ["eve@example.org"]})
            assert status == 200
            assert [mail.recipients for mail in await there.real.newest()] == [
                ("eve@example.org",),
                ("bob@example.org",),
            ]

    run(main())


def test_what_is_not_on_the_lists_stays(run: Run) -> None:
    async def main() -> None:
        async with both() as there:
            status, told = await post(there.inbox, {"to": ["bob@example.org", "eve@other.example"]})
            assert status == 403
            assert "eve@other.example" in told["error"]
            status, told = await post(there.inbox, {"server": "tls://smtp.other.example:465"})
            assert status == 403
            assert "is none of" in told["error"]
            assert await there.real.newest() == []
        async with Store(clock=lambda: 1.0) as store:
            await store.add(incoming())
            status, told = await post(Inbox(store), {})
            assert status == 403
            assert "--release" in told["error"]

    run(main())


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b"[" * 9_000, {"to": []}, {"to": "bob@example.org"}, {"to": [1]}, {"server": 1}, {"x": 1}],
)
def test_odd_wishes(run: Run, body: object) -> None:
    async def main() -> None:
        async with both() as there:
            assert (await post(there.inbox, body))[0] == 400
            assert await there.real.newest() == []

    run(main())


def test_what_cannot_be_sent(run: Run) -> None:
    async def main() -> None:
        async with both("rcpt=550 no such user") as there:
            status, told = await post(there.inbox, {})
            assert (status, told["deliveries"][0]["code"]) == (502, 550)
            assert (await post(there.inbox, {}, 9))[0] == 404
            assert (await post(there.inbox, {"to": ["no address@example.org"]}))[0] == 400

    run(main())


def test_a_server_that_is_not_there(run: Run) -> None:
    async def main() -> None:
        async with Store(clock=lambda: 1.0) as store:
            await store.add(incoming())
            async with Catcher(store) as server:
                outlet = Outlet([str(server.smtps)], ["*"])
            status, told = await post(Inbox(store, outlet=outlet), {})
            assert status == 502
            assert "connect" in told["error"].lower()

    run(main())


@pytest.mark.parametrize("headers", OTHERS, ids=str)
def test_pages_of_others_send_nothing_on(run: Run, headers: dict[str, str]) -> None:
    async def main() -> None:
        async with both() as there:
            assert (await post(there.inbox, {}, headers=headers))[0] == 403
            assert await there.real.newest() == []

    run(main())


def test_a_form_of_another_site_is_no_wish(run: Run) -> None:
    async def main() -> None:
        async with both() as there:
            assert (await post(there.inbox, {}, headers={"content-type": "text/plain"}))[0] == 415
            for method in ("GET", "PUT", "DELETE"):
                answered = await called(there.inbox, "/api/mails/1/release", method)
                assert (answered.status, answered.headers["allow"]) == (405, "POST")
            assert await there.real.newest() == []

    run(main())


def test_few_at_a_time(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(releasing, "MOST_UNDER_WAY", 1)

    async def main() -> None:
        async with both("mail=delay:3s@1x") as there:
            slow = asyncio.create_task(post(there.inbox, {}))
            while not there.inbox._releasing._under_way:
                await asyncio.sleep(0.01)
            assert (await post(there.inbox, {}))[0] == 503
            assert (await slow)[0] == 200
            assert (await post(there.inbox, {}))[0] == 200

    run(main())


def test_what_the_page_is_offered(run: Run) -> None:
    async def main() -> None:
        async with both() as there:
            call = Call(there.inbox, "/api/events")
            running = asyncio.ensure_future(call.run())
            (hello,) = await call.until(lambda events: len(events) >= 1)
            assert hello["release"]["to"] == ["*@example.org"]
            assert hello["release"]["servers"][0] == there.server
            there.inbox.end()
            await running

    run(main())
