"""`socketkit ls`, as it is run; what the table knows is in tests/inspect/test_table.py."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from socketkit.cli.ls import COLUMNS
from tests.cli.programs import Result, Start
from tests.cli.terminals import Terminal
from tests.threats.namespaces import Network

Ran = Callable[..., Result]

pytestmark = pytest.mark.slow


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket, socket.socket]]:
    """A listener, and both ends of a connection to it; 5 bytes wait to be received."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname()) as caller:
            callee, _ = listener.accept()
            with callee:
                caller.send(b"hello")
                yield listener, caller, callee


def these(pair: tuple[socket.socket, socket.socket, socket.socket]) -> str:
    """The term that selects them: a port may be of one that is in TIME_WAIT, too, or in another namespace."""
    return "inode=" + ",".join(str(os.fstat(sock.fileno()).st_ino) for sock in pair)


def lines(result: Result) -> list[str]:
    assert result.status == 0, result.err
    return result.out.decode().splitlines()


def test_table(ran: Ran, pair: tuple[socket.socket, socket.socket, socket.socket]) -> None:
    listener, caller, _ = pair
    ours, theirs = listener.getsockname()[1], caller.getsockname()[1]
    header, *rows = lines(ran("ls", these(pair)))
    assert header.split() == ["state", "local", "peer", "process", "user", "use"]
    assert [row.split()[:3] for row in rows] == [
        ["listening", f"tcp://127.0.0.1:{ours}", "(loopback)"],
        *sorted(
            [
                ["established", f"tcp://127.0.0.1:{theirs}", f"tcp://127.0.0.1:{ours}"],
                ["established", f"tcp://127.0.0.1:{ours}", f"tcp://127.0.0.1:{theirs}"],
            ],
            key=lambda row: int(row[1].rpartition(":")[2]),
        ),
    ]
    assert all(f"[{os.getpid()}]" in row for row in rows)


def test_what_it_prints_can_be_connected_to(ran: Ran, socketkit: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        printed = lines(ran("ls", "--own", "--columns", "local", "--listen", f"pid={os.getpid()}"))[1:]
        assert printed == [f"tcp://127.0.0.1:{listener.getsockname()[1]}"]
        listener.settimeout(10)
        caller = socketkit("connect", printed[0])
        callee, _ = listener.accept()
        with callee:
            callee.send(b"hello")
        assert caller.finish().out == b"hello"


def test_unix_sockets_are_counted_unless_asked_for(ran: Ran) -> None:
    left, right = socket.socketpair()
    with left, right:
        plain, everything = ran("ls"), ran("ls", "--all")
        assert " Unix socket" in plain.err
        assert not any("unix://" in line for line in lines(plain))
        assert "--all" not in everything.err
        inode = os.fstat(left.fileno()).st_ino
        assert len(lines(ran("ls", "--columns", "local,peer", f"inode={inode}"))) == 2


def test_listen_has_open_datagram_sockets(ran: Ran) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connected:
            connected.connect(bound.getsockname())
            found = lines(ran("ls", "-l", "--columns", "local", f"pid={os.getpid()}", "udp"))[1:]
            assert found == [f"udp://127.0.0.1:{bound.getsockname()[1]}"]


def test_json(ran: Ran, pair: tuple[socket.socket, socket.socket, socket.socket]) -> None:
    port = pair[0].getsockname()[1]
    rows = [json.loads(line) for line in lines(ran("ls", "--json", these(pair), f"local-port={port}", "established"))]
    (row,) = rows
    assert (row["state"], row["receive_queue"]) == ("established", 5)
    assert row["local"] == f"tcp://127.0.0.1:{port}"
    assert row["processes"][0]["pid"] == os.getpid()
    assert {"name", "protocol", "confidence", "reason"} == set(row["use"])
    assert row["encrypted"] == "unknown"


def test_tree(ran: Ran, pair: tuple[socket.socket, socket.socket, socket.socket]) -> None:
    title, *rows = lines(ran("ls", "--tree", these(pair)))
    assert f"(pid {os.getpid()}, " in title
    assert len(rows) == 3
    assert all(row.startswith("  ") for row in rows)


def test_columns_and_order(ran: Ran, pair: tuple[socket.socket, socket.socket, socket.socket]) -> None:
    port = pair[0].getsockname()[1]
    where = [these(pair)]
    header, first, *_ = lines(ran("ls", "--columns", "receive-queue, local", "--sort", "receive-queue", *where))
    assert header.split() == ["receive-queue", "local"]
    assert first.split() == ["5", f"tcp://127.0.0.1:{port}"]
    for name in COLUMNS:
        assert len(lines(ran("ls", "--columns", name, *where))) == 4, name


@pytest.mark.privileged
def test_kill(ran: Ran, socketkit: Start, pair: tuple[socket.socket, socket.socket, socket.socket]) -> None:
    _, caller, callee = pair
    term = f"inode={os.fstat(caller.fileno()).st_ino}"  # a port may be somebody else's in another namespace
    alone = ran("ls", "--kill", term, start_new_session=True)
    assert (alone.status, "there is no terminal: add --yes" in alone.err) == (2, True)
    terminal = Terminal()
    program = socketkit("ls", "--kill", term, **terminal.options())
    terminal.asked("Close 1 socket? [yes / no] ")
    terminal.answer("no")
    assert program.finish().status == 0
    terminal.close()
    caller.send(b" again")
    assert ran("ls", "--kill", "--yes", term, start_new_session=True).err.startswith("closed 1 socket\n")
    with pytest.raises(OSError, match="abort"):
        caller.send(b"more")
    with pytest.raises(ConnectionResetError):
        while callee.recv(100):
            pass


@pytest.mark.privileged
def test_kill_goes_on_after_what_has_ended_and_what_cannot_be_closed(
    socketkit: Start, pair: tuple[socket.socket, socket.socket, socket.socket], tmp_path: Path
) -> None:
    _, caller, callee = pair
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unix, socket.socket(type=socket.SOCK_DGRAM) as ends:
        unix.bind(str(tmp_path / "unix"))
        ends.bind(("127.0.0.1", 0))
        inodes = ",".join(str(os.fstat(each.fileno()).st_ino) for each in (unix, ends, caller))
        with closing(Terminal()) as terminal:
            program = socketkit("ls", "--kill", f"inode={inodes}", **terminal.options())
            terminal.asked("Close 3 sockets? [yes / no] ")
            ends.close()
            terminal.answer("yes")
            done = program.finish()
    assert done.status == 1
    assert done.err.startswith("closed 1 socket; 1 had ended already\n")
    assert "only TCP and UDP sockets can be ended" in done.err
    with pytest.raises(ConnectionResetError):
        while callee.recv(100):
            pass


@pytest.mark.privileged
def test_kill_shows_the_namespaces_of_what_it_closes(ran: Ran, program: Callable[[str], str]) -> None:
    program("ip")
    with Network("server") as network:
        with network["server"].entered():
            listener = socket.create_server(("0.0.0.0", 0))
        with listener:
            term = f"inode={os.fstat(listener.fileno()).st_ino}"
            asked = ran("ls", "--kill", term, start_new_session=True)
        assert network["server"].namespace in asked.out.decode()


@pytest.mark.privileged
def test_what_a_user_may_not_know_is_marked(ran: Ran, program: Callable[[str], str], socketkit: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        term = f"inode={os.fstat(listener.fileno()).st_ino}"
        words = [program("setpriv"), "--reuid", "65534", "--clear-groups"]
        result = ran_as(socketkit, words, "ls", term)
        assert lines(result)[1].split()[3] == "?"
        assert "? is what cannot be known: run it with sudo" in result.err
        row = json.loads(lines(ran_as(socketkit, words, "ls", "--json", term))[0])
        assert row["processes"] is None
        assert "processes" in row["unknown"]


def ran_as(socketkit: Start, before: list[str], *words: str) -> Result:
    import subprocess
    import sys

    done = subprocess.run([*before, sys.executable, "-m", "socketkit", *words], capture_output=True, timeout=20)
    return Result(done.returncode, done.stdout, done.stderr.decode())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--tree", "--json"], "exclude each other"),
        (["--kill"], "name what is to go"),
        (["--columns", "peeer"], "there is no column peeer (did you mean peer?)"),
        (["--columns", ","], "--columns names none"),
        (["--sort", "x"], "there is no column x (there are state, "),
        (["prot=80"], "there is no prot (did you mean port?)\n  prot=80\n  ^"),
    ],
)
def test_wrong_command_lines(ran: Ran, words: list[str], said: str) -> None:
    result = ran("ls", *words)
    assert result.status == 2
    assert said in result.err
