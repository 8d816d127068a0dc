"""The tour's stops that keep borders, and the raw ones."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from socketkit import Endpoint
from socketkit.cli import message_stops
from socketkit.cli.stops import STOPS, USES, Stop, see
from socketkit.cli.visits import Visit, require
from socketkit.messages import Messages

WITH_MESSAGES = [stop for stop in STOPS if stop.meet is not None and stop.group != USES]


@pytest.fixture(autouse=True)
def short_visits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message_stops, "ROUND_TRIPS", 5)
    monkeypatch.setattr(message_stops, "BULK_BYTES", 2_000_000)


def visited(stop: Stop, folder: Path) -> Visit:
    visit = Visit(stop.name, stop.address.format(folder=folder, process=os.getpid()), group=stop.group)
    asyncio.run(asyncio.wait_for(see(stop, visit), 10))
    return visit


@pytest.mark.parametrize("stop", WITH_MESSAGES, ids=lambda stop: stop.name)
def test_every_stop(stop: Stop, tmp_path: Path, no_leaks: None) -> None:
    visit = visited(stop, tmp_path)
    assert visit.outcome in ("works", "absent"), visit.reason
    if visit.outcome == "absent":
        assert visit.reason
        assert stop.name in ("SCTP", "virtual machines, sequenced packets", "pings", "IP packets", "Ethernet frames")
        return
    assert visit.peer
    assert visit.latency_seconds
    assert Endpoint.parse(visit.endpoint).port != 0
    assert visit.received_bytes >= visit.sent_bytes > 0
    if not stop.group.startswith("raw"):
        assert visit.bytes_per_second
        assert (visit.key_exchange == "X25519MLKEM768") == ("TLS" in stop.name)


def test_without_the_capability_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> object:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(socket, "socket", refuse)
    (stop,) = (stop for stop in STOPS if stop.name == "IP packets")
    visit = Visit(stop.name, stop.address)

    async def main() -> None:
        await see(stop, visit)

    loop = asyncio.SelectorEventLoop  # has its own sockets by now
    monkeypatch.undo()
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.get_loop()
        monkeypatch.setattr(socket, "socket", refuse)
        runner.run(main())
        monkeypatch.undo()
    assert visit.outcome == "absent"
    assert "CAP_NET_RAW" in (visit.reason or "")


def test_changed_message_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def changed(messages: Messages, visit: Visit, size: int) -> None:
        await messages.send(b"x")
        require(await messages.receive() == b"y", "a message came back changed")

    monkeypatch.setattr(message_stops, "_use", changed)
    visit = visited(WITH_MESSAGES[0], tmp_path)
    assert (visit.outcome, visit.reason) == ("failed", "a message came back changed")


def test_checksum_of_a_ping_is_that_of_rfc_1071() -> None:
    request = message_stops._echo_request(7)
    total = sum(int.from_bytes(request[at : at + 2], "big") for at in range(0, len(request), 2))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    assert total == 0xFFFF
