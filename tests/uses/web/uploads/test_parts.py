from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path

import pytest

from socketkit.uses.web.tree import Tree
from socketkit.uses.web.uploads.parts import Parts
from socketkit.uses.web.uploads.refusals import Refused
from socketkit.uses.web.uploads.threads import in_thread

TOKEN = "a" * 26


def test_only_one_writes_into_a_part(root: Path) -> None:
    async def main() -> None:
        with Tree(root) as tree, Tree(root) as other:
            ours, theirs = (Parts(each, quota_bytes=None, free_bytes=0, most=5) for each in (tree, other))
            with tree.open("/sub") or pytest.fail() as folder:
                part = await ours.create(folder, TOKEN, 5)
                with pytest.raises(Refused) as refused:
                    theirs.find(folder, TOKEN, 5)
                assert refused.value.status == 423
                part.close()
                found = theirs.find(folder, TOKEN, 5)
                assert found is not None
                await theirs.remove(found)
                await theirs.remove(found)
                assert ours.find(folder, TOKEN, 5) is None

    asyncio.run(main())


def test_hard_links_count_once_and_links_not(root: Path) -> None:
    (root / "a").write_bytes(bytes(60))
    (root / "sub" / "b").hardlink_to(root / "a")
    (root / "sub" / "c").symlink_to("/etc/passwd")

    async def main() -> None:
        with Tree(root) as tree, tree.open("/") or pytest.fail() as folder:
            parts = Parts(tree, quota_bytes=100, free_bytes=0, most=5)
            await parts.check(folder, 40)
            with pytest.raises(Refused, match="40 are left"):
                await parts.check(folder, 41)

    asyncio.run(main())


def test_a_part_that_is_being_written_is_not_removed(root: Path) -> None:
    async def main() -> None:
        with Tree(root) as tree, tree.open("/") or pytest.fail() as folder:
            parts = Parts(tree, quota_bytes=None, free_bytes=0, most=5)
            part = await parts.create(folder, TOKEN, 5)
            old = time.time() - 90_000
            os.utime(root / os.fsdecode(part.name), (old, old))
            await parts.tidy()
            assert part.name in os.listdir(os.fsencode(root))
            part.close()
            await parts.tidy()
            assert part.name not in os.listdir(os.fsencode(root))

    asyncio.run(main())


def test_a_part_is_no_link(root: Path) -> None:
    (root / "target").write_text("x")
    (root / f".socketkit-upload-{TOKEN}-5").symlink_to("target")

    async def main() -> None:
        with Tree(root) as tree, tree.open("/") or pytest.fail() as folder:
            parts = Parts(tree, quota_bytes=None, free_bytes=0, most=5)
            with pytest.raises(OSError):
                parts.find(folder, TOKEN, 5)
            with pytest.raises(FileExistsError):
                await parts.create(folder, TOKEN, 5)

    asyncio.run(main())


def test_a_call_in_a_thread_is_waited_for() -> None:
    begun, go = threading.Event(), threading.Event()
    ended = []

    def call() -> None:
        begun.set()
        go.wait(20)
        ended.append(True)

    async def main() -> None:
        task = asyncio.create_task(in_thread(call))
        await asyncio.to_thread(begun.wait, 20)
        task.cancel()
        await asyncio.sleep(0)
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended

    asyncio.run(main())
