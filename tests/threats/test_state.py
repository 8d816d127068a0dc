"""What one audit remembers for the next: first sightings, what a person accepts, listeners, counters of this boot."""

from __future__ import annotations

import json
import os
import stat
from typing import Any

import pytest

from socketkit.threats import state
from socketkit.threats.finding import Check, Finding
from socketkit.threats.view import Gateway, Neighbour, connection_key
from tests.threats.made_up import NOW, Row, view

CHECK = Check("OP1", "medium", "a", "open-ports")
FOUND = Finding(CHECK, "tcp://*:80", "b", "c")


def look(*, accept: bool = False, hardware: str = "02:01", found: tuple[Finding, ...] = (), **facts: Any) -> None:
    neighbours, gateways = [Neighbour("192.0.2.1", hardware, "eth0")], [Gateway("192.0.2.1", "eth0")]
    rows = facts.pop("rows", ())
    state.save(view(*rows, neighbours=neighbours, gateways=gateways, **facts), found, "boot", accept=accept)


def test_nothing_is_known_before_the_first() -> None:
    before, first_seen = state.load("boot")
    assert (before.gateways, before.authorities, before.counters_at, first_seen) == ({}, None, 0.0, {})


def test_file_is_its_user_s_alone() -> None:
    look()
    assert stat.S_IMODE(os.stat(state.path()).st_mode) == 0o600


def test_first_seen_stays_until_it_is_gone() -> None:
    look(found=(FOUND,))
    look(found=(FOUND,), now=NOW + 100)
    assert state.load("boot")[1] == {FOUND.key: NOW}
    look(now=NOW + 200)
    look(found=(FOUND,), now=NOW + 300)
    assert state.load("boot")[1] == {FOUND.key: NOW + 300}


def test_gateway_and_authorities_change_when_a_person_accepts_it() -> None:
    look(authorities={"a": "A"})
    look(hardware="02:02", authorities={"a": "A", "b": "B"})
    before, _ = state.load("boot")
    assert (before.gateways, before.authorities) == ({"eth0 192.0.2.1": "02:01"}, {"a"})
    look(hardware="02:02", authorities={"a": "A", "b": "B"}, accept=True)
    before, _ = state.load("boot")
    assert (before.gateways, before.authorities) == ({"eth0 192.0.2.1": "02:02"}, {"a", "b"})


def test_counters_are_those_of_this_boot() -> None:
    look(counters={"TcpExt.TCPChallengeACK": 7, "TcpExt.Other": 1})
    assert state.load("boot")[0].counters == {"TcpExt.TCPChallengeACK": 7}
    other, _ = state.load("another")
    assert (other.counters, other.counters_at) == ({}, 0.0)


def test_look_right_after_another_keeps_the_counters_of_the_first() -> None:
    """Else what was counted before both would be in no rate."""
    look(counters={"TcpExt.SyncookiesSent": 1}, uptime=1000.0)
    look(counters={"TcpExt.SyncookiesSent": 7}, uptime=1000.1)
    before, _ = state.load("boot")
    assert (before.counters, before.counters_at) == ({"TcpExt.SyncookiesSent": 1}, 1000.0)
    look(counters={"TcpExt.SyncookiesSent": 7}, uptime=1001.0)
    before, _ = state.load("boot")
    assert (before.counters, before.counters_at) == ({"TcpExt.SyncookiesSent": 7}, 1001.0)


def test_connections_and_since_when() -> None:
    one, other = (Row("tcp://192.0.2.1:5", f"tcp://198.51.100.{number}:443") for number in (1, 2))
    look(rows=(one,), uptime=1000.0)
    look(rows=(one, other), uptime=1100.0)
    keys = [connection_key(row) for row in (one, other)]  # type: ignore[arg-type]
    assert state.load("boot")[0].connections == dict(zip(keys, (1000.0, 1100.0), strict=True))
    assert state.load("another")[0].connections == {}
    look(rows=(other,), uptime=1200.0)
    assert state.load("boot")[0].connections == {keys[1]: 1100.0}


def test_counters_are_those_of_a_network_namespace() -> None:
    assert state.boot() == state.boot()
    assert state.boot().split()[1] == str(os.stat("/proc/thread-self/ns/net").st_ino)


def test_listeners_and_their_use() -> None:
    listener, caller = Row("tcp://127.0.0.1:7171"), Row("tcp://127.0.0.1:7171", "tcp://127.0.0.1:5")
    look(rows=(listener,))
    look(rows=(listener, caller), now=NOW + 5)
    look(rows=(listener,), now=NOW + 9)
    assert list(state.load("boot")[0].listeners.values()) == [(NOW, NOW + 5, 3)]


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"listeners": {"a": {}}}', '{"counters": {"boot": "boot"}}', '{"gateways": 1}']
)
def test_broken_file_is_no_past(text: str) -> None:
    look()
    with open(state.path(), "w") as file:
        file.write(text)
    assert state.load("boot")[1] == {}
    look(found=(FOUND,))
    with open(state.path()) as file:
        assert json.load(file)["version"] == 1
