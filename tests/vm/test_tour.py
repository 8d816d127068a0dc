"""Every stop of the tour on this kernel: nothing is absent there, and nothing fails that works elsewhere."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from socketkit.cli import message_stops, stops
from socketkit.cli.visits import Visit


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under emulation: more time for less data."""
    monkeypatch.setattr(stops, "STOP_SECONDS", 50.0)
    monkeypatch.setattr(stops, "BLOCKS", 8)
    monkeypatch.setattr(message_stops, "BULK_BYTES", 1 << 21)


@pytest.mark.parametrize("stop", stops.STOPS, ids=lambda stop: stop.name.replace(" ", "_"))
def test_stop(stop: stops.Stop, tmp_path: Path) -> None:
    visit = Visit(stop.name, stop.address.format(folder=tmp_path, process=os.getpid()), group=stop.group)
    asyncio.run(stops.see(stop, visit))
    assert (visit.outcome, visit.reason) == ("works", None)
