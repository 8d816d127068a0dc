"""The tour's stops at uses: what is fetched or caught is compared."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from socketkit.cli import use_stops
from socketkit.cli.stops import STOPS, Stop, see
from socketkit.cli.visits import Visit
from socketkit.uses.mail import Store

(WEB,) = [stop for stop in STOPS if stop.name.startswith("web")]
(MAIL,) = [stop for stop in STOPS if stop.name.startswith("mail")]


def visited(stop: Stop = WEB) -> Visit:
    visit = Visit(stop.name, stop.address, group=stop.group)
    asyncio.run(see(stop, visit))
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


def test_a_mail_is_caught() -> None:
    visit = visited(MAIL)
    assert (visit.outcome, visit.reason, visit.encrypted) == ("works", None, True)
    assert visit.sent_bytes > 8_000_000
    assert visit.latency_seconds
    assert visit.bytes_per_second


def test_a_mail_that_came_changed_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(use_stops, "ROUND_TRIPS", 1)
    raw = Store.raw

    async def other(store: Store, number: int) -> bytes | None:
        return (await raw(store, number) or b"")[:-1]

    monkeypatch.setattr(Store, "raw", other)
    assert visited(MAIL).reason == "the mail came changed"


def test_a_server_that_refuses_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(use_stops, "BULK_BYTES", 64_000_000)  # more than the server takes
    monkeypatch.setattr(use_stops, "ROUND_TRIPS", 1)
    visit = visited(MAIL)
    assert visit.outcome == "failed"
    assert visit.reason is not None
    assert "the server said 5" in visit.reason
