"""The socket table against the sockets that the tests themselves opened."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

import socketkit
from socketkit.errors import SelectionError
from socketkit.inspect.table import STATES, SocketEntry, SocketTable, as_json, sockets


@pytest.fixture
def opened(no_leaks: None) -> Iterator[ExitStack]:
    """Sockets that end with the test."""
    with ExitStack() as stack:
        yield stack


def entry_of(sock: socket.socket, rows: list[SocketEntry] | None = None) -> SocketEntry:
    """The one row of a socket of this process."""
    inode = os.fstat(sock.fileno()).st_ino
    (entry,) = (
        [row for row in socketkit.sockets() if row.inode == inode]
        if rows is None
        else [row for row in rows if row.inode == inode]
    )
    return entry


def test_a_listener(opened: ExitStack) -> None:
    sock = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=7))
    entry = entry_of(sock)
    assert (entry.scheme, entry.state, entry.exposure) == ("tcp", "listening", "loopback")
    assert str(entry.local) == f"tcp://127.0.0.1:{sock.getsockname()[1]}"
    assert entry.peer is None
    assert (entry.backlog, entry.backlog_limit) == (0, 7)
    assert (entry.receive_queue, entry.send_queue) == (0, 0)
    assert entry.processes is not None
    assert [process.pid for process in entry.processes] == [os.getpid()]
    assert entry.descriptors == ((os.getpid(), sock.fileno()),)
    assert (entry.uid, entry.namespace_name) == (os.geteuid(), "")
    assert entry.namespace == os.stat("/proc/self/ns/net").st_ino
    assert entry.state in STATES


def test_the_same_socket_at_another_look(opened: ExitStack) -> None:
    sock = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
    table = SocketTable(namespaces="own")
    first, second = entry_of(sock, table.refresh()), entry_of(sock, table.refresh())
    assert first == second
    assert hash(first) == hash(second)
    assert first is not second


def test_json_has_stable_names(opened: ExitStack) -> None:
    sock = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
    fields = as_json(entry_of(sock))
    assert (fields["scheme"], fields["local"], fields["unknown"]) == ("tcp", str(entry_of(sock).local), [])
    assert isinstance(fields["processes"], list)


def test_selected_sockets_only() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        (entry,) = sockets(f"port={port} listening")
        assert str(entry.local) == f"tcp://127.0.0.1:{port}"
        assert sockets(f"port={port} established") == []
    with pytest.raises(SelectionError, match="there is no prot"):
        sockets("prot=80")
