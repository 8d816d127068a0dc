"""Open ports, found: in views that were made up, and on this machine, until the remedy was applied."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from socketkit.inspect.expected_ports import Expected
from socketkit.threats.audit import findings
from socketkit.threats.finding import Finding
from socketkit.threats.open_ports import CHECKS, find
from socketkit.threats.view import ListenerPast, Program, Recorded, Remembered
from tests.threats.findings.looking import TABLE, about, seen
from tests.threats.made_up import NOW, Evidence, Row, ids, only, view
from tests.threats.made_up import Program as Process
from tests.threats.namespaces import Network


def test_each_check_points_at_its_page() -> None:
    assert {check.page for check in CHECKS} == {"open-ports"}


def test_what_stays_on_this_machine_is_not_open() -> None:
    assert ids(find(view(Row("tcp://127.0.0.1:8080"), Row("unix:///run/a.sock")))) == []


def test_open_port_until_it_is_declared() -> None:
    row = Row("tcp://*:7171?plaintext=yes")
    assert ids(find(view(row))) == [("OP1", "medium")]
    assert ids(find(view(row, expected=[Expected(7171, "udp")]))) == [("OP1", "medium")]
    assert ids(find(view(row, expected=[Expected(7171)]))) == []


def test_who_only_asks_others_is_told_mildly() -> None:
    row = Row("udp://*:40000?plaintext=yes")
    found = list(find(view(row, sysctls={"net.ipv4.ip_local_port_range": "32768 60999"})))
    assert ids(found) == [("OP1", "info")]


def test_plain_text_by_its_port_is_milder_than_by_its_bytes() -> None:
    row, expected = Row("tcp://*:6379?plaintext=yes"), [Expected(6379)]
    assert ids(find(view(row, expected=expected))) == [("OP2", "medium")]
    bare = {row: Evidence("Redis", "database", "no")}
    assert ids(find(view(row, expected=expected, evidence=bare))) == [("OP2", "high")]
    hidden = {row: Evidence("TLS", "web", "yes", tls_version="TLS 1.3")}
    assert ids(find(view(row, expected=expected, evidence=hidden))) == []


def test_who_was_seen_to_ask_is_no_service() -> None:
    """A resolver's socket without a peer is not what is spoken at its other end."""
    row = Row("udp://*:40000?plaintext=yes", processes=(Process(uid=0),))
    facts = {"net.ipv4.ip_local_port_range": "32768 60999"}
    asking, asked = (Evidence("DNS", "dns", "no", local_began=began) for began in (True, False))
    assert ids(findings(view(row, sysctls=facts, evidence={row: asking}))) == [("OP1", "info")]
    found = ids(findings(view(row, sysctls=facts, evidence={row: asked})))
    assert [check for check, _ in found] == ["DS8", "OP1", "OP2", "OP3"]


@pytest.mark.parametrize(("port", "severity"), [(8443, "medium"), (443, "low")])
def test_root(port: int, severity: str) -> None:
    row = Row(f"tcp://*:{port}?plaintext=yes", processes=(Process(uid=0, user="root"),))
    found = only(find(view(row, expected=[Expected(port)])), "OP3")
    assert found.severity == severity
    assert found.commands == ("systemctl edit nginx.service",)


def test_sshd_must_be_root() -> None:
    row = Row("tcp://*:22?plaintext=yes", processes=(Process("sshd", uid=0),))
    assert ids(find(view(row, expected=[Expected(22)]))) == []


@pytest.mark.parametrize(
    ("path", "deleted", "exists", "severity"),
    [
        ("/tmp/.x/miner", False, True, "high"),
        ("/memfd:x", True, False, "high"),
        ("/usr/sbin/nginx", True, False, "medium"),
        ("/usr/sbin/nginx", True, True, "low"),
    ],
)
def test_program(path: str, deleted: bool, exists: bool, severity: str) -> None:
    row = Row("tcp://127.0.0.1:7272", processes=(Process(executable=path, deleted=deleted),))
    assert ids(find(view(row, programs={path: Program(path, exists, None)}))) == [("OP4", severity)]


def test_ipv6_open_where_ipv4_is_not() -> None:
    process = (Process(),)
    careful = Row("tcp://127.0.0.1:7272", processes=process)
    declared = [Expected(7272)]
    wide = Row("tcp6://*:7272?plaintext=yes", processes=process)
    assert ids(find(view(careful, wide, expected=declared))) == [("OP5", "medium")]
    assert ids(find(view(careful, Row("tcp://[::1]:7272", processes=process), expected=declared))) == []
    assert ids(find(view(careful, Row("tcp6://*:7272?plaintext=yes"), expected=declared))) == []  # another program


def test_never_used_needs_a_past() -> None:
    row = Row("tcp://127.0.0.1:7272")
    name = "tcp://127.0.0.1:7272 nginx"

    def found(row: Row, past: ListenerPast | None = None) -> list[tuple[str, str]]:
        before = Remembered(listeners={name: past} if past else {})
        return ids(find(view(row, *more, before=before)))

    more: list[Row] = []
    long_ago = NOW - 8 * 86_400
    assert found(row) == []
    assert found(row, ListenerPast(long_ago, None, 10)) == [("OP6", "info")]
    assert found(row, ListenerPast(long_ago, NOW - 5, 10)) == []
    assert found(row, ListenerPast(NOW - 60, None, 10)) == []
    more = [Row("tcp://127.0.0.1:7272", "tcp://127.0.0.1:50000")]
    assert found(row, ListenerPast(long_ago, None, 10)) == []


def test_never_used_by_a_history() -> None:
    row, name = Row("tcp://127.0.0.1:7272"), "tcp://127.0.0.1:7272 nginx"
    day = 86_400.0

    def found(recorded: Recorded, *more: Row) -> list[Finding]:
        return list(find(view(row, *more, recorded=recorded)))

    unused = Recorded(NOW - 2 * day, NOW, 2 * day, {name: 2 * day})
    (one,) = found(unused)
    assert (one.id, one.severity) == ("OP6", "info")
    assert one.evidence.startswith("it was open for 48 recorded hours of ")
    assert "not recorded" not in one.evidence
    holes = [(NOW - day + number * 60, NOW - day + number * 60 + 30) for number in range(5)]
    (one,) = found(unused._replace(not_recorded=holes))
    assert one.evidence.endswith(" and 2 more")
    assert "; not recorded: " in one.evidence
    assert found(unused._replace(unused={})) == []
    assert found(unused, Row("tcp://127.0.0.1:7272", "tcp://127.0.0.1:50000")) == []  # now somebody is
    # What audits remember is nothing beside what was recorded.
    before = Remembered(listeners={name: ListenerPast(NOW - 8 * day, None, 10)})
    assert ids(find(view(row, before=before, recorded=unused._replace(unused={})))) == []


# --- on this machine


@contextmanager
def listening(host: str, *options: tuple[int, int, int], family: int = socket.AF_INET) -> Iterator[int]:
    with socket.socket(family) as sock:
        for option in options:
            sock.setsockopt(*option)
        sock.bind((host, 0))
        sock.listen()
        yield sock.getsockname()[1]


def of_port(port: int, **facts: object) -> list[tuple[str, str]]:
    return about(find(seen(**facts)), f":{port}")


@pytest.mark.privileged
@pytest.mark.slow
def test_an_open_port_is_seen_and_gone_when_it_is_closed(network: Callable[..., Network]) -> None:
    with network("server")["server"].entered():
        with listening("0.0.0.0") as port:
            # What runs these tests is root here.
            assert of_port(port) == [("OP1", "medium"), ("OP3", "medium")]
            assert of_port(port, expected=[Expected(port)]) == [("OP3", "medium")]
        assert of_port(port) == []
        with listening("127.0.0.1") as port:
            assert of_port(port) == []


@pytest.mark.privileged
@pytest.mark.slow
def test_plain_service_is_seen(network: Callable[..., Network]) -> None:
    with network("server")["server"].entered():
        for host, expected in (("0.0.0.0", [("OP2", "medium")]), ("127.0.0.1", [])):
            with socket.create_server((host, 6379)):
                assert [one for one in of_port(6379) if one[0] == "OP2"] == expected


@pytest.mark.privileged
@pytest.mark.slow
def test_root_is_seen_and_gone_for_another_user(network: Callable[..., Network], program: Callable[[str], str]) -> None:
    server = network("server")["server"]
    found = {}
    for user in ("0", "65534"):
        words = (program("setpriv"), f"--reuid={user}", "--clear-groups", sys.executable, "-Sc", LISTEN)
        running = server.start(*words, stdout=subprocess.PIPE)
        assert running.stdout is not None
        assert running.stdout.readline() == b"ready\n"
        with server.entered():
            found[user] = of_port(7171, expected=[Expected(7171)])
        running.kill()
        running.wait()
    assert found == {"0": [("OP3", "medium")], "65534": []}


LISTEN = """
import socket, time
with socket.create_server(("0.0.0.0", 7171)):
    print("ready", flush=True)
    time.sleep(100)
"""


@pytest.mark.slow
def test_program_that_is_gone_is_seen(program: Callable[[str], str], tmp_path: Path) -> None:
    """A program is removed while it listens; the same from its own folder is no fault."""
    copy = shutil.copy(program("nc"), tmp_path / "listener")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with subprocess.Popen([copy, "-l", "127.0.0.1", str(port)]) as running:
        try:
            while not any(row.local and row.local.port == port for row in TABLE.refresh()):
                assert running.poll() is None
            open_folder = [("OP4", "high")] if str(tmp_path).startswith("/tmp/") else []
            assert of_port(port) == open_folder
            os.unlink(copy)
            assert [check for check, _ in of_port(port)] == ["OP4"]
        finally:
            running.kill()
    assert of_port(port) == []


@pytest.mark.privileged
@pytest.mark.slow
def test_ipv6_is_seen_and_gone_when_it_listens_on_loopback(network: Callable[..., Network]) -> None:
    with network("server")["server"].entered(), socket.create_server(("127.0.0.1", 7171)):
        for host, expected in (("::", [("OP5", "medium")]), ("::1", [])):
            with listening6(host):
                assert [one for one in of_port(7171) if one[0] == "OP5"] == expected


@contextmanager
def listening6(host: str) -> Iterator[None]:
    with socket.socket(socket.AF_INET6) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, 7171))
        sock.listen()
        yield
