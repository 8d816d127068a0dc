"""The socket table by BPF and by netlink: both tell the same of the same sockets."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from socketkit.inspect.table import SocketEntry, SocketTable, as_json

pytestmark = pytest.mark.privileged

# What only one of the two knows, what belongs to the moment, and what depends on when a table looked first.
DIFFERENT = {
    "dropped",
    "only_ipv6",
    "reuse_address",
    "reuse_port",
    "oldest_seconds",
    "youngest_seconds",
    "quiet_seconds",
}


@pytest.fixture
def opened(no_leaks: None) -> Iterator[ExitStack]:
    """Sockets that end with the test."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture(params=["bpf", "netlink"])
def table(request: pytest.FixtureRequest) -> SocketTable:
    found = SocketTable(source=request.param)
    assert (found.source, found.why) == (request.param, "")
    return found


def inode_of(sock: socket.socket) -> int:
    return os.fstat(sock.fileno()).st_ino


def entry_of(sock: socket.socket, table: SocketTable) -> SocketEntry:
    (entry,) = (row for row in table.refresh() if row.inode == inode_of(sock))
    return entry


def tcp_pair(opened: ExitStack, family: int = socket.AF_INET) -> tuple[socket.socket, socket.socket, socket.socket]:
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    listener = opened.enter_context(socket.create_server((host, 0), family=family, backlog=9))
    caller = opened.enter_context(socket.create_connection(listener.getsockname()[:2]))
    return listener, caller, opened.enter_context(listener.accept()[0])


def of_every_kind(opened: ExitStack, folder: Path) -> list[socket.socket]:
    kinds = [*tcp_pair(opened), *tcp_pair(opened, socket.AF_INET6)]
    kinds[1].sendall(b"x" * 1000)

    def make(
        family: int, kind: int, protocol: int = 0, where: tuple[str, int] | str | bytes | None = None
    ) -> socket.socket:
        sock = opened.enter_context(socket.socket(family, kind, protocol))
        if where is not None:
            sock.bind(where)
        kinds.append(sock)
        return sock

    datagrams = make(socket.AF_INET, socket.SOCK_DGRAM, 0, ("127.0.0.1", 0))
    make(socket.AF_INET, socket.SOCK_DGRAM).connect(datagrams.getsockname())
    kinds[-1].send(b"waits")
    make(socket.AF_INET6, socket.SOCK_DGRAM, 0, ("::", 0))
    make(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    make(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88B5), ("lo", 0x88B5))
    for number, kind in enumerate((socket.SOCK_STREAM, socket.SOCK_SEQPACKET)):
        path = str(folder / str(number))
        make(socket.AF_UNIX, kind, 0, path).listen(3)
        make(socket.AF_UNIX, kind).connect(path)
        kinds.append(opened.enter_context(kinds[-2].accept()[0]))
        kinds[-1].send(b"waits")
    make(socket.AF_UNIX, socket.SOCK_DGRAM, 0, b"\0socketkit-" + os.urandom(8).hex().encode())
    return kinds


def test_both_say_the_same_of_every_kind(opened: ExitStack, tmp_path: Path) -> None:
    kinds = {inode_of(sock): sock for sock in of_every_kind(opened, tmp_path)}
    told = []
    for table in (SocketTable(source="bpf"), SocketTable(source="netlink")):
        rows = table.refresh()
        told.append({row.inode: as_json(row) for row in rows if row.inode in kinds})
    bpf, netlink = told
    assert bpf.keys() == netlink.keys() == kinds.keys()
    for inode, fields in bpf.items():
        # Of raw and ping sockets /proc/net tells no cookie, where it is the only one that tells of them.
        different = DIFFERENT | (set() if netlink[inode]["cookie"] else {"cookie"})
        left = {name: value for name, value in fields.items() if name not in different}
        assert left == {name: value for name, value in netlink[inode].items() if name not in different}, kinds[inode]


def test_an_orphan_is_not_yet_in_time_wait(table: SocketTable, opened: ExitStack) -> None:
    listener = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
    caller = socket.create_connection(listener.getsockname())
    opened.enter_context(listener.accept()[0])
    ends = [f"tcp://127.0.0.1:{sock.getsockname()[1]}" for sock in (caller, listener)]
    caller.close()
    deadline = time.monotonic() + 10
    while True:
        (left,) = [row for row in table.refresh() if [str(row.local), str(row.peer)] == ends]
        if left.state != "fin-wait-1" or time.monotonic() > deadline:
            break
    assert (left.state, left.inode, left.processes) == ("fin-wait-2", 0, ())


def test_a_connection_that_nobody_accepted(table: SocketTable, opened: ExitStack) -> None:
    listener = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
    caller = opened.enter_context(socket.create_connection(listener.getsockname()))
    where = f"tcp://127.0.0.1:{caller.getsockname()[1]}"
    here = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    (waiting,) = (row for row in table.refresh() if (str(row.local), str(row.peer)) == (here, where))
    assert (waiting.state, waiting.inode, waiting.processes) == ("established", 0, ())
    assert entry_of(listener, table).backlog == 1


def test_what_time_wait_is_left_of_a_connection(table: SocketTable, opened: ExitStack) -> None:
    listener, caller, accepted = tcp_pair(opened)
    ends = [f"tcp://127.0.0.1:{sock.getsockname()[1]}" for sock in (caller, listener)]
    caller.close()
    assert accepted.recv(1) == b""
    accepted.close()
    # The last segment of the other side may still be on its way.
    for _ in range(1000):
        rows = [row for row in table.refresh() if [str(row.local), str(row.peer)] == ends]
        if rows and rows[0].state == "time-wait":
            break
    (left,) = rows
    assert (left.state, left.uid, left.processes) == ("time-wait", None, ())


def test_one_row_for_several_descriptors_and_processes(table: SocketTable, opened: ExitStack) -> None:
    sock = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
    again = opened.enter_context(sock.dup())
    code = "import sys; print(flush=True); sys.stdin.read()"
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[sock.fileno()]
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"\n"
        entry = entry_of(sock, table)
        child.communicate()
    expected = {(os.getpid(), sock.fileno()), (os.getpid(), again.fileno()), (child.pid, sock.fileno())}
    assert set(entry.descriptors or ()) == expected
    assert {process.pid for process in entry.processes or ()} == {os.getpid(), child.pid}


def test_a_thread_with_descriptors_of_its_own(table: SocketTable, opened: ExitStack) -> None:
    clone_files = 0x400
    libc = ctypes.CDLL(None, use_errno=True)
    made, looked = threading.Event(), threading.Event()
    inodes: list[int] = []

    def alone() -> None:
        assert libc.unshare(clone_files) == 0
        with socket.create_server(("127.0.0.1", 0)) as sock:
            inodes.append(inode_of(sock))
            made.set()
            looked.wait()

    thread = threading.Thread(target=alone)
    thread.start()
    made.wait(10)
    try:
        (entry,) = (row for row in table.refresh() if row.inode == inodes[0])
    finally:
        looked.set()
        thread.join()
    assert [process.pid for process in entry.processes or ()] == [os.getpid()]


def test_a_socket_on_its_way_through_another(table: SocketTable, opened: ExitStack) -> None:
    one, other = socket.socketpair()
    opened.enter_context(one)
    opened.enter_context(other)
    sent = socket.create_server(("127.0.0.1", 0))
    where, inode = sent.getsockname(), inode_of(sent)
    socket.send_fds(one, [b"x"], [sent.fileno()])
    sent.close()
    (entry,) = (row for row in table.refresh() if row.inode == inode)
    assert str(entry.local) == f"tcp://127.0.0.1:{where[1]}"
    # A process that this one does not see could as well have it.
    assert (entry.processes, table.complete) == (None, False)


def test_what_comes_and_goes_between_looks(table: SocketTable, opened: ExitStack) -> None:
    """Lists that are left out while descriptors lead to all that they have are read again when that ends."""
    listener = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
    where = listener.getsockname()
    here = f"tcp://127.0.0.1:{where[1]}"
    for _ in range(2):
        assert entry_of(listener, table).backlog == 0
    callers = [opened.enter_context(socket.create_connection(where)) for _ in range(3)]
    ends = {f"tcp://127.0.0.1:{caller.getsockname()[1]}" for caller in callers}
    for _ in range(2):
        waiting = [row for row in table.refresh() if row.inode == 0 and str(row.local) == here]
        assert ({str(row.peer) for row in waiting}, {row.processes for row in waiting}) == (ends, {()})
    accepted = [opened.enter_context(listener.accept()[0]) for _ in callers]
    for _ in range(2):
        rows = table.refresh()
        held = [row for row in rows if row.inode in {inode_of(sock) for sock in accepted}]
        assert [[process.pid for process in row.processes or ()] for row in held] == [[os.getpid()]] * 3
        assert not [row for row in rows if row.inode == 0 and str(row.local) == here]


def test_few_sockets_are_asked_for_by_netlink_at_first() -> None:
    code = "from socketkit._core import SocketTable; t = SocketTable(); print(t.source, t.why); "
    code += "\nfor _ in range(10_000):\n t.refresh()\n if t.source == 'bpf': break\nprint(t.source, t.why)"
    paths = f"import sys; sys.path[:] = {sys.path!r};"
    command = ["unshare", "--net", sys.executable, "-c", paths + code]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    assert told.split() == ["netlink", "bpf"]


def test_other_namespaces(table: SocketTable, opened: ExitStack) -> None:
    code = (
        "import os, socket, sys; s = socket.create_server(('', 0));"
        "print(os.fstat(s.fileno()).st_ino, os.stat('/proc/self/ns/net').st_ino,"
        " flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        ["unshare", "--net", sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with child:
        assert child.stdout is not None
        inode, namespace = (int(word) for word in child.stdout.readline().split())
        found = [row for row in table.refresh() if row.inode == inode]
        own = SocketTable(source="bpf" if table.source == "bpf" else "netlink", namespaces="own").refresh()
        child.communicate()
    assert [(row.namespace, row.namespace_name) for row in found] == [(namespace, f"pid {child.pid}")]
    assert not [row for row in own if row.inode == inode]


def without_permission(code: str) -> str:
    command = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"]
    done = subprocess.run([*command, sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def look() -> Callable[[str], str]:
    paths = f"import sys; sys.path[:] = {sys.path!r};"
    return lambda code: without_permission(paths + "from socketkit._core import SocketTable;" + code)


def test_without_permission_netlink_is_asked(look: Callable[[str], str]) -> None:
    told = look("t = SocketTable(); print(t.source, '|', t.why, '|', len(t.refresh()) > 0)")
    assert told == "netlink | not permitted: BPF takes root, or CAP_BPF and CAP_PERFMON | True"


def test_bpf_that_is_asked_for_and_not_permitted_is_an_error(look: Callable[[str], str]) -> None:
    code = "\ntry: SocketTable(source='bpf')\nexcept PermissionError as error: print(error)"
    assert look(code).endswith('CAP_BPF and CAP_PERFMON; source="netlink" asks in another way')


def test_a_source_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match='source is "auto", "bpf" or "netlink", not "ebpf"'):
        SocketTable(source="ebpf")  # type: ignore[arg-type]
