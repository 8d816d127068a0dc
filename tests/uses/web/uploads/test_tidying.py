from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from socketkit.hosting import Wanted, host, place
from socketkit.uses.web.service import Manner, Site
from socketkit.uses.web.tree import Tree
from socketkit.uses.web.uploads import tidying
from socketkit.uses.web.uploads.parts import Parts, part_name
from tests.conftest import Run


def old_part(folder: Path, token: str) -> Path:
    """What somebody left two hours ago."""
    path = folder / os.fsdecode(part_name(token * 26, 5))
    path.write_bytes(b"abc")
    os.utime(path, (time.time() - 7_200, time.time() - 7_200))
    return path


async def gone(path: Path) -> None:
    async with asyncio.timeout(20):
        while path.exists():
            await asyncio.sleep(0.01)


def test_old_parts_go_at_the_start_and_later(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tidying, "MOST_PAUSE_SECONDS", 0.01)

    async def main() -> None:
        with Tree(root) as tree, tree.open("/") or pytest.fail() as folder:
            parts = Parts(tree, quota_bytes=None, free_bytes=0, most=5, keep_seconds=3_600)
            young = await parts.create(folder, "y" * 26, 5)
            used = await parts.create(folder, "u" * 26, 5)
            os.utime(root / os.fsdecode(used.name), (0, 0))
            async with tidying.tidied(parts):
                await gone(old_part(root, "a"))
                await gone(old_part(root / "sub", "b"))  # somebody left it while the service ran
            for part in (young, used):
                assert (root / os.fsdecode(part.name)).exists()
                part.close()
            last = old_part(root, "c")
            await asyncio.sleep(0.05)
            assert last.exists()  # nothing goes on behind the block

    asyncio.run(main())


def test_a_folder_that_is_away(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tidying, "MOST_PAUSE_SECONDS", 0.01)
    asked = 0

    async def main() -> None:
        async def tidy() -> None:
            nonlocal asked
            asked += 1
            raise OSError(5, "input/output error")

        with Tree(root) as tree:
            parts = Parts(tree, quota_bytes=None, free_bytes=0, most=5)
            monkeypatch.setattr(parts, "tidy", tidy)
            async with tidying.tidied(parts), asyncio.timeout(20):
                while asked < 3:
                    await asyncio.sleep(0.01)

    asyncio.run(main())


def test_a_service_does_it(run: Run, home: Path, root: Path) -> None:
    kept, left = old_part(root, "a"), old_part(root, "b")
    os.utime(kept)

    async def main() -> None:
        site = Site(root, Manner(upload=True, keep_seconds=3_600))
        try:
            where = place(Wanted())
            async with host(site.opened(where), where):
                await gone(left)
        finally:
            site.close()

    run(main())
    assert kept.exists()
