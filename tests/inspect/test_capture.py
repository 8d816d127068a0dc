"""Captures: lists of packets, files, and what is counted, on the loopback interface."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from socketkit.errors import BusyConnection, ClosedConnection, EndpointError, SocketError
from socketkit.inspect.capture import Filter, Packet, capture, capture_to
from tests.conftest import Run
from tests.in_threads import named_threads

pytestmark = [pytest.mark.privileged, pytest.mark.slow]

SECTION, INTERFACE, STATISTICS, PACKET = 0x0A0D0D0A, 1, 5, 6  # block types of pcapng
HEADERS_BYTES = 42  # Ethernet, IPv4, UDP


class Sender:
    """Sends to a port of its own, where nobody reads; `wanted` is the filter for it."""

    def __init__(self) -> None:
        self._sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sink.bind(("127.0.0.1", 0))
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.wanted = f"udp dst port {self._sink.getsockname()[1]}"

    def send(self, *payloads: bytes) -> None:
        for payload in payloads:
            self._socket.sendto(payload, self._sink.getsockname())

    def close(self) -> None:
        self._socket.close()
        self._sink.close()


@pytest.fixture
def sender(no_leaks: None):  # type: ignore[no-untyped-def]
    sender = Sender()
    yield sender
    sender.close()


def payloads(packets: list[Packet]) -> list[bytes]:
    return [packet.data[HEADERS_BYTES:] for packet in packets]


def blocks(data: bytes) -> list[tuple[int, bytes]]:
    """The blocks of a pcapng file, which must be whole."""
    found = []
    while data:
        kind, length = struct.unpack_from("<II", data)
        assert length % 4 == 0
        assert data[length - 4 : length] == data[4:8]
        found.append((kind, data[8 : length - 4]))
        data = data[length:]
    return found


def captured(data: bytes) -> list[bytes]:
    """The payloads in a pcapng file."""
    found = []
    for kind, body in blocks(data):
        if kind == PACKET:
            (length,) = struct.unpack_from("<I", body, 12)
            found.append(body[20 + HEADERS_BYTES : 20 + length])
    return found


def threads() -> int:
    return len(named_threads("socketkit-captu"))


# --- lists


def test_packets_say_what_they_were(run: Run, sender: Sender) -> None:
    async def main() -> None:
        async with capture("lo", filter=sender.wanted) as packets:
            before = time.time_ns()
            sender.send(b"first", b"second")
            found: list[Packet] = []
            while len(found) < 2:
                found += await packets.receive_many()
            assert payloads(found) == [b"first", b"second"]
            first = found[0]
            assert before - 1_000_000 < first.timestamp_ns < time.time_ns()
            assert (first.interface, first.direction, first.link_type) == ("lo", "in", 1)
            assert first.wire_bytes == len(first.data) == HEADERS_BYTES + 5
            assert first.summary().endswith(" udp, 47 bytes")
            assert str(first) == f"lo In  {first.summary()}"
            assert (packets.received, packets.dropped) == (2, 0)

    run(main())


def test_any_is_cooked(run: Run, sender: Sender) -> None:
    async def main() -> None:
        async with capture(filter=sender.wanted) as packets:
            sender.send(b"first")
            (packet,) = await packets.receive_many()
            assert (packet.interface, packet.link_type) == ("lo", 276)
            assert packet.data[20 + 28 :] == b"first"
            assert packet.wire_bytes == 20 + 28 + 5
            assert " udp, 53 bytes" in packet.summary()

    run(main())


def test_batches_are_bounded_and_in_order(run: Run, sender: Sender) -> None:
    sent = [b"%d" % number for number in range(100)]

    async def main() -> None:
        found: list[bytes] = []
        async with capture("lo", filter=sender.wanted) as packets:
            sender.send(*sent)
            async for batch in packets.batches(max_count=7):
                assert 1 <= len(batch) <= 7
                found += payloads(batch)
                if len(found) == len(sent):
                    break
        assert found == sent

    run(main())


def test_filter_as_code(run: Run, sender: Sender) -> None:
    # The first byte of the payload is x.
    code = Filter.code([(0x30, 0, 0, 42), (0x15, 0, 1, ord("x")), (6, 0, 0, 0xFFFF), (6, 0, 0, 0)])
    wanted = int(sender.wanted.rpartition(" ")[2])

    async def main() -> None:
        async with capture("lo", filter=code) as packets:
            sender.send(b"a", b"x", b"b")
            async for batch in packets.batches():
                ours = [packet for packet in batch if packet.data[36:38] == wanted.to_bytes(2, "big")]
                if ours:
                    assert payloads(ours) == [b"x"]
                    return

    run(main())


def test_snap_length(run: Run, sender: Sender) -> None:
    async def main() -> None:
        async with capture("lo", filter=sender.wanted, snap_bytes=HEADERS_BYTES + 2) as packets:
            sender.send(b"payload")
            (packet,) = await packets.receive_many()
            assert (packet.data[HEADERS_BYTES:], packet.wire_bytes) == (b"pa", HEADERS_BYTES + 7)

    run(main())


def test_cancelled_receive_loses_nothing(run: Run, sender: Sender) -> None:
    async def main() -> None:
        async with capture("lo", filter=sender.wanted) as packets:
            for number in range(20):
                receiving = asyncio.create_task(packets.receive_many())
                await asyncio.sleep(0)
                sender.send(b"%d" % number)
                receiving.cancel()
                await asyncio.wait([receiving])
                assert receiving.cancelled()
            assert payloads(await packets.rest()) == [b"%d" % number for number in range(20)]

    run(main())


def test_two_receivers(run: Run, sender: Sender) -> None:
    async def main() -> None:
        async with capture("lo", filter=sender.wanted) as packets:
            receiving = asyncio.create_task(packets.receive_many())
            await asyncio.sleep(0)
            with pytest.raises(BusyConnection):
                await packets.receive_many()
            receiving.cancel()
            await asyncio.wait([receiving])

    run(main())


def test_rest_is_what_had_come_by_then(run: Run, sender: Sender) -> None:
    async def main() -> None:
        async with capture("lo", filter=sender.wanted) as packets:
            sender.send(b"before")
            resting = asyncio.create_task(packets.rest())
            await asyncio.sleep(0)
            sender.send(b"behind")
            assert payloads(await resting) == [b"before"]

    run(main())


def test_what_finds_no_room_is_counted(run: Run, sender: Sender) -> None:
    count, payload = 4_000, bytes(1_000)

    async def main() -> None:
        async with capture("lo", filter=sender.wanted, buffer_bytes=1) as packets:
            sender.send(*[payload] * count)
            found = await packets.rest()
            assert packets.received == count
            assert packets.dropped > 0
            assert len(found) + packets.dropped == count
        assert packets.dropped == count - len(found)

    run(main())


def test_closed_and_not_entered(run: Run, sender: Sender) -> None:
    async def main() -> None:
        packets = capture("lo", filter=sender.wanted)
        with pytest.raises(ClosedConnection, match="async with"):
            await packets.receive_many()
        async with packets:
            pass
        await packets.aclose()
        with pytest.raises(ValueError, match="closed"):
            await packets.receive_many()
        with pytest.raises(ClosedConnection, match="once"):
            async with packets:
                pass

    run(main())


def test_refusals_name_the_remedy(run: Run, no_leaks: None, python: Callable[..., str]) -> None:
    async def enter(interface: str = "lo", **options: str) -> None:
        async with capture(interface, **options):  # type: ignore[arg-type]
            pass

    with pytest.raises(SocketError, match=r"capture: socketkit-no: no such interface; there are .*lo"):
        run(enter("socketkit-no"))
    with pytest.raises(EndpointError, match="no filter: 'udp prot 53'"):
        run(enter(filter="udp prot 53"))
    with pytest.raises(ValueError, match="snap_bytes"):
        capture("lo", snap_bytes=0)
    with pytest.raises(ValueError, match="buffer_bytes"):
        capture("lo", buffer_bytes=1 << 40)
    with pytest.raises(ValueError, match="rotate"):
        capture_to("file", files=3)
    code = """
import asyncio, os
from socketkit.inspect.capture import capture
os.setgid(65534); os.setuid(65534)
async def main():
    try:
        async with capture("lo"):
            pass
    except OSError as failure:
        print(failure)
asyncio.run(main())
"""
    assert "capture: lo: needs CAP_NET_RAW: use sudo, or `sudo setcap cap_net_raw+ep /" in python(code)


# --- files


def test_a_number_of_packets_goes_into_a_file(run: Run, sender: Sender, tmp_path: Path) -> None:
    path = tmp_path / "trace.pcapng"

    async def main() -> None:
        async with capture_to(path, "lo", filter=sender.wanted, count=3) as recording:
            sender.send(b"1", b"2", b"3", b"4")
            report = await recording.ended()
            assert (report.packets, report.wire_bytes, report.files, report.dropped) == (3, 3 * 43, 1, 0)
            assert recording.written_bytes == path.stat().st_size

    run(main())
    data = path.read_bytes()
    assert captured(data) == [b"1", b"2", b"3"]
    assert [kind for kind, _ in blocks(data)] == [SECTION, INTERFACE, PACKET, PACKET, PACKET, STATISTICS]
    assert sender.wanted.encode() in data
    assert path.stat().st_mode & 0o777 == 0o600
    assert threads() == 0


def test_cancelled_it_leaves_a_whole_file(run: Run, sender: Sender, tmp_path: Path) -> None:
    path = tmp_path / "trace.pcapng"

    async def main() -> None:
        async def record() -> None:
            await capture_to(path, "lo", filter=sender.wanted)

        recording = asyncio.create_task(record())
        while not threads():
            await asyncio.sleep(0.01)
        sender.send(*[b"%d" % number for number in range(500)])
        recording.cancel()
        await asyncio.wait([recording])
        assert recording.cancelled()

    run(main())
    assert captured(path.read_bytes()) == [b"%d" % number for number in range(500)]
    assert blocks(path.read_bytes())[-1][0] == STATISTICS
    assert threads() == 0


def test_the_last_files_are_kept(run: Run, sender: Sender, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "trace.pcapng"
        async with capture_to(path, "lo", filter=sender.wanted, count=100, rotate_bytes=2_000, files=3) as recording:
            sender.send(*[b"%03d" % number + bytes(200) for number in range(100)])
            assert (await recording.ended()).packets == 100
            assert recording.files > 3

    run(main())
    files = sorted(tmp_path.iterdir())
    assert len(files) == 3
    assert all(file.stat().st_size <= 2_000 for file in files)
    kept = [payload[:3] for file in files for payload in captured(file.read_bytes())]
    assert kept == [b"%03d" % number for number in range(100)][-len(kept) :]
    assert all(blocks(file.read_bytes())[-1][0] == STATISTICS for file in files)


def test_time_begins_a_next_file(run: Run, sender: Sender, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "trace.pcapng"
        async with capture_to(path, "lo", filter=sender.wanted, rotate_seconds=0.1, shown=True) as recording:
            sender.send(b"early")
            await recording.shown()
            await asyncio.sleep(0.11)
            sender.send(b"late")
            await recording.shown()

    run(main())
    assert [captured(file.read_bytes()) for file in sorted(tmp_path.iterdir())] == [[b"early"], [b"late"]]


def test_into_a_descriptor(run: Run, sender: Sender) -> None:
    read, write = os.pipe()

    async def main() -> None:
        async with capture_to(write, "lo", filter=sender.wanted, count=1) as recording:
            sender.send(b"payload")
            await recording.ended()
        os.close(write)

    run(main())
    with open(read, "rb") as pipe:
        assert captured(pipe.read()) == [b"payload"]


def test_nobody_reads_the_descriptor(run: Run, sender: Sender) -> None:
    read, write = os.pipe()

    async def main() -> None:
        with pytest.raises(BrokenPipeError):
            async with capture_to(write, "lo", filter=sender.wanted) as recording:
                os.close(read)
                sender.send(b"payload")
                await recording.ended()

    run(main())
    os.close(write)
    assert threads() == 0


def test_a_reader_that_has_stopped_does_not_keep_it(run: Run, sender: Sender) -> None:
    read, write = os.pipe()

    async def main() -> None:
        with pytest.raises(SocketError):
            async with capture_to(write, "lo", filter=sender.wanted):
                sender.send(*[bytes(1_000)] * 500)
                await asyncio.sleep(0.1)

    run(main())
    os.close(read)
    os.close(write)
    assert threads() == 0


def test_what_cannot_be_written(run: Run, sender: Sender, tmp_path: Path) -> None:
    async def record(path: Path) -> None:
        async with capture_to(path, "lo", filter=sender.wanted) as recording:
            sender.send(b"payload")
            await recording.ended()

    with pytest.raises(SocketError, match="capture: /dev/full: no space left on device") as full:
        run(record(Path("/dev/full")))
    assert full.value.errno == errno.ENOSPC
    with pytest.raises(SocketError, match=f"capture: {tmp_path}: is a directory"):
        run(record(tmp_path))
    assert threads() == 0


def test_packets_can_be_looked_at_while_they_are_written(run: Run, sender: Sender, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "trace.pcapng"
        async with capture_to(path, "lo", filter=sender.wanted, count=2_100, shown=True) as recording:
            sender.send(b"first" + bytes(1_000), *[b"x"] * 2_099)
            await recording.ended()
            packets = await recording.shown()
            assert len(packets) == 2_000
            assert (recording.packets, recording.unshown) == (2_100, 100)
            assert packets[0].wire_bytes == HEADERS_BYTES + 1_005
            assert len(packets[0].data) == 512
            assert await recording.shown() == []

    run(main())
