"""The socket table against the sockets that the tests themselves opened, and against `ss`."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import re
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

import socketkit
from socketkit import Endpoint
from socketkit.errors import SelectionError, SocketError, Unsupported
from socketkit.inspect.table import (
    STATES,
    EndedSockets,
    SocketEntry,
    SocketTable,
    as_json,
    destroy,
    endpoint_of,
    sockets,
)
from tests.in_threads import wait_until
from tests.threats.namespaces import Network

privileged = pytest.mark.privileged
LOCALHOST = ("127.0.0.1", 0)


@pytest.fixture
def opened(no_leaks: None) -> Iterator[ExitStack]:
    """Sockets that end with the test."""
    with ExitStack() as stack:
        yield stack


def entry_of(sock: socket.socket, rows: Sequence[SocketEntry] | None = None) -> SocketEntry:
    """The one row of a socket of this process."""
    inode = os.fstat(sock.fileno()).st_ino
    (entry,) = (
        [row for row in socketkit.sockets() if row.inode == inode]
        if rows is None
        else [row for row in rows if row.inode == inode]
    )
    return entry


def own_sockets() -> list[SocketEntry]:
    """Those of our own namespace: in others the same addresses may be in use."""
    return socketkit.sockets(namespaces="own")


def pids(entry: SocketEntry) -> list[int]:
    assert entry.processes is not None
    return [process.pid for process in entry.processes]


def connection(opened: ExitStack) -> tuple[socket.socket, socket.socket, socket.socket]:
    """A listener, and both ends of a connection to it."""
    listener = opened.enter_context(socket.create_server(LOCALHOST))
    client = opened.enter_context(socket.create_connection(listener.getsockname()))
    server, _ = listener.accept()
    return listener, client, opened.enter_context(server)


# --- one socket of each type


def test_a_listener(opened: ExitStack) -> None:
    sock = opened.enter_context(socket.create_server(LOCALHOST, backlog=7))
    entry = entry_of(sock)
    assert (entry.scheme, entry.state, entry.exposure) == ("tcp", "listening", "loopback")
    assert str(entry.local) == f"tcp://127.0.0.1:{sock.getsockname()[1]}"
    assert entry.peer is None
    assert (entry.backlog, entry.backlog_limit) == (0, 7)
    assert (entry.receive_queue, entry.send_queue) == (0, 0)
    assert pids(entry) == [os.getpid()]
    assert entry.descriptors == ((os.getpid(), sock.fileno()),)
    assert (entry.uid, entry.namespace_name) == (os.geteuid(), "")
    assert entry.namespace == os.stat("/proc/self/ns/net").st_ino
    assert (entry.received_bytes, entry.round_trip_ms, entry.quiet_seconds) == (None, None, None)
    assert repr(entry) == f"<SocketEntry tcp listening {entry.local} ->"


@pytest.mark.parametrize(
    ("family", "only_ipv6", "written"),
    [(socket.AF_INET, None, "tcp4"), (socket.AF_INET6, False, "tcp"), (socket.AF_INET6, True, "tcp6")],
)
def test_every_interface(opened: ExitStack, family: socket.AddressFamily, only_ipv6: bool | None, written: str) -> None:
    sock = opened.enter_context(socket.socket(family, socket.SOCK_STREAM))
    if only_ipv6 is not None:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only_ipv6)
    sock.bind(("", 0))
    sock.listen()
    entry = entry_of(sock)
    assert str(entry.local) == f"{written}://*:{sock.getsockname()[1]}"
    assert (entry.scheme, entry.exposure, entry.only_ipv6) == ("tcp", "everywhere", only_ipv6)
    assert Endpoint.parse(str(entry.local)) == entry.local


def test_a_connection_and_what_it_counts(opened: ExitStack) -> None:
    _, client, server = connection(opened)
    client.sendall(b"x" * 1000)
    assert server.recv(2000)
    server.sendall(b"y" * 300)
    rows = socketkit.sockets()
    one, other = entry_of(client, rows), entry_of(server, rows)
    assert (one.state, other.state) == ("established", "established")
    assert (one.local, one.peer) == (other.peer, other.local)
    # Neither the SYN nor an answer is a byte.
    assert (one.sent_bytes, one.received_bytes) == (1000, 300)
    assert (other.sent_bytes, other.received_bytes) == (300, 1000)
    assert (one.receive_queue, one.retransmits) == (300, 0)
    assert one.round_trip_ms is not None
    assert one.quiet_seconds is not None
    assert one.oldest_seconds is not None
    assert one.oldest_seconds >= (one.youngest_seconds or 0)


def test_half_a_connection_counts_no_end(opened: ExitStack) -> None:
    _, client, server = connection(opened)
    client.sendall(b"12345")
    client.shutdown(socket.SHUT_WR)
    while server.recv(100):
        pass
    entry = entry_of(server)
    assert (entry.state, entry.received_bytes) == ("close-wait", 5)
    # fin-wait-1 until the end is acknowledged, which the kernel may put off.
    assert entry_of(client).state in ("fin-wait-1", "fin-wait-2")


def test_what_nobody_accepted_yet_has_no_process(opened: ExitStack) -> None:
    listener = opened.enter_context(socket.create_server(LOCALHOST))
    client = opened.enter_context(socket.create_connection(listener.getsockname()))
    rows = own_sockets()
    assert entry_of(listener, rows).backlog == 1
    caller = entry_of(client, rows)
    ends = (caller.peer, caller.local)  # its port alone may have been another one's a moment ago
    (waiting,) = [row for row in rows if (row.local, row.peer) == ends]
    assert (waiting.inode, waiting.processes, waiting.descriptors) == (0, (), ())
    # The listener's. Root's is not told from none: older kernels give 0 for what has no socket yet.
    assert waiting.uid in (None, os.geteuid() or None)
    assert as_json(waiting)["unknown"] == []


def test_time_wait(opened: ExitStack) -> None:
    _, client, server = connection(opened)
    # Both ends: another connection from the same port may be in TIME_WAIT, too.
    ends = [f"tcp://127.0.0.1:{name[1]}" for name in (client.getsockname(), client.getpeername())]
    client.close()
    server.close()

    def waiting() -> list[SocketEntry]:
        rows = [row for row in own_sockets() if [str(row.local), str(row.peer)] == ends]
        return [row for row in rows if row.state == "time-wait"]

    # The kernel may put the last acknowledgement off.
    wait_until(lambda: bool(waiting()))
    (entry,) = waiting()
    assert (entry.processes, entry.uid) == ((), None)


def test_an_orphan_has_no_process(opened: ExitStack) -> None:
    _, client, server = connection(opened)
    # Both ends: another connection from the same port may be in TIME_WAIT.
    ends = [f"tcp://127.0.0.1:{name[1]}" for name in (client.getsockname(), client.getpeername())]
    client.close()  # the server does not: the kernel keeps this half without a descriptor

    def orphan() -> SocketEntry:
        (entry,) = [row for row in own_sockets() if [str(row.local), str(row.peer)] == ends]
        return entry

    # fin-wait-1 until the end is acknowledged, which the kernel may put off.
    wait_until(lambda: orphan().state == "fin-wait-2")
    entry = orphan()
    assert (entry.inode, entry.processes) == (0, ())
    assert entry_of(server).state == "close-wait"


def test_udp(opened: ExitStack) -> None:
    bound = opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    bound.bind(LOCALHOST)
    connected = opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    connected.connect(bound.getsockname())
    connected.send(b"hello")
    rows = socketkit.sockets()
    one, other = entry_of(bound, rows), entry_of(connected, rows)
    assert (one.scheme, one.state, other.state) == ("udp", "unconnected", "connected")
    assert (one.peer, other.peer) == (None, one.local)
    assert one.receive_queue > 0
    assert one.dropped == 0


@pytest.mark.parametrize(
    ("kind", "scheme"),
    [
        (socket.SOCK_STREAM, "unix"),
        (socket.SOCK_DGRAM, "dgram+unix"),
        (socket.SOCK_SEQPACKET, "seqpacket+unix"),
    ],
)
def test_unix_pairs(opened: ExitStack, kind: socket.SocketKind, scheme: str) -> None:
    one, other = map(opened.enter_context, socket.socketpair(socket.AF_UNIX, kind))
    rows = socketkit.sockets()
    entry = entry_of(one, rows)
    assert (entry.scheme, entry.state, entry.exposure) == (scheme, "connected", "machine")
    assert (entry.local, entry.unix_peer) == (None, entry_of(other, rows).inode)
    assert pids(entry) == [os.getpid()]


def test_unix_names_and_peers(opened: ExitStack, tmp_path: Path) -> None:
    path = str(tmp_path / "a.sock")
    listener = opened.enter_context(socket.socket(socket.AF_UNIX))
    listener.bind(path)
    listener.listen(3)
    client = opened.enter_context(socket.socket(socket.AF_UNIX))
    client.connect(path)
    accepted, _ = listener.accept()
    opened.enter_context(accepted)
    opened.enter_context(socket.socket(socket.AF_UNIX)).connect(path)
    abstract = opened.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    abstract.bind(f"\0socketkit-{os.getpid()}")
    rows = socketkit.sockets()
    entry = entry_of(listener, rows)
    assert (str(entry.local), entry.state) == (f"unix://{path}", "listening")
    assert (entry.backlog, entry.backlog_limit) == (1, 3)
    assert str(entry_of(client, rows).peer) == f"unix://{path}"
    assert str(entry_of(abstract, rows).local) == f"dgram+unix://@socketkit-{os.getpid()}"


@privileged
def test_raw_and_packet_sockets(opened: ExitStack) -> None:
    raw = opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
    raw6 = opened.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6))
    raw.bind(("127.0.0.1", 0))
    packets = opened.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
    packets.bind(("lo", 0x88CC))
    rows = socketkit.sockets()
    assert str(entry_of(raw, rows).local) == "raw+ip://127.0.0.1?proto=1"
    assert str(entry_of(raw6, rows).local) == "raw+ip://*?proto=58"
    entry = entry_of(packets, rows)
    assert (str(entry.local), entry.exposure, entry.interface) == ("raw+ethernet://lo?proto=0x88cc", "loopback", "lo")


def test_what_no_dump_has_is_found_by_its_descriptor(opened: ExitStack) -> None:
    unbound = opened.enter_context(socket.socket())
    bound = opened.enter_context(socket.socket())
    bound.bind(LOCALHOST)
    rows = socketkit.sockets()
    entry = entry_of(unbound, rows)
    assert (entry.scheme, entry.state, entry.local, entry.uid) == ("tcp", "closed", None, os.geteuid())
    assert entry.reuse_address is False
    assert pids(entry) == [os.getpid()]
    assert str(entry_of(bound, rows).local) == f"tcp://127.0.0.1:{bound.getsockname()[1]}"


def test_a_socket_that_is_bound_to_an_interface(opened: ExitStack) -> None:
    sock = opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
    sock.bind(("", 0))
    entry = entry_of(sock)
    assert (entry.interface, entry.exposure) == ("lo", "loopback")


# --- whose it is


HOLD = "import sys; print(flush=True); sys.stdin.read()"


@pytest.fixture
def hold(opened: ExitStack) -> Callable[..., subprocess.Popen[bytes]]:
    """Starts a program that says a line when it is ready, and ends with the test."""

    def start(*words: str, keep: tuple[int, ...] = (), **options: object) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=keep)
        opened.callback(child.wait, 10)
        opened.callback(child.communicate)
        assert child.stdout is not None
        assert child.stdout.readline()
        return child

    return start


def test_a_descriptor_in_two_processes(opened: ExitStack, hold: Callable[..., subprocess.Popen[bytes]]) -> None:
    sock = opened.enter_context(socket.create_server(LOCALHOST))
    copy = os.dup(sock.fileno())
    opened.callback(os.close, copy)
    child = hold(sys.executable, "-c", HOLD, keep=(sock.fileno(),))
    entry = entry_of(sock)
    assert sorted(pids(entry)) == sorted([os.getpid(), child.pid])
    assert set(entry.descriptors) == {(os.getpid(), sock.fileno()), (os.getpid(), copy), (child.pid, sock.fileno())}


@privileged
def test_a_thread_with_descriptors_of_its_own(opened: ExitStack) -> None:
    made: list[socket.socket] = []
    names: list[str] = []
    ready, done = threading.Event(), threading.Event()

    def alone() -> None:
        assert ctypes.CDLL(None).unshare(0x400) == 0  # CLONE_FILES
        made.append(socket.create_server(LOCALHOST))
        names.append(f"tcp://127.0.0.1:{made[0].getsockname()[1]}")
        ready.set()
        done.wait(20)
        made[0].close()

    thread = threading.Thread(target=alone)
    thread.start()
    try:
        assert ready.wait(10)
        (row,) = [row for row in own_sockets() if row.state == "listening" and str(row.local) == names[0]]
        assert row.descriptors == ((os.getpid(), made[0].fileno()),)
    finally:
        done.set()
        thread.join()


IN_A_NAMESPACE = """
import socket, sys
socks = [socket.create_server(("", 0)), socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket()]
socks[1].bind(("", 0))
print(socks[0].getsockname()[1], flush=True)
sys.stdin.read()
"""


@privileged
def test_other_network_namespaces(opened: ExitStack, hold: Callable[..., subprocess.Popen[bytes]]) -> None:
    child = hold("unshare", "--net", sys.executable, "-c", IN_A_NAMESPACE)
    namespace = os.stat(f"/proc/{child.pid}/ns/net").st_ino
    rows = [row for row in socketkit.sockets() if row.namespace == namespace]
    assert sorted((row.scheme, row.state) for row in rows) == [
        ("tcp", "closed"),
        ("tcp", "listening"),
        ("udp", "unconnected"),
    ]
    assert {row.namespace_name for row in rows} == {f"pid {child.pid}"}
    assert all(pids(row) == [child.pid] for row in rows)
    own = SocketTable(namespaces="own").refresh()
    assert {row.namespace_name for row in own} == {""}


@pytest.mark.slow
@privileged
@pytest.mark.parametrize("source", ["bpf", "netlink"])
def test_in_another_pid_namespace_numbers_are_those_of_there(program: Callable[[str], str], source: str) -> None:
    script = """
import os, socket, sys
from socketkit.inspect.table import sockets
with socket.create_server(("127.0.0.1", 0)) as listener:
    (row,) = sockets(f"port={listener.getsockname()[1]}", namespaces="own", source=sys.argv[1])
    assert [process.pid for process in row.processes] == [os.getpid()], row.processes
"""
    words = [program("unshare"), "--fork", "--pid", "--mount-proc", "--net", sys.executable, "-c", script, source]
    subprocess.run(words, check=True, timeout=60, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})


@privileged
def test_named_namespaces_and_those_that_only_a_socket_keeps(opened: ExitStack, program: Callable[[str], str]) -> None:
    name, ip = f"sk-table-{os.getpid()}", program("ip")
    subprocess.run([ip, "netns", "add", name], check=True)
    kept: list[socket.socket] = []

    def enter() -> None:
        with open(f"/run/netns/{name}") as place:
            assert ctypes.CDLL(None).setns(place.fileno(), 0) == 0
        kept.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        kept[0].bind(("", 0))

    try:
        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        opened.enter_context(kept[0])
        assert entry_of(kept[0]).namespace_name == name
    finally:
        subprocess.run([ip, "netns", "delete", name], check=True)
    entry = entry_of(kept[0])
    assert (entry.namespace_name, pids(entry)) == (f"pid {os.getpid()}", [os.getpid()])
    assert entry.namespace != os.stat("/proc/self/ns/net").st_ino


AS_ANOTHER = """
import json, os, pwd, socketkit
from socketkit.inspect.table import SocketTable, as_json
os.setgroups([]); os.setgid(65534); os.setuid(65534)
table = SocketTable()
rows = table.refresh()
print(json.dumps([table.complete, [as_json(row) for row in rows if row.scheme == "tcp"]]))
"""


@privileged
def test_what_another_user_may_not_know_is_marked(opened: ExitStack, python: Callable[..., str]) -> None:
    sock = opened.enter_context(socket.create_server(LOCALHOST))
    complete, rows = json.loads(python(AS_ANOTHER))
    assert complete is False
    (row,) = [row for row in rows if row["inode"] == os.fstat(sock.fileno()).st_ino]
    assert (row["processes"], row["unknown"], row["uid"]) == (None, ["processes"], os.geteuid())


# --- looking again


def test_the_same_socket_at_another_look(opened: ExitStack) -> None:
    sock = opened.enter_context(socket.create_server(LOCALHOST))
    table = SocketTable(namespaces="own")
    first, second = entry_of(sock, table.refresh()), entry_of(sock, table.refresh())
    assert first == second
    assert hash(first) == hash(second)
    assert first is not second
    assert first != entry_of(opened.enter_context(socket.create_server(LOCALHOST)), table.refresh())
    assert first != "another thing"


def test_rows_are_a_sequence(opened: ExitStack) -> None:
    sock = opened.enter_context(socket.create_server(LOCALHOST))
    rows = SocketTable().refresh()
    assert isinstance(rows, Sequence)
    assert repr(rows) == f"<SocketRows of {len(rows)} sockets>"
    entries = list(rows)
    assert len(entries) == len(rows) > 0
    assert entries[0] == rows[0] == rows[-len(rows)]
    assert list(reversed(rows)) == entries[::-1] == rows[::-1]
    assert rows[1:3] == entries[1:3]
    entry = entry_of(sock, rows)
    assert entry in rows
    assert rows.count(entry) == 1
    assert rows.index(entry) == entries.index(entry)
    assert "no socket" not in rows
    assert rows.count("no socket") == 0
    for beyond in (len(rows), -len(rows) - 1):
        with pytest.raises(IndexError):
            rows[beyond]
    with pytest.raises(TypeError, match="a number or a slice"):
        rows["0"]  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="not among them"):
        rows.index(entry, rows.index(entry) + 1)


def test_the_garbage_collector_does_not_look_through_entries(opened: ExitStack) -> None:
    opened.enter_context(socket.create_server(LOCALHOST))
    rows = SocketTable().refresh()
    assert not gc.is_tracked(rows[0])
    entry = next(iter(rows))
    del rows
    # It keeps what it needs of the look that it came from.
    assert entry.namespace > 0
    assert isinstance(entry.namespace_name, str)


def test_a_number_that_leads_elsewhere_by_now(opened: ExitStack) -> None:
    table = SocketTable(namespaces="own")
    sock = socket.create_server(LOCALHOST)
    number, before = sock.fileno(), entry_of(sock, table.refresh())
    sock.close()
    with open("/dev/null") as instead:
        assert instead.fileno() == number
        assert before not in table.refresh()
    sock = opened.enter_context(socket.create_server(LOCALHOST))
    assert pids(entry_of(sock, table.refresh())) == [os.getpid()]


def test_a_socket_in_the_place_of_a_file(opened: ExitStack) -> None:
    table = SocketTable(namespaces="own")
    with open("/dev/null") as file:
        table.refresh()
        number = file.fileno()
    sock = opened.enter_context(socket.create_server(LOCALHOST))
    assert sock.fileno() == number
    assert entry_of(sock, table.refresh()).descriptors == ((os.getpid(), number),)


def test_one_of_two_owners_that_let_go(opened: ExitStack, hold: Callable[..., subprocess.Popen[bytes]]) -> None:
    """What it holds is no less in number: a file took the place."""
    code = """
import os, sys
print(flush=True)
sys.stdin.readline()
os.close(int(sys.argv[1])); os.open("/dev/null", 0)
print(flush=True)
sys.stdin.read()
"""
    sock = opened.enter_context(socket.create_server(LOCALHOST))
    child = hold(sys.executable, "-c", code, str(sock.fileno()), keep=(sock.fileno(),))
    table = SocketTable(namespaces="own")
    assert sorted(pids(entry_of(sock, table.refresh()))) == sorted([os.getpid(), child.pid])
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(b"\n")
    child.stdin.flush()
    child.stdout.readline()
    assert pids(entry_of(sock, table.refresh())) == [os.getpid()]


def test_ages_are_bounded_by_looks(opened: ExitStack) -> None:
    table = SocketTable(namespaces="own")
    table.refresh()
    started = time.monotonic()
    sock = opened.enter_context(socket.create_server(LOCALHOST))
    table.refresh()
    entry = entry_of(sock, table.refresh())
    assert entry.youngest_seconds is not None
    assert entry.youngest_seconds <= time.monotonic() - started


# --- beside ss


@privileged
def test_it_has_what_ss_has(opened: ExitStack, program: Callable[[str], str]) -> None:
    """In a namespace that nobody else opens sockets in."""
    network = opened.enter_context(Network("lone"))
    opened.enter_context(network["lone"].entered())
    _, *ends = connection(opened)
    socket_pair = socket.socketpair()
    for sock in socket_pair:
        opened.enter_context(sock)
    datagrams = opened.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
    datagrams.bind(("::1", 0))
    told = subprocess.run([program("ss"), "-tuwxanpeH"], capture_output=True, text=True, check=True).stdout
    rows = {row.inode: row for row in SocketTable(namespaces="own").refresh() if row.inode}
    of_ss = {int(number) for number in re.findall(r"\bino:(\d+)", told)}
    of_ss |= {int(line.split()[5]) for line in told.splitlines() if line.startswith(("u_str", "u_dgr", "u_seq"))}
    assert {os.fstat(sock.fileno()).st_ino for sock in (*ends, *socket_pair, datagrams)} <= of_ss
    assert of_ss - {0} <= rows.keys()
    mine = f"pid={os.getpid()},"
    held = {int(found[1]) for line in told.splitlines() if mine in line and (found := re.search(r"ino:(\d+)", line))}
    assert held
    assert all(pids(rows[inode]) == [os.getpid()] for inode in held)


# --- words


def test_json_has_stable_names(opened: ExitStack) -> None:
    sock = opened.enter_context(socket.create_server(LOCALHOST))
    entry = entry_of(sock)
    fields = as_json(entry)
    assert (fields["scheme"], fields["local"], fields["unknown"]) == ("tcp", str(entry.local), [])
    assert entry.processes is not None
    owner = entry.processes[0]
    expected = {"pid": os.getpid(), "name": owner.name, "command": list(owner.command), "user": owner.user}
    assert isinstance(fields["processes"], list)
    assert expected.items() <= fields["processes"][0].items()
    assert {"received_bytes", "namespace_name", "oldest_seconds", "exposure"} <= set(fields)
    assert entry.state in STATES


@pytest.mark.parametrize("arguments", [{"namespaces": "some"}, {"source": "magic"}])
def test_wrong_words_are_refused(arguments: dict[str, str]) -> None:
    with pytest.raises(ValueError, match='is "a'):
        SocketTable(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("scheme", "raw", "protocol", "interface", "written"),
    [
        ("tcp", "0a000050000000" + "00fe80" + "00" * 13 + "01" + "02000000", 6, "eth0", "tcp://[fe80::1%25eth0]:80"),
        ("raw+ethernet", "110088cc00000000", 0x88CC, "", "raw+ethernet://*?proto=0x88cc"),
        ("vsock", "28000000" + "00040000" + "ffffffff" + "00000000", 0, "", "vsock://*:1024"),
        ("bt-rfcomm", "1f00" + "665544332211" + "03", 3, "", "bt-rfcomm://11-22-33-44-55-66:3"),
        ("bt-l2cap", "1f00" + "0110" + "665544332211", 0, "", "bt-l2cap://11-22-33-44-55-66:4097"),
        ("sctp", "02000050" + "00" * 12, 132, "", "sctp://*:80"),
        ("icmp", "02000000" + "00" * 12, 1, "", "icmp://*"),
    ],
)
def test_raw_addresses(scheme: str, raw: str, protocol: int, interface: str, written: str) -> None:
    assert str(endpoint_of(scheme, bytes.fromhex(raw), protocol, False, interface)) == written


# --- what ends


def port_of(endpoint: Endpoint | None) -> int | None:
    return endpoint.port if endpoint is not None else None


def test_no_short_connection_is_missed(opened: ExitStack) -> None:
    """3,000 of them: each end is told with what it had counted, whoever closed first."""
    ended = EndedSockets()
    opened.callback(ended.close)
    listener = opened.enter_context(socket.create_server(LOCALHOST, backlog=64))
    port, expected = listener.getsockname()[1], {}
    for number in range(3000):
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
        client.sendall(bytes(number))
        server.sendall(bytes(number % 7))
        expected[client.getsockname()[1]] = (number, number % 7)
        first, second = (client, server) if number % 2 else (server, client)
        first.shutdown(socket.SHUT_WR)
        while second.recv(65_536):
            pass
        second.close()
        while first.recv(65_536):
            pass
        first.close()
    heard: dict[tuple[str, int | None], tuple[int | None, int | None]] = {}
    deadline = time.monotonic() + 20
    while len(heard) < 6000 and time.monotonic() < deadline:
        select.select([ended.fileno()], [], [], 1)
        for row in ended.read():
            assert row.state in ("closed", "connected", "unconnected")
            local, peer = port_of(row.local), port_of(row.peer)
            if row.scheme == "tcp" and peer == port and local in expected:
                heard["client", local] = (row.sent_bytes, row.received_bytes)
            elif row.scheme == "tcp" and local == port and peer in expected:
                heard["server", peer] = (row.received_bytes, row.sent_bytes)
    assert ended.lost == 0
    assert heard == {(end, number): counts for number, counts in expected.items() for end in ("client", "server")}


def test_what_ended_is_the_socket_that_was_a_row(opened: ExitStack) -> None:
    ended = EndedSockets(namespaces="own")
    opened.callback(ended.close)
    sock = socket.create_server(LOCALHOST)
    entry = entry_of(sock)
    sock.close()
    heard: list[SocketEntry] = []
    deadline = time.monotonic() + 10
    while entry not in heard and time.monotonic() < deadline:
        select.select([ended.fileno()], [], [], 1)
        heard += ended.read()
    assert entry in heard


def test_closed_is_closed(opened: ExitStack) -> None:
    ended = EndedSockets(namespaces="own")
    assert ended.complete
    ended.close()
    ended.close()
    with pytest.raises(ValueError, match="closed"):
        ended.read()
    with pytest.raises(ValueError, match="closed"):
        ended.fileno()


# --- ending them


@privileged
def test_a_connection_is_ended(opened: ExitStack) -> None:
    _, client, server = connection(opened)
    entry = entry_of(client)
    destroy(entry)
    with pytest.raises(ConnectionAbortedError):
        client.recv(1)
    with pytest.raises(ConnectionResetError):
        server.recv(1)
    with pytest.raises(SocketError, match="ended already"):
        destroy(entry)


def test_what_cannot_be_ended_says_what_can(opened: ExitStack) -> None:
    one, _ = map(opened.enter_context, socket.socketpair())
    with pytest.raises(Unsupported, match=rf"not unix: kill {os.getpid()} instead"):
        destroy(entry_of(one))


END_ONE = """
import os, socket
from socketkit.inspect.table import destroy, sockets
os.setgroups([]); os.setgid(65534); os.setuid(65534)
sock = socket.create_server(("127.0.0.1", 0))
(row,) = [row for row in sockets(namespaces="own") if row.inode == os.fstat(sock.fileno()).st_ino]
try:
    destroy(row)
except OSError as failure:
    print(failure)
"""


@privileged
def test_who_may_not_is_told(python: Callable[..., str]) -> None:
    assert "needs CAP_NET_ADMIN in its network namespace: use sudo" in python(END_ONE)


def test_selected_sockets_only() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        (entry,) = sockets(f"port={port} listening")
        assert str(entry.local) == f"tcp://127.0.0.1:{port}"
        assert sockets(f"port={port} established") == []
    with pytest.raises(SelectionError, match="there is no prot"):
        sockets("prot=80")
