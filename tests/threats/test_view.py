"""A view: what is served, what goes out, and what it says in words."""

from __future__ import annotations

import socket

import pytest

from socketkit.threats.view import (
    Gateway,
    Neighbour,
    Remembered,
    View,
    is_local,
    name_of,
    owner_of,
    plain_port,
    subject_of,
)
from tests.threats.made_up import Program, Row, view


def test_connections_by_where_they_go() -> None:
    served = Row("tcp://192.0.2.1:7171", "tcp://192.0.2.9:50000")
    outward = Row("tcp://192.0.2.1:50001", "tcp://198.51.100.7:443")
    home = Row("tcp://127.0.0.1:50002", "tcp://127.0.0.1:7171")
    own = Row("tcp://192.0.2.1:50003", "tcp://192.0.2.1:7171")
    seen = view(Row("tcp://*:7171?plaintext=yes"), served, outward, home, own)
    assert seen.off_machine == [served, outward]
    assert seen.outward == [outward]
    assert (is_local(home), is_local(own), is_local(outward)) == (True, True, False)


def test_exposed_has_ports_that_others_reach() -> None:
    wide, narrow = Row("udp://*:53?plaintext=yes"), Row("udp://127.0.0.1:53")
    assert view(wide, narrow, Row("unix:///run/a.sock")).exposed == [wide]


def test_words() -> None:
    row = Row("tcp4://*:80?plaintext=yes", processes=(Program("a", pid=7), Program("b")), namespace_name="blue")
    assert plain_port(row) == ("tcp", 80)
    assert owner_of(row) == "a[7] of www-data and 1 more"
    assert name_of(row).endswith(" in blue")
    assert subject_of(row).endswith(" a blue")
    assert owner_of(Row("tcp://127.0.0.1:1", processes=None)) is None


def test_settings() -> None:
    names = {"net.ipv4.conf.eth0.7.forwarding": "1", "net.ipv4.conf.all.forwarding": "0", "net.core.somaxconn": "x"}
    seen = view(sysctls=names)
    assert seen.interfaces == [("ipv4", "eth0.7")]
    assert (seen.conf("ipv4", "eth0.7", "forwarding"), seen.sysctl("net.core.somaxconn")) == (1, None)
    assert seen.ephemeral == range(0)


def test_gateway_that_has_answered() -> None:
    neighbours = [Neighbour("192.0.2.1", "02:00:00:00:00:01", "eth0"), Neighbour("192.0.2.1", "02:aa", "eth1")]
    gateways = [Gateway("192.0.2.1", "eth0"), Gateway("198.51.100.1", "eth0")]
    assert view(neighbours=neighbours, gateways=gateways).gateway_hardware == {"eth0 192.0.2.1": "02:00:00:00:00:01"}


@pytest.mark.parametrize(("at", "seconds"), [(0.0, None), (900.0, 100.0), (999.9, None)])
def test_rates_need_time(at: float, seconds: float | None) -> None:
    assert view(before=Remembered(counters_at=at)).seconds_since_counters == seconds


def test_of_this_machine() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        seen = View.of_machine(namespaces="own")
        (row,) = [row for row in seen.listeners if row.local and row.local.port == port]
        assert row not in seen.exposed
        assert seen.namespace == row.namespace
        assert row.processes
        assert row.processes[0].executable in seen.programs
        assert seen.descriptors[row.processes[0].pid][0] > 0
        assert "TcpExt.SyncookiesSent" in seen.counters
        assert seen.use(row) is seen.use(row)
