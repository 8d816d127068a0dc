"""Round trips, of probes that are sent in any case."""

from __future__ import annotations

import asyncio

from socketkit.inspect.measuring.probing import Prober
from socketkit.inspect.measuring.protocol import PROBE_BYTES
from socketkit.testing import stream_pair
from tests.conftest import Run


def test_round_trips_are_counted(run: Run) -> None:
    async def main() -> None:
        async with stream_pair() as (here, there):
            prober = Prober(here)
            prober.begin(7)
            receiving = asyncio.create_task(prober.receive())
            sending = asyncio.create_task(prober.send(3))
            for _ in range(3):
                await there.send(await there.receive_exactly(PROBE_BYTES))
            await sending
            while prober.all.count < 3:
                await asyncio.sleep(0)
            assert prober.recent().count == 3
            assert prober.recent().count == 0
            assert 0 < prober.all.smallest < 1_000_000_000
            receiving.cancel()
            await asyncio.wait([receiving])

    run(main())


def test_nobody_answers_and_they_are_sent_all_the_same(run: Run) -> None:
    async def main() -> None:
        async with stream_pair() as (here, there):
            prober = Prober(here)
            await prober.send(5)
            assert (prober.sent, prober.all.count) == (5, 0)
            await there.receive_exactly(5 * PROBE_BYTES)

    run(main())
