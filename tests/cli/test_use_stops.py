"""The tour's stops at uses: what is fetched is compared."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from socketkit.cli import use_stops
from socketkit.cli.stops import STOPS, see
from socketkit.cli.visits import Visit

(WEB,) = [stop for stop in STOPS if stop.name.startswith("web")]


def visited() -> Visit:
    visit = Visit(WEB.name, WEB.address, group=WEB.group)
    asyncio.run(see(WEB, visit))
    return visit


def test_a_page_is_fetched() -> None:
    visit = visited()
    assert (visit.outcome, visit.encrypted) == ("works", True)
    assert visit.received_bytes > 16_000_000
    assert visit.latency_seconds
    assert visit.bytes_per_second


def test_another_page_than_the_one_served_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    fill = use_stops._fill

    def other(folder: Path, page: bytes, film: bytes) -> None:
        fill(folder, page + b"!", film)

    monkeypatch.setattr(use_stops, "_fill", other)
    assert visited().reason == "another page came"
