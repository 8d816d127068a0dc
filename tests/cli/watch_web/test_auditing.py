"""Audits now and then."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from socketkit.cli.watch_web.auditing import Audited, Auditing, audits_of
from socketkit.inspect.watch import watch
from socketkit.threats.audit import Report
from socketkit.threats.view import View
from tests.cli.watch_web.test_rows import FINDING, OPEN


def test_what_was_found() -> None:
    looks = iter([Report([FINDING], ["something"], View()), OSError("no /proc")])

    def look() -> Report:
        given = next(looks)
        if isinstance(given, OSError):
            raise given
        return given

    async def main() -> None:
        auditing = Auditing(look)
        assert (auditing.last.version, auditing.last.found()) == (0, None)
        await auditing.again()
        assert (auditing.last.findings, auditing.last.unknown) == ((FINDING,), ("something",))
        assert auditing.last.severities == {"tcp://127.0.0.1:7000": "high"}
        found = auditing.last.found()
        assert found is not None and found.counts[OPEN.id, "high"] == 1
        assert 0 in found.counts.values()  # of the other checks none
        await auditing.again()
        assert (auditing.last.findings, auditing.last.version) == ((), 2)
        assert "no /proc" in auditing.last.unknown[0]

    asyncio.run(main())


def test_it_goes_on() -> None:
    looked: list[int] = []

    async def main() -> None:
        def look() -> Any:
            looked.append(1)
            if len(looked) == 3:
                raise RuntimeError("enough")
            return Report([], [], View())

        with pytest.raises(RuntimeError, match="enough"):
            await Auditing(look, pause_seconds=0).go_on()

    asyncio.run(main())
    assert len(looked) == 3


def test_cancelled_it_waits_for_the_thread() -> None:
    events: list[str] = []

    async def main() -> None:
        import threading

        may_end, began = threading.Event(), threading.Event()

        def look() -> Any:
            began.set()
            may_end.wait(20)
            events.append("looked")
            return Report([], [], View())

        task = asyncio.create_task(Auditing(look).go_on())
        await asyncio.to_thread(began.wait, 20)
        task.cancel()
        asyncio.get_running_loop().call_soon(may_end.set)
        await asyncio.wait([task])
        events.append("ended")

    asyncio.run(main())
    assert events == ["looked", "ended"]


def test_the_worst_of_a_socket_counts() -> None:
    from dataclasses import replace

    audited = Audited([FINDING, replace(FINDING, severity="low")], version=1)
    assert audited.severities == {"tcp://127.0.0.1:7000": "high"}


@pytest.mark.slow
def test_of_this_machine() -> None:
    async def main() -> None:
        async with watch("loopback", namespaces="own") as watching:
            auditing = audits_of(watching, namespaces="own")
            await auditing.again()
            assert auditing.last.version == 1
            assert auditing.last.at > 0

    asyncio.run(main())
