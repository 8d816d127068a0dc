"""What a client may cost a catcher: each bound is met, passed by one, and the others are served."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from socketkit import BrokenConnection, ConnectError, EndOfStream, Limits, Stream, connect
from socketkit.uses.mail.database import Incoming, Keep
from socketkit.uses.mail.serving import Catcher
from socketkit.uses.mail.smtp_events import Bounds
from socketkit.uses.mail.store import Store
from tests.conftest import Run

pytestmark = pytest.mark.slow

BEGUN = b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n"


@asynccontextmanager
async def besieged(keep: Keep | None = None, **options: Any) -> AsyncIterator[tuple[Store, Catcher]]:
    async with Store(keep=keep or Keep()) as store, Catcher(store, smtps=None, **options) as catcher:
        yield store, catcher


@asynccontextmanager
async def client(catcher: Catcher) -> AsyncIterator[Stream]:
    assert catcher.smtp is not None
    async with connect(catcher.smtp) as stream:
        await stream.receive_until(b"\r\n")
        await said(stream, b"EHLO c\r\n")
        yield stream
        stream.abort()


async def said(stream: Stream, command: bytes) -> int:
    """The code of the last of the replies to this."""
    await stream.send(command)
    line = b"   -"
    while line[3:4] == b"-":
        line = await stream.receive_until(b"\r\n")
    return int(line[:3])


async def ended(stream: Stream) -> bytes:
    """All that comes until the other side ends it, by a word or by a reset."""
    told = b""
    try:
        while True:
            told += await stream.receive()
    except (EndOfStream, BrokenConnection):
        return told


async def is_served(catcher: Catcher, store: Store) -> bool:
    """Whether somebody who is honest gets his mail in."""
    before = store.count
    async with client(catcher) as stream:
        await stream.send(BEGUN + b"DATA\r\n")
        await stream.receive_until(b"354 ")
        await stream.receive_until(b"\r\n")
        taken = await said(stream, b"Subject: x\r\n\r\nx\r\n.\r\n") == 250
    return taken and store.count == before + 1


# --- one client, one command


def test_a_line_passed_by_one(run: Run) -> None:
    async def main() -> None:
        async with besieged(bounds=Bounds(line_bytes=100)) as (store, catcher):
            async with client(catcher) as stream:
                assert await said(stream, b"NOOP " + b"x" * 93 + b"\r\n") == 250
                assert await said(stream, b"NOOP " + b"x" * 94 + b"\r\n") == 500
                assert await ended(stream) == b""
            async with client(catcher) as stream:  # it need not end before it is refused
                assert await said(stream, b"x" * 101) == 500
                assert await ended(stream) == b""
            assert await is_served(catcher, store)

    run(main())


def test_a_mail_passed_by_one_while_it_comes(run: Run) -> None:
    async def main() -> None:
        async with besieged(bounds=Bounds(message_bytes=10_000)) as (store, catcher):
            for size, code in ((10_000, 250), (10_001, 552)):
                async with client(catcher) as stream:
                    await stream.send(BEGUN + b"DATA\r\n")
                    await stream.receive_until(b"354 ")
                    await stream.receive_until(b"\r\n")
                    assert await said(stream, b"x" * (size - 2) + b"\r\n.\r\n") == code
                    assert await said(stream, b"NOOP\r\n") == 250  # the session goes on
            assert [mail.size for mail in await store.newest()] == [10_000]
            async with client(catcher) as stream:  # one that never ends is not listened to for ever, nor kept
                await stream.send(BEGUN + b"DATA\r\n")
                with pytest.raises((BrokenConnection, EndOfStream)):
                    while True:
                        await stream.send(b"x" * 10_000)
                        assert catcher._mail.under_way_bytes <= 10_000 + 65_536
                        await asyncio.sleep(0)
            assert await is_served(catcher, store)

    run(main())


def test_recipients_passed_by_one(run: Run) -> None:
    async def main() -> None:
        async with besieged(bounds=Bounds(recipients=3)) as (store, catcher), client(catcher) as stream:
            assert await said(stream, b"MAIL FROM:<a@b.example>\r\n") == 250
            codes = [await said(stream, b"RCPT TO:<c%d@d.example>\r\n" % number) for number in range(4)]
            assert codes == [250, 250, 250, 452]
            assert await said(stream, b"DATA\r\n") == 354
            assert await said(stream, b"x\r\n.\r\n") == 250  # to those who were taken
            assert [len(mail.recipients) for mail in await store.newest()] == [3]

    run(main())


@pytest.mark.parametrize(
    ("command", "bounds", "usual", "last"),
    [
        (b"XYZZY\r\n", Bounds(mistakes=5), 500, 421),
        (b"NOOP\r\n", Bounds(idle_commands=6), 250, 421),
        (b"RSET\r\n", Bounds(idle_commands=6), 250, 421),
        (b"VRFY x\r\n", Bounds(idle_commands=6), 252, 421),
        (b"HELP\r\n", Bounds(idle_commands=6), 214, 421),
        (b"EHLO c\r\n", Bounds(idle_commands=6), 250, 421),
        (b"AUTH PLAIN !\r\n", Bounds(logins=5), 501, 421),
    ],
)
def test_commands_passed_by_one(run: Run, command: bytes, bounds: Bounds, usual: int, last: int) -> None:
    async def main() -> None:
        async with besieged(bounds=bounds) as (store, catcher):
            async with client(catcher) as stream:  # whose EHLO counts, too
                codes = [await said(stream, command) for _ in range(5 if bounds.mistakes == 20 else 4)]
                assert set(codes) == {usual}
                assert await said(stream, command) == last
                assert await ended(stream) == b""
            assert catcher.stats["smtp"]["abuse"] == (bounds.mistakes == 20)
            assert await is_served(catcher, store)

    run(main())


def test_logins_that_fail_are_few(run: Run) -> None:
    from socketkit.uses.mail.failures import Failures

    async def main() -> None:
        failures = Failures(["auth=535"], 1)
        async with besieged(bounds=Bounds(logins=3), failures=failures) as (_, catcher), client(catcher) as stream:
            codes = [await said(stream, b"AUTH PLAIN AGFubgBzZWNyZXQ=\r\n") for _ in range(4)]
            assert codes == [535, 535, 535, 421]

    run(main())


def test_a_mail_makes_idle_commands_begin_anew(run: Run) -> None:
    async def main() -> None:
        async with besieged(bounds=Bounds(idle_commands=4)) as (_, catcher), client(catcher) as stream:
            for _ in range(3):
                await said(stream, b"NOOP\r\n")
                await said(stream, b"RSET\r\n")
                assert await said(stream, b"MAIL FROM:<a@b.example>\r\n") == 250
                assert await said(stream, b"RCPT TO:<a@b.example>\r\n") == 250
                assert await said(stream, b"DATA\r\n") == 354
                assert await said(stream, b"x\r\n.\r\n") == 250

    run(main())


# --- many replies, and nobody who reads them


@pytest.mark.parametrize("command", [b"NOOP\r\n", b"EHLO c\r\n", b"HELP\r\n"])
def test_replies_to_a_flood_are_bounded(run: Run, command: bytes) -> None:
    async def main() -> None:
        async with besieged() as (store, catcher), client(catcher) as stream:
            with suppress(BrokenConnection):
                for _ in range(20):
                    await stream.send(command * 10_000)
            told = await ended(stream)
            assert told.count(b"\r\n") < 20 * Bounds().idle_commands
            assert await is_served(catcher, store)

    run(main())


def test_a_client_that_never_reads_is_cut(run: Run) -> None:
    async def main() -> None:
        limits = Limits(write_stalled_seconds=0.3)
        async with besieged(limits=limits) as (store, catcher):
            raw = b"Subject: x\r\n\r\n" + b"x" * 70 * 100_000
            await store.add(Incoming(time.time(), "a@b.example", ("c@d.example",), raw, {}))
            assert catcher.imap is not None
            async with connect(catcher.imap) as stream:
                await stream.receive_until(b"\r\n")
                await stream.send(b"a LOGIN u p\r\nb SELECT INBOX\r\n" + b"c FETCH 1 BODY[]\r\n" * 50)
                async with asyncio.timeout(60):
                    while not catcher.stats["imap"]["write_stalled"]:
                        await asyncio.sleep(0.02)
                stream.abort()
            assert await is_served(catcher, store)

    run(main())


@pytest.mark.parametrize(
    "bomb",
    [
        b"a LOGIN {99999999}\r\n",
        b"a LOGIN {65000}\r\n" + b"x" * 65_000 + b" {65000}\r\n",
        b"a LOGIN {99999999+}\r\n" + b"x" * 70_000,
        b"a LOGIN " + b"x" * 70_000,
    ],
    ids=("announced", "the second", "not asked for", "a line"),
)
def test_bombs_of_literals(run: Run, bomb: bytes) -> None:
    async def main() -> None:
        async with besieged() as (store, catcher):
            assert catcher.imap is not None
            async with connect(catcher.imap) as stream:
                await stream.receive_until(b"\r\n")
                with suppress(BrokenConnection):
                    await stream.send(bomb)
                await ended(stream)
                stream.abort()
            assert await is_served(catcher, store)

    run(main())


def test_a_mail_that_is_named_a_thousand_times_is_fetched_once(run: Run) -> None:
    async def main() -> None:
        async with besieged() as (store, catcher):
            raw = b"Subject: x\r\n\r\n" + b"x" * 3_000_000
            await store.add(Incoming(time.time(), "a@b.example", ("c@d.example",), raw, {}))
            assert catcher.imap is not None
            async with connect(catcher.imap) as stream:
                await stream.receive_until(b"\r\n")
                await stream.send(b"a LOGIN u p\r\nb SELECT INBOX\r\n")
                await stream.receive_until(b"b OK", max_bytes=65_536)
                await stream.receive_until(b"\r\n")
                await stream.send(b"c FETCH 1 (" + b"BODY.PEEK[] " * 5_000 + b"BODY.PEEK[])\r\n")
                line = await stream.receive_until(b"\r\n")
                assert line.startswith(b"c BAD ")
                await stream.send(b"d FETCH 1 (BODY.PEEK[] BODY.PEEK[TEXT])\r\n")
                assert (await stream.receive_until(b"\r\n")).startswith(b"* 1 FETCH")
                stream.abort()

    run(main())


# --- many clients


def test_connections_of_one_source_passed_by_one(run: Run) -> None:
    async def main() -> None:
        limits = Limits(source_connections=3, source_unproven=3, trusted=("192.0.2.0/24",))
        async with besieged(limits=limits, smtp="tcp4://127.0.0.1:0") as (_, catcher):
            assert catcher.smtp is not None
            streams = [await connect(catcher.smtp) for _ in range(3)]
            for stream in streams:  # who says something is not there to make room for others
                await stream.receive_until(b"\r\n")
                assert await said(stream, b"EHLO c\r\n") == 250
            with pytest.raises((ConnectError, EndOfStream, BrokenConnection)):
                async with connect(catcher.smtp) as fourth:
                    await fourth.receive()
            assert catcher.stats["smtp"]["refused_source"] == 1
            for stream in streams:
                stream.abort()

    run(main())


def test_mails_under_way_are_bounded_together(run: Run) -> None:
    async def main() -> None:
        bounds = Bounds(message_bytes=1_000_000, under_way_bytes=2_000_000)
        async with besieged(bounds=bounds) as (store, catcher):
            assert catcher.smtp is not None
            streams = []
            for _ in range(5):
                stream = await connect(catcher.smtp)
                streams.append(stream)
                await stream.receive_until(b"\r\n")
                await said(stream, b"EHLO c\r\n")
                await stream.send(BEGUN + b"DATA\r\n")
                await stream.receive_until(b"354 ")
                await stream.receive_until(b"\r\n")
            for stream in streams:
                with suppress(BrokenConnection):
                    await stream.send(b"x" * 900_000)  # and no end
            while catcher._mail.under_way_bytes > bounds.under_way_bytes or len(catcher.clients) < 3:
                await asyncio.sleep(0.01)
            assert await is_served(catcher, store)  # a small mail is nobody's burden
            for stream in streams:
                stream.abort()
            while catcher._mail.under_way_bytes:
                await asyncio.sleep(0.01)

    run(main())


# --- a store that is full


def test_a_mail_that_no_store_has_room_for_pushes_none_out(run: Run) -> None:
    async def main() -> None:
        async with besieged(Keep(most_bytes=5_000)) as (store, catcher):
            assert await is_served(catcher, store)
            async with client(catcher) as stream:
                assert await said(stream, b"MAIL FROM:<a@b.example> SIZE=5001\r\n") == 552
                assert await said(stream, b"MAIL FROM:<a@b.example> SIZE=5000\r\n") == 250
                assert await said(stream, b"RCPT TO:<c@d.example>\r\n") == 250
                assert await said(stream, b"DATA\r\n") == 354
                assert await said(stream, b"x" * 4_999 + b"\r\n.\r\n") == 552
            assert store.count == 1
            async with client(catcher) as stream:  # one that fits makes the oldest go
                await stream.send(BEGUN + b"DATA\r\n")
                await stream.receive_until(b"354 ")
                await stream.receive_until(b"\r\n")
                assert await said(stream, b"x" * 4_998 + b"\r\n.\r\n") == 250
            assert [mail.size for mail in await store.newest()] == [5_000]

    run(main())


def test_a_full_disk_loses_nothing_that_was_acknowledged(run: Run, tmp_path: Path) -> None:
    """Each mail is answered 250 and there after all, or 451."""
    path = str(tmp_path / "mail.db")

    async def main() -> None:
        async with Store(path) as store, Catcher(store, smtps=None, imap=None, pop3=None) as catcher:
            await store._done(lambda database: database._sql.execute("PRAGMA max_page_count = 60").fetchone())
            taken, codes = [], []
            async with client(catcher) as stream:
                for number in range(40):
                    await stream.send(BEGUN + b"DATA\r\n")
                    await stream.receive_until(b"354 ")
                    await stream.receive_until(b"\r\n")
                    codes.append(await said(stream, b"Subject: %d\r\n\r\n" % number + b"x" * 10_000 + b"\r\n.\r\n"))
                    if codes[-1] == 250:
                        taken.append(str(number))
            assert set(codes) == {250, 451}
            assert codes[-1] == 451
            there = [mail.summary.subject for mail in await store.newest(100)][::-1]
            assert there == taken
            assert store.count == len(taken)
            await store.clear()  # and when there is room again, it is used
            assert await is_served(catcher, store)
        async with Store(path) as again:
            assert [mail.summary.subject for mail in await again.newest(100)] == ["x"]

    run(main())


FULL = """
import asyncio, sys, time
from socketkit.uses.mail.database import Incoming
from socketkit.uses.mail.store import Store

async def main():
    taken = 0
    async with Store(sys.argv[1]) as store:
        for number in range(200):
            raw = b"Subject: %d\\r\\n\\r\\n" % number + b"x" * 20_000
            try:
                await store.add(Incoming(time.time(), "a@b.example", ("c@d.example",), raw, {}))
            except OSError as failure:
                print(failure, file=sys.stderr)
                break
            taken += 1
    print(taken)

asyncio.run(main())
"""


def test_a_file_that_cannot_grow(tmp_path: Path, run: Run) -> None:
    """As the kernel refuses it: what was taken is there when the file is opened again."""
    path = str(tmp_path / "mail.db")

    def bounded() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    words = [sys.executable, "-c", FULL, path]
    done = subprocess.run(words, preexec_fn=bounded, capture_output=True, timeout=100, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr
    assert b"cannot be stored" in done.stderr
    taken = int(done.stdout)
    assert taken > 3

    async def main() -> None:
        async with Store(path) as store:
            there = [mail.summary.subject for mail in await store.newest(1_000)][::-1]
            assert there == [str(number) for number in range(taken)]

    run(main())
