"""`mem://`: names inside the process."""

from __future__ import annotations

import gc
import os

import pytest

from socketkit import ConnectError, ListenError, connect, listen
from tests.conftest import Run

pytestmark = pytest.mark.usefixtures("no_leaks")


def test_a_name_is_made_up_when_none_is_given(run: Run) -> None:
    async def main() -> None:
        async with listen("mem://") as one, listen("mem://") as other:
            assert one.local != other.local
            async with connect(str(one.local)):
                (await one.accept()).abort()

    run(main())


def test_a_made_up_name_avoids_those_in_use(run: Run) -> None:
    async def main() -> None:
        async with listen("mem://") as first:
            number = int(first.local.host or 0)
            async with listen(f"mem://{number + 1}"), listen("mem://") as other:
                assert other.local.host not in (str(number), str(number + 1))

    run(main())


def test_a_name_is_free_again_after_closing(run: Run) -> None:
    async def main() -> None:
        for _ in range(3):
            async with listen("mem://name"):
                with pytest.raises(ListenError, match="already in use in this process"):
                    await listen("mem://name")
            with pytest.raises(ConnectError, match="refused"):
                await connect("mem://name")

    run(main())


def test_a_dropped_listener_frees_its_name(run: Run) -> None:
    async def main() -> None:
        listener = await listen("mem://name")
        with pytest.warns(ResourceWarning, match="dropped without being closed"):
            del listener
            gc.collect()
        async with listen("mem://name"):
            pass

    run(main())


def test_the_name_is_invisible_outside(run: Run) -> None:
    async def main() -> None:
        async with listen("mem://secret-name") as listener, connect(listener.local):
            (await listener.accept()).abort()
            with open("/proc/net/unix") as table:
                assert "secret-name" not in table.read()

    run(main())


def test_the_peer_is_this_process(run: Run) -> None:
    async def main() -> None:
        async with listen("mem://") as listener, connect(listener.local) as ours:
            theirs = await listener.accept()
            assert theirs.peer.credentials is not None
            assert theirs.peer.credentials.pid == os.getpid()
            assert theirs.peer.endpoint == ours.peer.endpoint == listener.local
            theirs.abort()

    run(main())
