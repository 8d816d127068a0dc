"""Programs that phone home, found: at one moment, and in what comes and goes, and in a network."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from socketkit.threats.beacons import Contact
from socketkit.threats.phoning_home import CHECKS, Watch, find, is_private, trust_of
from socketkit.threats.view import Program, Remembered, connection_key
from tests.threats.findings.looking import about, seen
from tests.threats.made_up import Evidence, Row, ids, view
from tests.threats.made_up import Program as Process
from tests.threats.namespaces import Network

FAR = "tcp://198.51.100.7:443"
HERE = "tcp://192.0.2.1:50000"


def row(path: str = "/opt/agent", **known: Any) -> Row:
    known = {"processes": (Process(path.rpartition("/")[2], executable=path),), **known}
    return Row(HERE, FAR, **known)


def test_checks_have_their_page() -> None:
    assert {check.page for check in CHECKS} == {"phoning-home"}


@pytest.mark.parametrize(
    ("path", "package", "destination", "declared", "trust"),
    [
        ("/opt/agent", None, "198.51.100.7:443/tcp", "", 0.0),
        ("/usr/bin/vim", "vim", "198.51.100.7:443/tcp", "", 0.3),
        ("/usr/bin/curl", "curl", "198.51.100.7:443/tcp", "", 0.6),
        ("/usr/bin/curl", "curl", "198.51.100.7:22/tcp", "", 0.3),
        ("/opt/agent", None, "198.51.100.7:443/tcp", "/opt/agent", 0.9),
        ("/opt/agent", None, "198.51.100.7:443/tcp", "agent", 0.9),
        ("/opt/agent", None, "198.51.100.7:443/tcp", "198.51.100.7", 0.9),
    ],
)
def test_trust(path: str, package: str | None, destination: str, declared: str, trust: float) -> None:
    made_up = view(programs={path: Program(path, True, package)}, declared=frozenset({declared}))
    assert trust_of(made_up, path, destination) == trust


@pytest.mark.parametrize(
    ("path", "facts", "expected"),
    [
        ("/tmp/x", {}, [("PH3", "high")]),
        ("/memfd:x", {}, [("PH3", "high")]),
        ("/opt/agent", {"packages_known": True}, [("PH3", "low")]),
        ("/opt/agent", {}, []),
        ("/opt/agent", {"packages_known": True, "declared": frozenset({"/opt/agent"})}, []),
        ("/usr/bin/vim", {"programs": {"/usr/bin/vim": Program("/usr/bin/vim", True, "vim")}}, []),
    ],
)
def test_unknown_program(path: str, facts: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert ids(find(view(row(path), **facts))) == expected


def test_who_was_called_does_not_phone() -> None:
    served = Row("tcp://192.0.2.1:7171", "tcp://198.51.100.7:50000", processes=(Process(executable="/tmp/x"),))
    assert ids(find(view(served, Row("tcp://*:7171?plaintext=yes")))) == []


def test_long_and_thin() -> None:
    thin = row(youngest_seconds=7200.0, received_bytes=900, sent_bytes=900)
    assert ids(find(view(thin))) == [("PH2", "low")]
    assert ids(find(view(row(youngest_seconds=7200.0, received_bytes=900_000, sent_bytes=0)))) == []
    assert ids(find(view(row(youngest_seconds=60.0, received_bytes=1)))) == []


def test_long_and_thin_by_what_audits_saw() -> None:
    """One that says a word now and then is young by what the kernel counts."""
    thin = row(youngest_seconds=5.0, received_bytes=900, sent_bytes=900)
    known = Remembered(connections={connection_key(thin): 100.0})  # type: ignore[arg-type]
    assert ids(find(view(thin, uptime=3_800.0, before=known))) == [("PH2", "low")]
    assert ids(find(view(thin, uptime=3_600.0, before=known))) == []
    assert ids(find(view(thin, uptime=3_800.0))) == []


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({}, [("PH6", "medium")]),
        ({"packets": (60, 60)}, []),  # a page in a browser
        ({"seconds": 120.0}, []),
        ({"local_began": False}, []),  # who is asked
        ({"ends": (("192.0.2.1", 40_000), ("192.0.2.53", 7171))}, []),
    ],
)
@pytest.mark.parametrize("row", [Row("udp://*:40000?plaintext=yes"), Row(f"udp{HERE[3:]}", "udp://192.0.2.53:53")])
def test_many_questions_from_one_socket(row: Row, known: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    seen = Evidence("DNS", "dns", "no", **{"packets": (100, 90), "seconds": 8.0, "local_began": True, **known})
    for path, found in (("/opt/agent", expected), ("/usr/sbin/unbound", [])):
        row.processes = (Process(path.rpartition("/")[2], executable=path),)
        assert ids(find(view(row, evidence={row: seen}))) == found


def test_address_that_no_name_led_to() -> None:
    assert ids(find(view(row(), resolved=frozenset()))) == [("PH4", "low")] * (not is_private("198.51.100.7"))
    public = Row(HERE, "tcp://9.9.9.9:443", processes=(Process(executable="/opt/agent"),))
    assert ids(find(view(public, resolved=frozenset()))) == [("PH4", "low")]
    assert ids(find(view(public, resolved=frozenset({"9.9.9.9"})))) == []
    assert ids(find(view(public))) == []  # nobody listened


def test_scan_at_one_moment() -> None:
    process = (Process(),)
    rows = [Row(HERE, f"tcp://198.51.100.7:{port}", state="syn-sent", processes=process) for port in range(1, 30)]
    assert ids(find(view(*rows))) == [("PH5", "high")]
    assert ids(find(view(*rows[:10]))) == []


# --- what comes and goes


def watched(contacts: list[Contact], now: float) -> list[tuple[str, str]]:
    watching = Watch(view())
    for contact in contacts:
        watching.contact(contact)
    return ids(watching.find(now))


def test_beacon_is_told() -> None:
    contacts = [Contact(5.0 * number, "/opt/a", "198.51.100.7:443/tcp", 400) for number in range(24)]
    assert watched(contacts, 120) == [("PH1", "high")]
    assert watched(contacts[:6], 30) == []


def test_scan_and_questions_are_told_of_the_last_minute() -> None:
    scan = [Contact(number / 10, "/opt/a", f"198.51.100.7:{number}/tcp") for number in range(1, 40)]
    assert watched(scan, 10) == [("PH5", "high")]
    assert watched(scan, 100) == []
    questions = [Contact(number / 10, "/opt/a", "192.0.2.53:53/udp", 80) for number in range(400)]
    assert watched(questions, 40) == [("PH6", "medium")]
    for path, expected in (("/usr/sbin/unbound", []), ("/usr/bin/dig", [("PH6", "medium")])):
        assert watched([contact._replace(executable=path) for contact in questions], 40) == expected


def test_scan_that_is_refused_is_told_by_its_addresses() -> None:
    """Of a connection that was refused while its program waited, the kernel keeps no port."""
    watching = Watch(view())
    for number in range(1, 40):
        watching.ended(Row("tcp://*:50000?plaintext=yes", f"tcp://198.51.100.{number}:0", state="closed"), 1.0)
    assert ids(watching.find(2.0)) == [("PH5", "high")]


def test_ports_that_are_refused_are_told_where_they_were_noted() -> None:
    for ports, expected in ((range(1, 31), [("PH5", "high")]), ([7171] * 30, [])):
        watching = Watch(view())
        for port in ports:
            refused = Row("tcp://*:50000?plaintext=yes", "tcp://198.51.100.7:0", state="closed")
            watching.ended(refused, 1.0, None, port)
        assert ids(watching.find(2.0)) == expected


def test_watch_tells_what_a_look_shows() -> None:
    watching = Watch(view())
    watching.look(view(row(youngest_seconds=7200.0, received_bytes=9, sent_bytes=9)))
    assert ids(watching.find(0.0)) == [("PH2", "low")]


def test_what_ended_was_somebody_s() -> None:
    """Nobody holds a socket that has ended: who did is known from a look before."""
    watching = Watch(view())
    for number in range(24):
        connection = row(cookie=1000 + number)
        watching.look(view(connection))
        watching.ended(row(cookie=1000 + number, processes=()), 5.0 * number)
    (found,) = watching.find(120)
    assert (found.id, found.process) == ("PH1", "/opt/agent")
    served = Row("tcp://192.0.2.1:7171", "tcp://198.51.100.7:50000")
    watching = Watch(view(Row("tcp://*:7171?plaintext=yes")))
    watching.ended(served, 1.0)
    assert len(watching.beacons) == 0


# --- in a network


@pytest.mark.privileged
@pytest.mark.slow
def test_program_from_an_open_folder_until_it_is_ended(
    network: Callable[..., Network], program: Callable[[str], str], tmp_path: Path
) -> None:
    net = network("home", "far")
    copy = str(shutil.copy(program("nc"), tmp_path / "agent"))
    with net["far"].entered():
        listener = socket.create_server(("0.0.0.0", 7171))
    with listener:
        running = net["home"].start(copy, net["far"].ip4, "7171", stdin=subprocess.PIPE)
        caller, _ = listener.accept()
        with caller, net["home"].entered():
            assert [check for check, _ in about(find(seen()), copy)] == ["PH3"]
            assert about(find(seen(declared=frozenset({copy}))), copy) == []
            running.kill()
            running.wait()
            assert about(find(seen()), copy) == []
