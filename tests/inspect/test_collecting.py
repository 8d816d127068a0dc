from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

from socketkit.inspect.collecting import Collecting
from socketkit.inspect.table import SocketEntry, SocketTable
from socketkit.inspect.watch import watch
from tests.conftest import Run
from tests.inspect.test_first_bytes import ANSWER
from tests.threats.namespaces import FOLDER, Host, Network

pytestmark = pytest.mark.privileged
T = TypeVar("T")


@pytest.fixture
def hosts() -> Iterator[Network]:
    with Network("caller", "callee") as network:
        yield network


def inode_of(host: Host) -> int:
    return os.stat(FOLDER / host.namespace).st_ino


def until(asked: Callable[[], T | None]) -> T:
    end = time.monotonic() + 10
    while (found := asked()) is None:
        assert time.monotonic() < end
        time.sleep(0.01)
    return found


def conversation(hosts: Network) -> tuple[socket.socket, socket.socket]:
    """A request and its answer, from one host to the other."""
    with hosts["callee"].entered():
        listener = socket.create_server((hosts["callee"].ip4, 0))
    with listener, hosts["caller"].entered():
        caller = socket.create_connection(listener.getsockname())
        callee, _ = listener.accept()
    caller.sendall(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
    callee.recv(100)
    callee.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    caller.recv(100)
    return caller, callee


def entry_of(sock: socket.socket) -> SocketEntry:
    inode = os.fstat(sock.fileno()).st_ino
    (entry,) = (row for row in SocketTable().refresh() if row.inode == inode)
    return entry


def test_each_namespace_tells_of_its_own_flows(hosts: Network, no_leaks: None) -> None:
    names = {inode_of(hosts[name]): hosts[name].namespace for name in ("caller", "callee")}
    with Collecting() as collecting:
        collecting.follow(names)
        assert collecting.namespaces == {os.stat("/proc/self/ns/net").st_ino, *names}
        caller, callee = conversation(hosts)
        with caller, callee:
            for sock in (caller, callee):
                entry = entry_of(sock)
                assert until(lambda entry=entry: collecting.lookup(entry)).purpose == "web"  # type: ignore[misc]
            one = entry_of(callee)
            collecting.follow({inode: name for inode, name in names.items() if inode != one.namespace})
            assert collecting.lookup(one) is None
            assert collecting.lookup(entry_of(caller)) is not None


def test_names_are_those_that_were_told_in_the_sockets_namespace(hosts: Network) -> None:
    host, far = hosts["caller"], hosts["callee"]
    with Collecting() as collecting:
        collecting.follow({inode_of(host): host.namespace})
        with host.entered(), socket.socket(type=socket.SOCK_DGRAM) as answering:
            answering.bind((host.ip4, 5355))  # LLMNR's
            answering.sendto(ANSWER[:-4] + socket.inet_aton(far.ip4), answering.getsockname())
        caller, callee = conversation(hosts)
        with caller, callee:
            entry = entry_of(caller)
            assert until(lambda: collecting.names(entry) or None) == ("www.example.com",)
            assert collecting.names(entry_of(callee)) == ()  # nobody collects there


def test_what_cannot_be_entered_is_told_without_bytes(hosts: Network) -> None:
    there = inode_of(hosts["caller"])
    with Collecting(most=1) as collecting:
        own = collecting.namespaces
        collecting.follow({1: "sk-of-nobody", 2: "pid 0", 3: ""})
        assert collecting.namespaces == own
        collecting.follow({there: hosts["caller"].namespace, inode_of(hosts["callee"]): hosts["callee"].namespace})
        assert collecting.namespaces == own | {there}  # one, and it is no more than `most`


@pytest.mark.slow
def test_watching_says_what_a_connection_elsewhere_was_for(run: Run, hosts: Network, no_leaks: None) -> None:
    async def main() -> None:
        async with watch(interval_seconds=0.05) as watching:
            caller, callee = conversation(hosts)
            caller.close()
            callee.close()
            wanted = {inode_of(hosts["caller"]), inode_of(hosts["callee"])}
            async for change in watching:
                entry = change.row.entry
                if change.kind == "closed" and entry.namespace in wanted and entry.peer is not None:
                    assert (change.row.use.name, change.row.use.encrypted) == ("web", "no")
                    assert change.row.use.protocol.startswith("HTTP")
                    wanted.discard(entry.namespace)
                if not wanted:
                    break

    run(main())
