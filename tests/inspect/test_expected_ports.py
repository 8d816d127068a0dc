"""What was declared, and how reality differs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from socketkit.inspect.expected_ports import Difference, Expected, compare, ports_of, read
from socketkit.inspect.identifying import Tls
from socketkit.inspect.port_lists import Ports
from socketkit.inspect.scan import HostReport, OpenPort
from socketkit.inspect.targets import TargetError
from tests.keys import A as FINGERPRINT
from tests.keys import B as OTHER_FINGERPRINT

HOST = "192.0.2.7"


def report(
    *open_ports: OpenPort, host: str = HOST, closed: tuple[int, ...] = (), udp: tuple[int, ...] = ()
) -> HostReport:
    numbers = (*(port.port for port in open_ports), *closed)
    states = bytes([1] * len(open_ports) + [2] * len(closed))
    looked = (("tcp", numbers, states), ("udp", udp, bytes(len(udp))))
    return HostReport(host, HOST, open_ports, len(closed), 0, 0, states=looked)


def port(number: int, fingerprint: str | None = None, service: str = "") -> OpenPort:
    tls = None if fingerprint is None else Tls("TLSv1.3", fingerprint, "", "", (), None)
    return OpenPort(HOST, HOST, number, "tcp", service, "", "", tls, 0.001)


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "ports.toml"
    file.write_text(text)
    return file


def test_read(tmp_path: Path) -> None:
    hyphened = FINGERPRINT[:10] + "-" + FINGERPRINT[10:].upper()
    declared = read(written(tmp_path, f'"{HOST}" = ["22/tcp", "443/tcp {hyphened}"]\n"nas.example" = ["53/udp"]\n'))
    assert declared == {
        HOST: (Expected(22), Expected(443, "tcp", FINGERPRINT)),
        "nas.example": (Expected(53, "udp"),),
    }
    assert ports_of(declared) == Ports((22, 443), (53,))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense", "ports.toml"),
        ('a = "22/tcp"', "has no list of ports"),
        ("a = [22]", "is no port"),
        ('a = ["22"]', "is no port"),
        ('a = ["0/tcp"]', "is no port"),
        ('a = ["65536/tcp"]', "is no port"),
        ('a = ["22/sctp"]', "is no port"),
        ('a = ["22/tcp sk1:abc"]', "not an identity"),
        ("[a]\nb = 1", "has no list of ports"),
    ],
)
def test_no_declaration(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(TargetError, match=re.escape(said)):
        read(written(tmp_path, text))


def test_as_declared() -> None:
    declared = {HOST: (Expected(22), Expected(443, "tcp", FINGERPRINT), Expected(53, "udp"))}
    # A silent UDP port is no difference.
    assert compare(declared, [report(port(22), port(443, FINGERPRINT), udp=(53,))]) == []
    assert compare({"nas.example": (Expected(22),)}, [report(port(22), host="nas.example")]) == []


def test_undeclared_and_missing() -> None:
    found = compare({HOST: (Expected(22), Expected(25))}, [report(port(22), port(6379, service="redis"), closed=(25,))])
    assert found == [
        Difference(HOST, 6379, "tcp", "undeclared", "open, but not declared, redis"),
        Difference(HOST, 25, "tcp", "missing", "declared, but closed"),
    ]
    assert [difference.kind for difference in compare({}, [report(port(22))])] == ["undeclared"]


def test_another_identity() -> None:
    declared = {HOST: (Expected(443, "tcp", FINGERPRINT),)}
    (other,) = compare(declared, [report(port(443, OTHER_FINGERPRINT))])
    assert other.kind == "identity"
    assert FINGERPRINT in other.reason
    assert OTHER_FINGERPRINT in other.reason
    (plain,) = compare(declared, [report(port(443))])
    assert plain.kind == "unencrypted"


def test_unreachable() -> None:
    gone = HostReport(HOST, HOST, (), 0, 0, 0, True, "there is no way")
    assert [found.kind for found in compare({HOST: (Expected(22),)}, [gone])] == ["unreachable"]
    assert compare({}, [gone]) == []
