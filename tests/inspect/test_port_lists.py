"""Lists of ports."""

from __future__ import annotations

import re

import pytest

from socketkit.inspect.port_lists import COMMON_TCP, Ports, parsed
from socketkit.inspect.service_probes import UDP_PORTS
from socketkit.inspect.targets import TargetError


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("80,22", Ports((22, 80))),
        ("1-3, 2-5", Ports((1, 2, 3, 4, 5))),
        ("udp:53,tcp:53", Ports((53,), (53,))),
        ("65535", Ports((65_535,))),
        ("udp", Ports((), UDP_PORTS)),
        ("tcp", Ports(COMMON_TCP)),
        ("-", Ports(tuple(range(1, 65_536)))),
        ("udp:-", Ports((), tuple(range(1, 65_536)))),
    ],
)
def test_parsed(text: str, ports: Ports) -> None:
    assert parsed(text) == ports


@pytest.mark.parametrize("text", ["", "0", "65536", "5-2", "1-", "-5", "x", "80,,81", "sctp:80", "udp:", "٣", "1-2-3"])
def test_no_ports(text: str) -> None:
    with pytest.raises(TargetError, match=r"ports are of|is no port"):
        parsed(text)


def test_what_is_looked_at_unless_told() -> None:
    assert tuple(sorted(set(COMMON_TCP))) == COMMON_TCP
    assert set(range(1, 1_024)) < set(COMMON_TCP) < set(range(1, 65_536))
    assert 1_000 <= len(COMMON_TCP) <= 1_500
    assert {3306, 5432, 6379, 8080, 8443, 27017} < set(COMMON_TCP)


def test_more_ports() -> None:
    assert Ports((5,), (53,)).with_more((1, 5), (9,)) == Ports((1, 5), (9, 53))


def test_text_is_cut_in_errors() -> None:
    with pytest.raises(TargetError, match=re.escape("is no port")) as failure:
        parsed("9" * 10_000)
    assert len(str(failure.value)) < 200
