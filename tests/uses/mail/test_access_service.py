"""IMAP and POP3 over real streams, with the standard library's clients."""

from __future__ import annotations

import asyncio
import imaplib
import poplib
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from socketkit import connect
from socketkit.uses.mail.database import Incoming
from socketkit.uses.mail.serving import Catcher
from socketkit.uses.mail.store import Store
from tests.conftest import Run
from tests.uses.mail.boxes import SECOND, whole

pytestmark = pytest.mark.slow


@asynccontextmanager
async def filled() -> AsyncIterator[tuple[Store, Catcher]]:
    async with Store() as store, Catcher(store) as catcher:
        for raw in (whole(), SECOND):
            await store.add(Incoming(time.time(), "ann@example.org", ("bob@example.org",), raw, {}))
        yield store, catcher


def port(endpoint: object) -> int:
    found = getattr(endpoint, "port", None)
    assert isinstance(found, int)
    return found


@pytest.mark.parametrize("tls", [False, True])
def test_imaplib(run: Run, tls: bool) -> None:
    async def main() -> None:
        async with filled() as (store, catcher):
            context = ssl.create_default_context(cadata=catcher.identity.certificate)
            where = port(catcher.imap)

            def client() -> None:
                with imaplib.IMAP4("localhost", where, timeout=20) as imap:
                    if tls:
                        imap.starttls(context)
                    imap.login("ann", 'pass "word')
                    assert imap.select("INBOX") == ("OK", [b"2"])
                    assert imap.search(None, "SUBJECT", "two") == ("OK", [b"2"])
                    _, found = imap.fetch("2", "(RFC822)")
                    assert isinstance(found[0], tuple)
                    assert found[0][1] == SECOND
                    imap.store("1", "+FLAGS", "\\Deleted")
                    assert imap.expunge() == ("OK", [b"1"])

            await asyncio.to_thread(client)
            assert [mail.id for mail in await store.newest()] == [2]
            while not catcher.clients:
                await asyncio.sleep(0.01)
            seen = catcher.clients[0]
            assert (seen.protocol, seen.user, seen.password_in_clear) == ("imap", "ann", not tls)

    run(main())


def test_poplib(run: Run) -> None:
    async def main() -> None:
        async with filled() as (store, catcher):
            context = ssl.create_default_context(cadata=catcher.identity.certificate)
            where = port(catcher.pop3)

            def client() -> None:
                pop = poplib.POP3("localhost", where, timeout=20)
                pop.stls(context)
                pop.user("ann")
                pop.pass_("secret")
                assert pop.stat() == (2, len(whole()) + len(SECOND))
                assert b"\r\n".join(pop.retr(2)[1]) + b"\r\n" == SECOND
                pop.dele(1)
                pop.quit()

            await asyncio.to_thread(client)
            assert [mail.id for mail in await store.newest()] == [2]

    run(main())


def test_idle_is_told_of_new_mail(run: Run) -> None:
    async def main() -> None:
        async with filled() as (store, catcher):
            assert catcher.imap is not None
            async with connect(catcher.imap) as stream:
                await stream.send(b"a LOGIN ann x\r\nb SELECT INBOX\r\nc IDLE\r\n")
                await stream.receive_until(b"+ idling\r\n")
                await store.add(Incoming(time.time(), "ann@example.org", ("bob@example.org",), SECOND, {}))
                assert await stream.receive_until(b"\r\n") == b"* 3 EXISTS\r\n"
                await store.delete([1])
                assert await stream.receive_until(b"\r\n") == b"* 1 EXPUNGE\r\n"
                await stream.send(b"DONE\r\nd LOGOUT\r\n")
                assert (await stream.receive_until(b"d OK done\r\n")).startswith(b"c OK done\r\n")

    run(main())


def test_much_is_fetched_by_who_reads_slowly(run: Run) -> None:
    async def main() -> None:
        async with filled() as (store, catcher):
            large = b"Subject: large\r\n\r\n" + b"x" * 200_000 + b"\r\n"
            for _ in range(20):
                await store.add(Incoming(time.time(), "ann@example.org", ("bob@example.org",), large, {}))
            assert catcher.imap is not None
            async with connect(catcher.imap) as stream:
                await stream.send(b"a LOGIN ann x\r\nb SELECT INBOX\r\nc FETCH 1:* BODY.PEEK[]\r\n")
                came = await stream.receive_until(b"c OK done\r\n", max_bytes=10_000_000)
                assert came.count(b"Subject: large") == 20

    run(main())
