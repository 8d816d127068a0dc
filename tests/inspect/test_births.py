"""Whose a socket was that nobody looked at while it was there: noted by BPF, or said to be unknown."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from socketkit import _core
from socketkit.inspect import births as module
from socketkit.inspect import processes
from socketkit.inspect.births import Births
from socketkit.inspect.watch import watch
from tests.conftest import Run
from tests.inspect.conftest import UNPRIVILEGED

CALLER = """
import socket, sys
for _ in range(int(sys.argv[2])):
    with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as caller:
        caller.recv(1)
"""


Told = tuple[int, str, int | None, int, int, int, str, int | None]


class Notes:
    """What `_core.Births` gives, made up."""

    unheard = ()
    lost = 3

    def __init__(self, *turns: list[Told]) -> None:
        self.turns = list(turns)
        self.closed = False

    def fileno(self) -> int:
        return 7

    def read(self) -> list[Told]:
        return self.turns.pop(0) if self.turns else []

    def close(self) -> None:
        self.closed = True


def made_up(monkeypatch: pytest.MonkeyPatch, notes: Notes, most: int = 4) -> Births:
    monkeypatch.setattr(_core, "Births", lambda: notes)
    return Births(most=most)


def note(cookie: int, pid: int | None = None, name: str = "curl") -> Told:
    return cookie, "connected", pid, 5_000_000_000, 1000, 1, name, 443


def test_the_first_note_of_a_socket_holds_until_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    births = made_up(monkeypatch, Notes([note(1, 2**22 + 1), note(1, 2**22 + 2)], [note(2, 2**22 + 2), note(3)]))
    births.read()
    first = births.take(1)
    assert first is not None
    owner = first.process
    assert first.peer_port == 443
    assert (owner.pid, owner.name, owner.uid, owner.executable) == (2**22 + 1, "curl", 1000, None)
    assert births.take(1) is None
    assert births.take(2) is not None
    assert births.take(3) is None  # of a process that cannot be named here nobody is told


def test_the_oldest_notes_make_room_and_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    births = made_up(monkeypatch, Notes([note(cookie, 2**22 + 1) for cookie in range(6)]))
    births.read()
    assert births.lost == 3 + 2
    assert [births.take(cookie) is None for cookie in range(6)] == [True, True, False, False, False, False]


def test_a_turn_has_an_end_however_fast_notes_come(monkeypatch: pytest.MonkeyPatch) -> None:
    notes = Notes(*([note(cookie, 2**22 + 1)] for cookie in range(module.MOST_TURNS + 1)))
    births = made_up(monkeypatch, notes, most=100)
    births.read()
    assert len(notes.turns) == 1


def test_what_is_closed_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    notes = Notes([note(1, 2**22 + 1)])
    births = made_up(monkeypatch, notes)
    births.read()
    assert births.fileno() == 7
    births.close()
    assert notes.closed
    assert births.take(1) is None


def test_a_process_that_is_there_is_the_one_that_looks_know(monkeypatch: pytest.MonkeyPatch) -> None:
    here = processes.process(os.getpid())
    started = processes.start_ticks(os.getpid())
    assert started is not None
    found = processes.noted(os.getpid(), started * 10_000_000 + 1, "python", os.getuid())
    assert found == here
    assert found.executable == os.path.realpath(sys.executable)


@pytest.mark.slow
@pytest.mark.privileged
def test_each_of_3000_short_connections_has_its_owner(run: Run) -> None:
    """Of both sides: the caller's, a process that is gone by the end, and the one that accepted."""
    count = 3_000

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
            listener.setblocking(False)
            port = listener.getsockname()[1]
            async with watch(f"port={port}", namespaces="own", interval_seconds=60.0, keep_seconds=60.0) as watching:
                assert watching.births, watching.why_no_births
                caller = subprocess.Popen([sys.executable, "-c", CALLER, str(port), str(count)])
                loop = asyncio.get_running_loop()
                for _ in range(count):
                    callee, _ = await loop.sock_accept(listener)
                    callee.close()
                await loop.run_in_executor(None, caller.wait)
                owners: Counter[tuple[bool, int | None]] = Counter()
                async with asyncio.timeout(30):
                    while owners.total() + watching.lost < 2 * count:
                        for change in watching.take():
                            row = change.row
                            if change.kind == "closed" and row.entry.peer is not None and row.entry.local is not None:
                                pids = [process.pid for process in row.processes or ()]
                                owners[row.entry.local.port == port, pids[0] if pids else None] += 1
                                assert not row.processes or row.processes[0].name
                        await asyncio.sleep(0.01)
                known = owners[True, os.getpid()] + owners[False, caller.pid]
                births = watching._births
                assert births is not None
                assert known + births.lost + watching.lost >= 2 * count, owners

    run(main())


@pytest.mark.slow
@pytest.mark.privileged
def test_a_selection_by_process_finds_what_no_look_saw(run: Run) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            words = f"port={listener.getsockname()[1]} pid={os.getpid()} !listening"
            async with watch(words, namespaces="own", interval_seconds=60.0) as watching:
                with socket.create_connection(listener.getsockname()):
                    listener.accept()[0].close()
                async with asyncio.timeout(10):
                    async for change in watching:
                        if change.kind == "closed":
                            break

    run(main())


@pytest.mark.slow
@pytest.mark.privileged
def test_udp_and_resets_have_their_owner(run: Run) -> None:
    births = Births()
    try:
        with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            cookie = _cookie(datagrams)
        births.read()
        note = births.take(cookie)
        assert note is not None
        assert (note.process.pid, note.peer_port) == (os.getpid(), None)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            caller = socket.create_connection(listener.getsockname())
            callee, _ = listener.accept()
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            caller.close()  # a reset
            cookie = _cookie(callee)
            callee.close()
        births.read()
        note = births.take(cookie)
        assert note is not None
        assert (note.process.pid, note.peer_port) == (os.getpid(), None)
    finally:
        births.close()


@pytest.mark.slow
@pytest.mark.privileged
@pytest.mark.parametrize("place", ["127.0.0.1", "::1"])
def test_a_port_that_refused_or_was_reset_is_noted(place: str) -> None:
    births = Births()
    family = socket.AF_INET6 if ":" in place else socket.AF_INET
    try:
        with socket.socket(family) as unused, socket.socket(family) as caller:
            unused.bind((place, 0))
            with pytest.raises(ConnectionRefusedError):
                caller.connect(unused.getsockname())
            births.read()
            note = births.take(_cookie(caller))
            assert note is not None
            assert (note.process.pid, note.peer_port) == (os.getpid(), unused.getsockname()[1])
    finally:
        births.close()


@pytest.mark.slow
@pytest.mark.privileged
def test_without_permission_the_rest_goes_on_and_says_so() -> None:
    script = """
import asyncio, socket
from socketkit.inspect.watch import watch
async def main():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with watch(f"port={listener.getsockname()[1]}", namespaces="own", interval_seconds=60.0) as watching:
            assert not watching.births
            assert "CAP_BPF" in watching.why_no_births
            with socket.create_connection(listener.getsockname()):
                listener.accept()[0].close()
            async with asyncio.timeout(10):
                async for change in watching:
                    if change.kind == "closed":
                        assert change.row.processes is None
                        return
asyncio.run(main())
"""
    folder = str(Path(module.__file__).parents[2])
    words = [*UNPRIVILEGED, sys.executable, "-c", script]
    subprocess.run(words, check=True, timeout=60, env={**os.environ, "PYTHONPATH": folder})


@pytest.mark.slow
@pytest.mark.privileged
def test_numbers_are_those_of_the_readers_namespace(program: Callable[[str], str]) -> None:
    """And of what is not in it, nobody is named."""
    script = """
import os, socket
from socketkit import _core
births = _core.Births()
socket.socket(type=socket.SOCK_DGRAM).close()
pids = [note[2] for note in births.read()]
assert os.getpid() in pids and set(pids) <= {os.getpid(), None}, pids
"""
    words = [program("unshare"), "--fork", "--pid", "--mount-proc", sys.executable, "-c", script]
    folder = str(Path(module.__file__).parents[2])
    subprocess.run(words, check=True, timeout=60, env={**os.environ, "PYTHONPATH": folder})


def test_notes_that_cannot_be_read_are_an_end_of_the_notes_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting, writing = os.pipe()

    class Broken(Notes):
        def fileno(self) -> int:
            return waiting

        def read(self) -> list[Told]:
            raise OSError(74, "a record of version 9, not 1")

    broken = Broken()
    monkeypatch.setattr(_core, "Births", lambda: broken)

    async def main() -> None:
        async with watch("port=1", namespaces="own", interval_seconds=0.01) as watching:
            os.write(writing, b"1")
            async with asyncio.timeout(10):
                while not broken.closed:
                    await asyncio.sleep(0)
            assert not watching.births
            assert "version 9" in watching.why_no_births

    try:
        run(main())
    finally:
        os.close(waiting)
        os.close(writing)


def test_who_does_not_want_them_is_told_so(run: Run) -> None:
    async def main() -> None:
        async with watch("port=1", namespaces="own", births=False) as watching:
            assert (watching.births, watching.why_no_births) == (False, "not asked for")

    run(main())


@pytest.mark.privileged
def test_a_closed_one_hears_nothing() -> None:
    notes = _core.Births()
    assert notes.unheard == ()
    notes.close()
    notes.close()
    for asked in (notes.fileno, notes.read, lambda: notes.lost):
        with pytest.raises(ValueError, match="closed"):
            asked()


def _cookie(of: socket.socket) -> int:
    return int.from_bytes(of.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8), sys.byteorder)


SO_COOKIE = 57
