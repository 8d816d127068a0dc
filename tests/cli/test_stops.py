"""The stops of the tour: what comes of a visit when all is well, when something is lacking, when it fails."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from socketkit import Endpoint, ListenError, Stream
from socketkit.cli import message_stops, stops
from socketkit.cli.stops import STOPS, Stop, see
from socketkit.cli.visits import Visit


@pytest.fixture(autouse=True)
def short_visits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stops, "BLOCKS", 2)
    monkeypatch.setattr(stops, "ROUND_TRIPS", 5)
    monkeypatch.setattr(message_stops, "ROUND_TRIPS", 5)
    monkeypatch.setattr(message_stops, "BULK_BYTES", 2_000_000)


def visited(stop: Stop, folder: Path) -> Visit:
    visit = Visit(stop.name, stop.address.format(folder=folder, process=os.getpid()))
    asyncio.run(asyncio.wait_for(see(stop, visit), 10))
    return visit


@pytest.mark.parametrize("stop", [stop for stop in STOPS if stop.meet is None], ids=lambda stop: stop.name)
def test_every_stream(stop: Stop, tmp_path: Path, no_leaks: None) -> None:
    visit = visited(stop, tmp_path)
    assert visit.outcome in ("works", "absent")
    if visit.outcome == "works":
        assert visit.reason is None
        assert visit.peer
        assert visit.encrypted is not None
        assert (visit.cipher or "").startswith("TLS13_") == ("TLS" in stop.name)
        assert (visit.key_exchange == "X25519MLKEM768") == ("TLS" in stop.name)
        assert Endpoint.parse(visit.endpoint).port != 0
        assert visit.sent_bytes == 5 * stops.MESSAGE_BYTES + 2 * stops.BLOCK_BYTES
        # The other end's last word came behind all of that.
        assert visit.received_bytes == visit.sent_bytes + len(f"{visit.sent_bytes} bytes\n")
        assert visit.bytes_per_second
        assert visit.latency_seconds


def test_type_that_this_version_lacks(tmp_path: Path) -> None:
    visit = visited(Stop("QUIC", "quic://localhost:0"), tmp_path)
    assert visit.outcome == "absent"
    assert visit.reason
    assert "QUIC" in visit.reason


@pytest.mark.parametrize(
    ("absent", "outcome", "reason"),
    [
        ({errno.EAFNOSUPPORT: "no IPv6 on this machine"}, "absent", "no IPv6 on this machine"),
        ({}, "failed", "listen tcp6://localhost:0: none"),
    ],
)
def test_type_that_this_machine_lacks(
    absent: dict[int, str], outcome: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def serve(*_: object) -> object:
        raise ListenError("listen", Endpoint.parse("tcp6://localhost:0"), "none", errno.EAFNOSUPPORT)

    monkeypatch.setattr(stops, "serve", serve)
    visit = visited(Stop("TCP", "tcp6://localhost:0", absent), tmp_path)
    assert (visit.outcome, visit.reason) == (outcome, reason)


async def changed(stream: Stream) -> None:
    async for chunk in stream:
        await stream.send(bytes(byte ^ 1 for byte in chunk[:100]))


async def changed_in_bulk(stream: Stream) -> None:
    for _ in range(stops.ROUND_TRIPS):
        await stream.send(await stream.receive_exactly(stops.MESSAGE_BYTES))
    async for chunk in stream:
        await stream.send(bytes(len(chunk)))


async def miscounted(stream: Stream) -> None:
    async for chunk in stream:
        await stream.send(chunk)
    await stream.send(b"0 bytes\n")


async def endless(stream: Stream) -> None:
    count = 0
    async for chunk in stream:
        await stream.send(chunk)
        count += len(chunk)
    await stream.send(b"%d bytes\nand one more thing\n" % count)


async def silent(stream: Stream) -> None:
    await asyncio.Event().wait()


async def short(stream: Stream) -> None:
    await stream.receive()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (changed, "a message came back changed"),
        (changed_in_bulk, "bulk data came back changed"),
        (miscounted, "the other end counted another number of bytes"),
        (endless, "the other end did not end"),
        (silent, "not done within 0.2 s"),
        (short, "receive"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_other_end_that_misbehaves(
    answer: Callable[[Stream], Awaitable[None]], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stops, "_answer", answer)
    monkeypatch.setattr(stops, "STOP_SECONDS", 0.2)
    visit = visited(Stop("memory", "mem://misbehaving"), tmp_path)
    assert visit.outcome == "failed"
    assert visit.reason is not None
    assert visit.reason.startswith(reason)
