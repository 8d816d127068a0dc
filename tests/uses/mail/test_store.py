"""The store in the loop: one thread behind it, nothing answered before it is committed, changes told."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from socketkit.uses.mail.database import Incoming, Keep
from socketkit.uses.mail.store import Change, Store
from tests.conftest import Run


def mail(subject: str = "hello") -> Incoming:
    raw = f"Subject: {subject}\r\n\r\ntext\r\n".encode()
    return Incoming(1.0, "ann@example.org", ("bob@example.org",), raw, {})


def store(path: str | None = None, **keep: int) -> Store:
    return Store(path, keep=Keep(**keep), clock=lambda: 1.0)  # type: ignore[arg-type]


def test_in_and_out(run: Run) -> None:
    async def main() -> None:
        async with store() as kept:
            caught = await kept.add(mail())
            assert (kept.count, kept.bytes) == (1, len(mail().raw))
            assert await kept.newest() == [caught]
            assert await kept.get(caught.id) == caught
            assert await kept.raw(caught.id) == mail().raw
            parsed = await kept.parsed(caught.id)
            assert parsed is not None
            assert parsed.text == "text\r\n"
            assert await kept.search("hello") == [caught]
            marked = await kept.mark(caught.id)
            assert marked is not None
            assert marked.seen
            unmarked = await kept.mark(caught.id, seen=False)
            assert unmarked == caught
            assert await kept.delete([caught.id, 99]) == [caught.id]
            assert (await kept.mark(1), await kept.raw(1), await kept.parsed(1)) == (None, None, None)
            await kept.add(mail())
            assert await kept.clear() == [2]

    run(main())


def test_many_at_once_stand_in_few_transactions(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        path = str(tmp_path / "mail.db")
        async with store(path) as kept:
            caught = await asyncio.gather(*(kept.add(mail(str(number))) for number in range(500)))
            assert sorted(found.id for found in caught) == list(range(1, 501))
            assert [found.summary.subject for found in caught] == [str(number) for number in range(500)]
        async with store(path) as again:
            assert len(await again.newest(1_000)) == 500

    run(main())


def test_changes(run: Run) -> None:
    async def main() -> None:
        async with store(most_mails=2) as kept:
            changes: list[Change] = []

            async def listen() -> None:
                async for change in kept.changes():
                    changes.append(change)
                    if change.kind == "deleted" and 3 in change.ids:
                        return

            listening = asyncio.create_task(listen())
            await asyncio.sleep(0)
            for number in range(3):
                await kept.add(mail(str(number)))
            await kept.mark(3)
            await kept.delete([3])
            await listening
            kinds = [(change.kind, change.ids) for change in changes]
            assert kinds == [
                ("added", (1,)),
                ("added", (2,)),
                ("added", (3,)),
                ("deleted", (1,)),
                ("marked", (3,)),
                ("deleted", (3,)),
            ]
            assert changes[0].mails[0].summary.subject == "0"

    run(main())


def test_a_slow_subscriber_is_told_that_he_lost_some(run: Run) -> None:
    async def main() -> None:
        async with store() as kept:
            changes = kept.changes()
            first = asyncio.create_task(anext(changes))
            await asyncio.sleep(0)
            await kept.add(mail())
            assert (await first).kind == "added"
            for _ in range(1_001):
                await kept.mark(1)
            assert (await anext(changes)).kind == "lost"
            await changes.aclose()  # type: ignore[attr-defined]

    run(main())


def test_a_cancelled_add_hurts_nobody(run: Run) -> None:
    async def main() -> None:
        async with store() as kept:
            adding = [asyncio.create_task(kept.add(mail(str(number)))) for number in range(10)]
            await asyncio.sleep(0)
            adding[3].cancel()
            done = await asyncio.gather(*adding, return_exceptions=True)
            assert [isinstance(result, BaseException) for result in done].count(True) == 1
            assert len(await kept.newest()) == 10

    run(main())


def test_failures_are_told(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(OSError, match="No such file"):
            async with store(str(tmp_path / "missing" / "db")):
                pass
        async with store() as kept:
            with pytest.raises(OSError, match="cannot be stored"):
                await kept.add(mail()._replace(raw=None))  # type: ignore[arg-type]
            await kept.add(mail())
        with pytest.raises(RuntimeError, match="not open"):
            await kept.newest()
        await kept.aclose()

    run(main())


def test_closing_stores_what_waits(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        path = str(tmp_path / "mail.db")
        async with store(path) as kept:
            adding = [asyncio.ensure_future(kept.add(mail())) for _ in range(20)]
            await asyncio.sleep(0)
        assert all(task.done() for task in adding)
        async with store(path) as again:
            assert again.count == 0 or len(await again.newest()) == 20

    run(main())
