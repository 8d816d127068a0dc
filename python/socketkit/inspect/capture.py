"""Capture: the packets of an interface, as records in lists (`capture`) or in pcapng files (`capture_to`).

The kernel writes packets into memory that it shares with the engine, which also is the queue: what is not taken in time
waits there, up to `buffer_bytes`; what finds no room is dropped, and counted. Python never pays per packet but for the
record it asks for. Files are written by a thread that needs no Python at all.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import _core
from .._core import Packet
from ..errors import BusyConnection, ClosedConnection, SocketError, explain, raisable
from ..types.ethernet import missing_capability, no_such_interface
from ..types.filters import Filter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Sequence
    from typing import Self

__all__ = ["Capture", "CaptureReport", "Filter", "Packet", "Recording", "capture", "capture_to"]

ANY = "any"
SNAP_BYTES = 262_144
BUFFER_BYTES = 32 * 1_048_576
RETIRE_MILLISECONDS = 10


def capture(
    interface: str = ANY,
    *,
    filter: str | Filter = "",  # noqa: A002  # the field's own word
    snap_bytes: int = SNAP_BYTES,
    promiscuous: bool = False,
    buffer_bytes: int = BUFFER_BYTES,
) -> Capture:
    """The packets that an interface (`any`: all) sends and receives, from the moment that the block is entered.

    `filter` says which (an expression as for tcpdump, or `Filter.code`); of each, `snap_bytes` are kept. `promiscuous`
    shows also those for other machines. Needs CAP_NET_RAW.
    """
    return Capture(_Source(interface, filter, snap_bytes, promiscuous, buffer_bytes))


def capture_to(
    target: str | os.PathLike[str] | int,
    interface: str = ANY,
    *,
    filter: str | Filter = "",  # noqa: A002
    snap_bytes: int = SNAP_BYTES,
    promiscuous: bool = False,
    buffer_bytes: int = BUFFER_BYTES,
    count: int | None = None,
    rotate_bytes: int | None = None,
    rotate_seconds: float | None = None,
    files: int | None = None,
    shown: bool = False,
) -> Recording:
    """Write an interface's packets to a pcapng file, or to a descriptor, which stays the caller's.

    `await` it: until `count` packets are written, or it is cancelled. `async with`: for the block. With `rotate_bytes`
    or `rotate_seconds` a next file is begun when one is so long, or so old when a packet comes; their names get numbers
    (`trace-00001.pcapng`), and the last `files` are kept. Files are readable for their owner alone. `shown`: packets
    can be looked at meanwhile (`Recording.shown`).
    """
    if files is not None and rotate_bytes is None and rotate_seconds is None:
        raise ValueError("files says how many are kept: with rotate_bytes or rotate_seconds")
    return Recording(
        _Source(interface, filter, snap_bytes, promiscuous, buffer_bytes),
        target,
        {
            "count": count,
            "rotate_bytes": rotate_bytes,
            "rotate_seconds": rotate_seconds,
            "files": files,
            "shown": shown,
        },
    )


class Capture:
    """Packets of an interface, in the order of their times, inside `async with`. Made by `capture`.

    Leaving the block gives the kernel its memory back; what was not taken is gone.
    """

    def __init__(self, source: _Source) -> None:
        self._source = source
        self._ring: _core.PacketRing | None = None
        self._news = _News()
        self._counted = (0, 0, 0)
        self._receiving = False

    async def __aenter__(self) -> Self:
        if self._ring is not None:
            raise raisable(ClosedConnection)("a capture is entered once")
        self._ring = await self._source.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Idempotent."""
        if self._ring is not None:
            with suppress(ValueError):  # it is closed
                self._counted = self._ring.statistics()
            self._ring.close()

    def fileno(self) -> int:
        """Readable when there are packets."""
        return self._open().fileno()

    async def receive_many(self, max_count: int = 1024) -> list[Packet]:
        """The packets that are there, at least one, in the order of their times; waits for it.

        Cancelled: nothing is lost. Raises SocketError when the interface goes down, or away.
        """
        if self._receiving:
            raise raisable(BusyConnection)("another task is receiving from this capture")
        self._receiving = True
        try:
            # There is always more under load: others get their turn before anything is taken.
            await asyncio.sleep(0)
            while not (packets := self._take(max_count)):
                await self._news.wait(self.fileno())
            return packets
        finally:
            self._receiving = False

    async def batches(self, max_count: int = 1024) -> AsyncIterator[list[Packet]]:
        """`receive_many`, again and again."""
        while True:
            yield await self.receive_many(max_count)

    async def rest(self) -> list[Packet]:
        """Let nothing more in, and give what had come in by then. For the end: no packet is missing that was seen."""
        ring = self._open()
        ring.freeze()
        # The kernel hands over the block that it was filling when its time is over, or a moment later.
        await asyncio.sleep(3 * RETIRE_MILLISECONDS / 1000)
        packets: list[Packet] = []
        while more := ring.take(65_536):
            packets += more
        return packets

    @property
    def received(self) -> int:
        """What passed the filter until now, `dropped` included."""
        return self._statistics()[0]

    @property
    def dropped(self) -> int:
        """What the kernel dropped for want of room: take faster, or give it more with `buffer_bytes`."""
        return self._statistics()[1]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._source.interface}>"

    def _take(self, max_count: int) -> list[Packet]:
        ring = self._open()
        packets = ring.take(max_count)
        if not packets and (number := ring.failure()):
            raise self._source.failure("receive", number)
        return packets

    def _open(self) -> _core.PacketRing:
        if self._ring is None:
            raise raisable(ClosedConnection)("this capture was not entered: `async with capture(...) as packets`")
        return self._ring

    def _statistics(self) -> tuple[int, int, int]:
        if self._ring is not None:
            with suppress(ValueError):  # it is closed
                self._counted = self._ring.statistics()
        return self._counted


class CaptureReport(NamedTuple):
    """What was written; `dropped` is what the kernel had no room for."""

    packets: int
    wire_bytes: int
    written_bytes: int
    files: int
    dropped: int


class Recording:
    """Packets on their way into files. Made by `capture_to`; its counters may be read at any time."""

    def __init__(self, source: _Source, target: str | os.PathLike[str] | int, order: dict[str, Any]) -> None:
        self._source = source
        self._target = target
        self._order = order
        self._job: _core.CaptureJob | None = None
        self._news = _News()
        self._counters: dict[str, int] = dict.fromkeys(COUNTERS, 0)

    def __await__(self) -> Generator[Any, Any, CaptureReport]:
        return self._run().__await__()

    async def __aenter__(self) -> Self:
        await self._start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def ended(self) -> CaptureReport:
        """Wait until it is over: there were `count` packets. Raises SocketError if it had to end before."""
        while not await self._is_done():
            pass
        return self.report()

    async def shown(self) -> list[Packet]:
        """The packets written since the last call, waiting for one; empty at the end. For people: each is cut to what
        a line says of it, and where there are too many, some are left out (`unshown`)."""
        while True:
            if packets := self._running().take_shown():
                return packets
            if await self._is_done():
                return self._running().take_shown()

    async def aclose(self) -> None:
        """Stop; what had come in by then is in the file, and the file is whole. Idempotent.

        Raises SocketError if not everything could be written.
        """
        job = self._job
        if job is None or self._closed():
            return
        job.stop()
        try:
            while not await self._is_done():
                pass
        finally:
            self._count()
            # Of a thread that is done, or on its way out.
            job.close()

    def report(self) -> CaptureReport:
        """What was written until now."""
        return CaptureReport(self.packets, self.wire_bytes, self.written_bytes, self.files, self.dropped)

    @property
    def packets(self) -> int:
        """In the file by now."""
        return self._count()["packets"]

    @property
    def wire_bytes(self) -> int:
        """What these packets were long on the wire."""
        return self._count()["wire_bytes"]

    @property
    def written_bytes(self) -> int:
        """What the files are long."""
        return self._count()["written_bytes"]

    @property
    def files(self) -> int:
        """How many files were begun."""
        return self._count()["files"]

    @property
    def dropped(self) -> int:
        """What the kernel dropped for want of room."""
        return self._count()["dropped"]

    @property
    def unshown(self) -> int:
        """Packets that were written, and left out of `shown`."""
        return self._count()["unshown"]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._source.interface} to {self._target}, {self.packets} packets>"

    async def _run(self) -> CaptureReport:
        await self._start()
        try:
            return await self.ended()
        finally:
            await self.aclose()

    async def _start(self) -> None:
        if self._job is not None:
            raise raisable(ClosedConnection)("a capture to files is started once")
        ring = await self._source.open()
        try:
            self._job = self._source.record(ring, self._target, self._order)
        finally:
            ring.close()

    async def _is_done(self) -> bool:
        """After news, or at once if it is over; raises what ended it."""
        job = self._running()
        if not job.done:
            await self._news.wait(job.fileno())
        if not job.done:
            return False
        if failure := job.failure():
            operation, path, number = failure
            raise self._source.failure(operation, number, path)
        return True

    def _running(self) -> _core.CaptureJob:
        if self._job is None:
            raise raisable(ClosedConnection)("this capture was not started: `await` it, or `async with`")
        return self._job

    def _count(self) -> dict[str, int]:
        if self._job is not None:
            with suppress(ValueError):  # it is closed
                self._counters = self._job.counters()
        return self._counters

    def _closed(self) -> bool:
        try:
            self._running().fileno()
        except ValueError:
            return True
        return False


class _Source:
    """What to listen to. Whatever fails is a SocketError that names the interface."""

    def __init__(
        self, interface: str, wanted: str | Filter, snap_bytes: int, promiscuous: bool, buffer_bytes: int
    ) -> None:
        if not 1 <= snap_bytes <= SNAP_BYTES:
            raise ValueError(f"snap_bytes is 1 to {SNAP_BYTES:,}, not {snap_bytes}")
        if not 1 <= buffer_bytes <= LARGEST_BUFFER_BYTES:
            raise ValueError(f"buffer_bytes is 1 to {LARGEST_BUFFER_BYTES:,}, not {buffer_bytes}")
        self.interface = interface
        self._filter = wanted if isinstance(wanted, Filter) else Filter(wanted)
        self._snap_bytes = snap_bytes
        self._promiscuous = promiscuous
        self._buffer_bytes = buffer_bytes

    async def open(self) -> _core.PacketRing:
        """A ring that hears."""
        try:
            ring = _core.PacketRing(None if self.interface == ANY else self.interface)
        except OSError as failure:
            raise self._refusal(failure) from failure
        try:
            program: Sequence[tuple[int, int, int, int]] = ()
            if str(self._filter):
                # Names in it are looked up, which may take seconds.
                link = self.interface, ring.link_type, self._snap_bytes
                program = await asyncio.to_thread(self._filter.program, *link)
            ring.start(program, self._snap_bytes, self._promiscuous, self._buffer_bytes, RETIRE_MILLISECONDS)
        except OSError as failure:
            ring.close()
            raise (failure if isinstance(failure, SocketError) else self._refusal(failure)) from failure
        except BaseException:
            ring.close()
            raise
        return ring

    def record(
        self, ring: _core.PacketRing, target: str | os.PathLike[str] | int, order: dict[str, Any]
    ) -> _core.CaptureJob:
        path = target if isinstance(target, int) else os.fspath(target)
        try:
            return _core.CaptureJob(
                ring,
                _writable(path) if isinstance(path, int) else path,
                interface=self.interface,
                expression=str(self._filter),
                snap_bytes=self._snap_bytes,
                **order,
            )
        except OSError as failure:
            raise self.failure("write", failure.errno or errno.EIO, str(path)) from failure

    def failure(self, operation: str, number: int, path: str | None = None) -> OSError:
        """What ended a capture."""
        if operation == "write":
            if number == errno.EPIPE:
                return BrokenPipeError(number, "nobody reads the output")
            return raisable(SocketError)("capture", None, f"{path or 'the output'}: {explain(number, 'file')}", number)
        reason = {errno.ENETDOWN: "the interface went down"}.get(number) or explain(number)
        return raisable(SocketError)("capture", None, f"{self.interface}: {reason}", number)

    def _refusal(self, failure: OSError) -> SocketError:
        where = f"{self.interface}: "
        if failure.errno == errno.EPERM:
            return missing_capability("capture", None, where)
        if failure.errno == errno.ENODEV:
            return no_such_interface("capture", None, where)
        reason = explain(failure.errno) if failure.errno else str(failure)
        return raisable(SocketError)("capture", None, where + reason, failure.errno)


class _News:
    """Waits until a descriptor of the engine is readable."""

    async def wait(self, fd: int) -> None:
        loop = asyncio.get_running_loop()
        readable = loop.create_future()

        def tell() -> None:
            loop.remove_reader(fd)
            if not readable.done():
                readable.set_result(None)

        loop.add_reader(fd, tell)
        try:
            await readable
        finally:
            loop.remove_reader(fd)


def _writable(fd: int) -> int:
    """A descriptor of the engine's own for the same output; writing to a pipe must not keep it from stopping."""
    if stat.S_ISFIFO(os.fstat(fd).st_mode):
        with suppress(OSError):  # no /proc, or the pipe of another user
            return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    return os.dup(fd)


COUNTERS = ("packets", "wire_bytes", "written_bytes", "files", "received", "dropped", "unshown")
LARGEST_BUFFER_BYTES = 1 << 30
