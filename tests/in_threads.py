"""Two ends of a connection, and calls that block in threads of their own."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Generic, TypeVar

from socketkit import Limits, sync

T = TypeVar("T")

BIG = 8_000_000  # more than two sockets' buffers hold


def echo(stream: sync.Stream) -> None:
    for chunk in stream:
        stream.send(chunk)


def wait_until(happened: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.002)


def named_threads(part: str) -> list[Path]:
    """The folders in /proc of this process's threads that have this in their name. Others may end meanwhile."""
    found = []
    for folder in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            if part in (folder / "comm").read_text():
                found.append(folder)
    return found


@contextmanager
def pair(url: str = "mem://", limits: Limits = Limits()) -> Iterator[tuple[sync.Stream, sync.Stream]]:
    with sync.listen(url.format(pid=os.getpid()), limits=limits) as listener:
        ours = sync.connect(listener.local, limits=limits)
        theirs = listener.accept()
    try:
        yield ours, theirs
    finally:
        ours.abort()
        theirs.abort()


class Call(Generic[T]):
    """A function that runs in a thread of its own."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._result: list[T] = []
        self._failure: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def result(self) -> T:
        self.thread.join(10)
        if self._failure is not None:
            raise self._failure
        assert self._result, "it still runs"
        return self._result[0]

    @property
    def done(self) -> bool:
        return not self.thread.is_alive()

    def _run(self) -> None:
        try:
            self._result.append(self._function())
        except BaseException as failure:
            self._failure = failure


@contextmanager
def in_thread(function: Callable[[], T]) -> Iterator[Call[T]]:
    call = Call(function)
    yield call
    call.thread.join(10)
    assert call.done, "it still runs"


def wait_until_blocked(thread: threading.Thread) -> None:
    """Until the thread sleeps in the kernel, and is seen to do so twice."""
    for _ in range(2):
        wait_until(lambda: thread.native_id is not None and is_asleep(os.getpid(), thread.native_id))
        time.sleep(0.01)


def is_asleep(pid: int, thread: int | None = None) -> bool:
    stat = Path(f"/proc/{pid}/task/{thread or pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] == "S"
