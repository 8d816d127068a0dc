"""A machine that is made up, whose sockets are watched and recorded; and its clock."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from socketkit import Endpoint
from socketkit.inspect.history import Recorder
from socketkit.inspect.ledger import Ledger
from socketkit.inspect.uses import Use

BEGAN = 1_800_000_000.0


@dataclass(frozen=True)
class Process:
    pid: int = 812
    started: float | None = BEGAN - 500
    name: str = "nginx"
    executable: str | None = "/usr/sbin/nginx"
    uid: int | None = 33
    user: str | None = "www-data"
    unit: str | None = "nginx.service"
    container: str | None = None


NGINX = (Process(),)


@dataclass(frozen=True)
class Entry:
    """What is recorded of a row of the socket table."""

    cookie: int
    local: Endpoint | None = None
    peer: Endpoint | None = None
    state: str = "established"
    received_bytes: int | None = 0
    sent_bytes: int | None = 0
    scheme: str = "tcp"
    namespace: int = 1
    namespace_name: str = ""
    exposure: str = "loopback"
    interface: str | None = None
    inode: int = 7
    uid: int | None = 33
    user: str | None = "www-data"
    processes: tuple[Any, ...] | None = NGINX
    receive_queue: int = 0
    send_queue: int = 0
    retransmits: int | None = 0
    round_trip_ms: float | None = None
    dropped: int | None = None
    backlog: int | None = None


def connection(number: int, port: int = 7000, **facts: Any) -> Entry:
    local, peer = (Endpoint.parse(f"tcp://127.0.0.1:{one}") for one in (port, 10_000 + number % 50_000))
    return Entry(number, local, peer, **facts)


def listener(number: int, where: str = "tcp://127.0.0.1:7000", **facts: Any) -> Entry:
    return Entry(number, Endpoint.parse(where), None, "listening", **facts)


class Machine:
    """Sockets that come, move and go when they are told to; `time` is that of its clock."""

    def __init__(self, path: Path | str, **options: Any) -> None:
        self.path = str(path)
        self.options = options
        self.time = BEGAN
        self.entries: dict[int, Any] = {}
        self.recorder: Recorder | None = None
        self.book = self._new_book()

    def begin(self, selection: str = "") -> Recorder:
        """A recorder starts, and looks for the first time."""
        self.book = self._new_book()
        self.recorder = Recorder(self.path, clock=lambda: self.time, **self.options)
        self.book.seen(self.entries.values(), self.time)
        self.recorder.begin(self.book.rows, now=self.time, selection=selection)
        return self.recorder

    def stop(self) -> None:
        if self.recorder is not None:
            self.recorder.close()
        self.recorder = None

    def kill(self) -> None:
        """What SIGKILL leaves of a recorder whose queue was empty."""
        recorder, self.recorder = self.recorder, None
        assert recorder is not None
        recorder.flush()
        with recorder._condition:
            recorder._closing = True
            recorder._condition.notify_all()
        assert recorder._thread is not None
        recorder._thread.join()
        recorder._writer.close(ended=False)
        os.close(recorder._lock_fd)
        recorder._lock_fd = -1

    def open(self, *entries: Entry) -> None:
        self.entries |= {entry.cookie: entry for entry in entries}
        self._look()

    def move(self, number: int, received: int) -> None:
        self.entries[number] = replace(self.entries[number], received_bytes=received)
        self._look()

    def close(self, *numbers: int) -> None:
        self._end(replace(self.entries.pop(number), state="closed") for number in numbers)

    def flash(self, *entries: Entry) -> None:
        """Open and closed between two looks."""
        self._end(replace(entry, state="closed", inode=0, processes=()) for entry in entries)

    def wait(self, seconds: float) -> None:
        """Time goes by, and the recorder hears of it as often as it does in life."""
        end = self.time + seconds
        while self.time < end:
            self.time = min(end, self.time + 10)
            if self.recorder is not None:
                self.recorder.beat(self.book.rows, now=self.time)

    def sleep(self, seconds: float) -> None:
        """Time goes by, and nobody hears of it: the machine is suspended."""
        self.time += seconds

    def _look(self) -> None:
        changes = self.book.seen(self.entries.values(), self.time)
        if self.recorder is not None:
            self.recorder.put(changes, now=self.time)

    def _end(self, entries: Iterable[Any]) -> None:
        changes = self.book.ended(entries, self.time)
        if self.recorder is not None:
            self.recorder.put(changes, now=self.time)

    def _new_book(self) -> Ledger:
        return Ledger(purpose=lambda entry: Use("web", "HTTP/1", 0.75, "told by its bytes", "no"))
