"""A catcher and its inbox as one hosted service."""

from __future__ import annotations

import httpx
import pytest

from socketkit import ConnectError, ListenError, connect
from socketkit import serve as serve_stream
from socketkit.hosting import Happening, Wanted, host, place
from socketkit.http import httpx_transport
from socketkit.uses.mail.inbox import Inbox
from socketkit.uses.mail.service import opened, serve
from socketkit.uses.mail.store import Store
from tests.conftest import Run


def test_the_link_is_the_inbox_s(run: Run, no_leaks: None) -> None:
    async def main() -> None:
        told: list[Happening] = []
        async with Store() as store, serve(store, pop3=None, tell=told.append) as hosted:
            assert list(hosted.addresses) == ["smtp", "smtps", "imap", "inbox"]
            assert hosted.addresses["inbox"] == hosted.link.url
            smtp = hosted.addresses["smtp"]
            async with connect(smtp) as stream:
                await stream.receive_until(b"\r\n")
                (row,) = hosted.peers.rows()
                assert row.doing == "smtp, plain text, 0 mails"
            async with httpx.AsyncClient(transport=httpx_transport()) as client:
                answered = await client.get(f"{hosted.link.url}api/mails")
                assert answered.json()["count"] == 0
                assert (await client.get(f"{hosted.link.base}/api/mails")).status_code == 403
            assert hosted.stats["accepted"] == 2 or hosted.stats["accepted"] == 3
        with pytest.raises(ConnectError):
            await connect(smtp)
        assert {happening.row.doing.partition(",")[0] for happening in told if happening.what == "left"} >= {"smtp"}

    run(main())


def test_a_token_even_if_nobody_wants_one(run: Run) -> None:
    async def main() -> None:
        async with Store() as store, serve(store, Wanted(public=True), seconds=60) as hosted:
            assert "/~" in hosted.link.url

    run(main())


def test_the_page_says_where_mail_is_taken(run: Run) -> None:
    async def main() -> None:
        async with Store() as store:
            inbox, where = Inbox(store), place(Wanted())
            async with host(opened(store, where, inbox, imap=None, pop3=None), where) as hosted:
                assert set(inbox.addresses) == {"smtp", "smtps"}
                assert "pin" not in inbox.addresses["smtps"]
                assert hosted.local.port

    run(main())


def test_a_usual_port_that_is_taken(run: Run) -> None:
    async def main() -> None:
        async with Store() as store, serve_stream("tcp4://localhost:0", lambda stream: stream.receive()) as taken:
            where = place(Wanted(port=taken.local.port or 0))
            async with host(opened(store, where, Inbox(store), usual_port=taken.local.port), where) as hosted:
                assert hosted.local.port != taken.local.port
            with pytest.raises(ListenError):
                async with host(opened(store, where, Inbox(store)), where):
                    pass

    run(main())


def test_without_an_inbox(run: Run) -> None:
    async def main() -> None:
        async with Store() as store:
            where = place(Wanted(), web=False)
            async with host(opened(store, where, None), where) as hosted:
                assert "inbox" not in hosted.addresses
                assert hosted.link.url == hosted.addresses["smtp"]

    run(main())
