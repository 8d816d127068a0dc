"""An address that no name led to: told of a program that brought it along, and of nothing else."""

from __future__ import annotations

import json
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from socketkit.inspect.first_bytes import FirstBytes, Resolved
from socketkit.threats import names
from socketkit.threats.names import Answers, Calls
from socketkit.threats.phoning_home import Watch
from tests.threats.auditing import Auditor, until
from tests.threats.made_up import Program, Row, view
from tests.threats.namespaces import Network

BEGAN = 1_000_000.0
LATER = BEGAN + 10.0


class Heard:
    """What `FirstBytes` is asked."""

    def __init__(self, *addresses: str, **counted: int) -> None:
        self.addresses = addresses
        self.counted = {"dropped": 0, "answers_cut": 0, "names_pushed_out": 0, **counted}

    def resolved(self, address: str) -> Resolved | None:
        return Resolved(("a.test",), BEGAN, 60) if address in self.addresses else None

    def counters(self) -> dict[str, int]:
        return self.counted


@pytest.fixture(autouse=True)
def no_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "CACHES", ())


def answers(*addresses: str, **counted: int) -> Answers:
    return Answers(cast("FirstBytes", Heard(*addresses, **counted)), began=BEGAN, namespace=1)


def row(peer: str = "tcp://45.45.45.46:443", *, started: float | None = BEGAN + 5, **known: Any) -> Any:
    process = Program("agent", executable="/opt/agent", started=started)
    return Row("tcp://10.0.0.1:50000", peer, **{"processes": (process,), **known})


def lacks(heard: Answers, entry: Any, at: float = LATER, **facts: Any) -> bool:
    return heard.lack(entry, entry.processes[0], view(**facts), at)


def test_an_address_that_no_answer_gave() -> None:
    assert lacks(answers(), row())
    assert lacks(answers("45.45.45.45"), row())
    assert not lacks(answers("45.45.45.46"), row())


@pytest.mark.parametrize(
    "entry",
    [
        row(started=BEGAN),  # it may have asked before
        row(started=None),
        row("tcp://45.45.45.46:53"),  # it asks there
        row("tcp://45.45.45.46:853"),
        row(namespace=2),
        row("tcp://127.0.0.1:443"),
    ],
)
def test_what_has_another_reason_is_not_told(entry: Any) -> None:
    assert not lacks(answers(), entry)


@pytest.mark.parametrize("name", ["dropped", "answers_cut", "names_pushed_out"])
def test_who_missed_an_answer_knows_nothing(name: str) -> None:
    assert not lacks(answers(**{name: 1}), row())


@pytest.mark.parametrize("peer", ["tcp://45.45.45.47:853", "tcp://1.1.1.1:443", "tcp://[2606:4700:4700::1111]:443"])
def test_once_questions_are_encrypted_nothing_is_known(peer: str) -> None:
    heard = answers()
    heard.look([row(peer)])
    assert not lacks(heard, row())
    heard = answers()
    heard.look([row("tcp://45.45.45.47:443")])
    assert lacks(heard, row())


def test_a_cache_may_know_from_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "socket").touch()
    monkeypatch.setattr(names, "CACHES", (str(tmp_path / "socket"),))
    heard = answers()
    assert not lacks(heard, row())
    assert lacks(heard, row(), at=BEGAN + names.LONGEST_CACHED_SECONDS)


def test_addresses_of_the_hosts_file_have_a_name() -> None:
    from socketkit.threats.view import HostsLine

    assert not lacks(answers(), row(), hosts=(HostsLine("a.test", "45.45.45.46"),))
    assert not lacks(answers(), row(), resolvers=("45.45.45.46",))


def test_a_call_is_judged_once_and_not_before_its_packets_are_read() -> None:
    now = [LATER]
    calls = Calls(answers(), lambda: now[0])
    called, machine = row(), view()
    calls.add(called, called.processes[0])
    assert list(calls.nameless(machine)) == []
    now[0] += names.SETTLING_SECONDS
    calls.add(called, called.processes[0])
    assert list(calls.nameless(machine)) == [(called, called.processes[0])]
    calls.add(called, called.processes[0])
    now[0] += names.SETTLING_SECONDS
    assert list(calls.nameless(machine)) == []


def test_calls_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "MOST_CALLS", 2)
    now = [LATER]
    calls = Calls(answers(), lambda: now[0])
    for called in (row(), row(), row()):
        calls.add(called, called.processes[0])
    now[0] += names.SETTLING_SECONDS
    assert len(list(calls.nameless(view()))) == 2
    late = row()
    calls.add(late, late.processes[0])
    now[0] += names.SETTLING_SECONDS
    assert len(list(calls.nameless(view()))) == 1


def test_watching_tells_of_what_was_short_and_of_what_is_there() -> None:
    now = [LATER]
    called, private, brief = row(), row("tcp://10.9.9.9:443"), row("tcp://45.45.45.47:80", processes=())
    watching = Watch(view(called, private), Calls(answers(), lambda: now[0]))
    watching.look(view(called, private))
    watching.ended(brief, 1.0, cast("Any", called.processes[0]))
    now[0] += names.SETTLING_SECONDS
    found = [one for one in watching.find(1.0) if one.id == "PH4"]
    assert sorted(one.subject for one in found) == ["/opt/agent 45.45.45.46:443/tcp", "/opt/agent 45.45.45.47:80/tcp"]
    assert [one for one in watching.find(2.0) if one.id == "PH4"] == found  # it is still so
    vouched = Watch(view(called, declared=frozenset({"/opt/agent"})), Calls(answers(), lambda: now[0]))
    vouched.look(vouched.view)
    now[0] += names.SETTLING_SECONDS
    assert [one for one in vouched.find(1.0) if one.id == "PH4"] == []


# --- in a network

WATCHING = """
import sys
from socketkit.cli import main
from socketkit.threats import names
names.CACHES = ()  # of the machine that this runs on
sys.exit(main())
"""
NAMED, BARE = "45.45.45.45", "45.45.45.46"
PORT = "7171"


@contextmanager
def watched(auditor: Auditor, *words: str) -> Iterator[list[dict[str, Any]]]:
    process = auditor.started(sys.executable, "-c", WATCHING, "audit", "--own", "--json", *words, "--watch")
    findings: list[dict[str, Any]] = []

    def read() -> None:
        assert process.stdout is not None
        findings.extend(json.loads(line) for line in process.stdout)

    with process:
        assert process.stderr is not None
        while "watching for beacons" not in (line := process.stderr.readline()):
            assert line, "it has ended"
        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield findings
        finally:
            process.kill()
            reader.join(10)


@pytest.mark.slow
@pytest.mark.privileged
def test_a_bare_address_is_told_and_a_named_one_is_not(
    network: Callable[..., Network], program: Callable[[str], str], tmp_path: Path
) -> None:
    net = network("home", "far")
    home, far = net["home"], net["far"]
    for address in (NAMED, BARE):
        far.run("ip", "address", "add", f"{address}/32", "dev", "lo")
    home.run("ip", "route", "add", "45.45.45.0/24", "via", far.ip4)
    dnsmasq = ("-k", "-C", "/dev/null", "--no-resolv", "--no-hosts", f"--address=/named.test/{NAMED}", "--pid-file=")
    far.start(program("dnsmasq"), *dnsmasq)
    far.start(program("nc"), "-lk", "0.0.0.0", PORT)
    for port in ("53", PORT):
        until(lambda port=port: f":{port} " in far.run("ss", "-ltnH"), lambda there: there)
    auditor = Auditor(home, tmp_path)
    agent = shutil.copy(program("nc"), tmp_path / "agent")

    def nameless(found: list[dict[str, Any]]) -> list[str]:
        return [one["subject"] for one in found if one["id"] == "PH4"]

    with watched(auditor) as told, watched(auditor, "--declare", str(agent)) as declared:
        home.run("sleep", str(names.ROUNDING_SECONDS))  # what starts with it may have been there before
        assert home.run(program("dig"), "+short", f"@{far.ip4}", "named.test").strip() == NAMED
        for address in (NAMED, BARE):
            home.run("sh", "-c", f"echo hello | {agent} -N -w 1 {address} {PORT}", status=None)
        (found,) = until(lambda: [one for one in told if one["id"] == "PH4"], len)
        assert nameless(told) == [f"{agent} {BARE}:{PORT}/tcp"]
        assert found["severity"] == "low"
        assert found["remedy"].endswith(f"socketkit audit --declare {BARE}")
        assert nameless(declared) == []
