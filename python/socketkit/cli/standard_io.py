"""Standard input and output for an event loop: whatever they are, waiting for them blocks nothing else.

They are shared with other programs (the terminal's with its shell), so neither is ever made non-blocking. Instead:
- A pipe is opened once more by its name in /proc, which gives flags of our own.
- A regular file is read and written in place: the loop cannot wait for it, and it never makes anyone wait for a peer.
- Anything else (a terminal, a socket, a pipe of somebody else) has a thread for its blocking calls.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import stat
import time
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class StandardInput:
    """Standard input, in chunks."""

    def __init__(self, fd: int = 0) -> None:
        self.terminal = os.isatty(fd)
        self.ended = False
        self._way = _way(fd, os.O_RDONLY)
        self._silent_since: float | None = None

    async def receive(self) -> bytes:
        """The next chunk, empty at the end. Cancelled: nothing is lost, the next call gets it. Raises OSError."""
        if self.ended:
            return b""
        self._silent_since = time.monotonic()
        try:
            chunk = await self._way.read()
        except OSError as failure:
            failure.filename = "standard input"
            raise
        finally:
            self._silent_since = None
        self.ended = not chunk
        return chunk

    @property
    def silent_seconds(self) -> float:
        """For how long somebody has been waiting in `receive` now; 0 if nobody is."""
        return 0.0 if self._silent_since is None else time.monotonic() - self._silent_since


class StandardOutput:
    """Standard output."""

    def __init__(self, fd: int = 1) -> None:
        self.terminal = os.isatty(fd)
        self._fd = fd
        self._way = _way(fd, os.O_WRONLY)

    async def send(self, chunk: bytes) -> None:
        """Returns when all of it is written. Raises OSError, BrokenPipeError when nobody reads."""
        try:
            await self._way.write(chunk)
        except OSError as failure:
            failure.filename = "standard output"
            raise

    async def abandoned(self) -> None:
        """Raises BrokenPipeError when the last reader of the pipe has gone, also while nothing is written.

        For anything that is not a pipe it waits, forever.
        """
        gone = asyncio.Event()
        loop = asyncio.get_running_loop()
        if _is_pipe(self._fd, os.O_WRONLY):
            # Nothing can be read from the end that writes: all that epoll tells of it is EPOLLERR (man 2 poll).
            loop.add_reader(self._fd, gone.set)
        try:
            await gone.wait()
        finally:
            loop.remove_reader(self._fd)
        raise BrokenPipeError(errno.EPIPE, "nobody reads the output")


class _Way(Protocol):
    """How a descriptor is read or written without blocking the loop."""

    async def read(self) -> bytes: ...

    async def write(self, chunk: bytes) -> None: ...


def _way(fd: int, access: int) -> _Way:
    if _is_pipe(fd, access):
        with suppress(OSError):
            # Of 64 KiB it would be two wake-ups per 64 KiB. Over the user's share it stays so (man 7 pipe).
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, CHUNK_BYTES)
        with suppress(OSError):  # no /proc, or the pipe of another user
            return _Pipe(os.open(f"/proc/self/fd/{fd}", access | os.O_NONBLOCK | os.O_CLOEXEC))
    if _is_file(fd):
        return _File(fd)
    return _Threaded(fd)


class _Ready:
    """What is always ready must not keep the loop from the other direction, or from Ctrl-C."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._in_one_go = 0

    async def _take_turns(self, count: int) -> None:
        self._in_one_go += count
        if self._in_one_go >= TURN_BYTES:  # a turn costs as much as moving 30 kB
            self._in_one_go = 0
            await asyncio.sleep(0)


class _Pipe(_Ready):
    """By a descriptor that is non-blocking and ours."""

    async def read(self) -> bytes:
        await self._take_turns(CHUNK_BYTES)
        while True:
            try:
                return os.read(self._fd, CHUNK_BYTES)
            except BlockingIOError:
                loop = asyncio.get_running_loop()
                await _called(loop.add_reader, loop.remove_reader, self._fd)

    async def write(self, chunk: bytes) -> None:
        await self._take_turns(len(chunk))
        rest = memoryview(chunk)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:
                loop = asyncio.get_running_loop()
                await _called(loop.add_writer, loop.remove_writer, self._fd)


async def _called(add: Callable[..., None], remove: Callable[[int], object], fd: int) -> None:
    ready = asyncio.Event()
    add(fd, ready.set)
    try:
        await ready.wait()
    finally:
        remove(fd)


class _File(_Ready):
    async def read(self) -> bytes:
        await self._take_turns(CHUNK_BYTES)
        return os.read(self._fd, CHUNK_BYTES)

    async def write(self, chunk: bytes) -> None:
        await self._take_turns(len(chunk))
        _write_all(self._fd, chunk)


class _Threaded:
    """By a thread, which is a daemon: nothing can call off its read from a terminal at the end."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._calls: SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]]] = SimpleQueue()
        self._reading: asyncio.Future[Any] | None = None
        Thread(target=self._work, name=f"descriptor {fd}", daemon=True).start()

    async def read(self) -> bytes:
        if self._reading is None:
            self._reading = self._call(lambda: os.read(self._fd, CHUNK_BYTES))
        await asyncio.wait([self._reading])  # cancelled, it leaves the read to the next caller
        chunk: bytes = self._reading.result()
        self._reading = None
        return chunk

    async def write(self, chunk: bytes) -> None:
        await self._call(lambda: _write_all(self._fd, chunk))

    def _call(self, call: Callable[[], Any]) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._calls.put((call, future))
        return future

    def _work(self) -> None:
        while True:
            call, future = self._calls.get()
            try:
                settle, outcome = future.set_result, call()
            except OSError as failure:
                settle, outcome = future.set_exception, failure
            with suppress(RuntimeError):  # the loop has closed meanwhile
                future.get_loop().call_soon_threadsafe(_unless_cancelled, future, settle, outcome)


def _unless_cancelled(future: asyncio.Future[Any], settle: Callable[[Any], None], outcome: Any) -> None:
    if not future.done():
        settle(outcome)


def _write_all(fd: int, chunk: bytes) -> None:
    rest = memoryview(chunk)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _is_pipe(fd: int, access: int) -> bool:
    return stat.S_ISFIFO(os.fstat(fd).st_mode) and fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == access


def _is_file(fd: int) -> bool:
    status = os.fstat(fd)
    if stat.S_ISCHR(status.st_mode):  # the memory devices, /dev/null first of all: they are always ready too
        return os.major(status.st_rdev) == MEMORY_DEVICES
    return stat.S_ISREG(status.st_mode)


CHUNK_BYTES = 1_048_576
TURN_BYTES = 4 * CHUNK_BYTES
MEMORY_DEVICES = 1  # Documentation/admin-guide/devices.txt
