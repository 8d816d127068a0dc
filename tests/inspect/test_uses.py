"""`use_of`: which evidence counts before which, how sure it makes, and that no port says that anything is encrypted."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from socketkit import Endpoint
from socketkit.inspect.use_tables import PORTS, PROGRAMS
from socketkit.inspect.uses import USES, Use, use_of


class Process(NamedTuple):
    name: str


class Entry(NamedTuple):
    local: Endpoint
    peer: Endpoint | None = None
    processes: tuple[Process, ...] | None = ()
    state: str = "established"

    @property
    def scheme(self) -> str:
        return self.local.scheme


class Evidence:
    """What `FlowEvidence` has, of a connection that says nothing."""

    transport = "tcp"
    started = True
    protocol: str | None = None
    purpose: str | None = None
    confidence = 0.0
    encrypted = "unknown"
    upgraded = looks_random = False
    tls_version: str | None = None
    server_name: str | None = None
    alpn: tuple[str, ...] = ()
    packets = payload_bytes = (0, 0)
    seconds = 0.0

    def __init__(self, **known: object) -> None:
        vars(self).update(known)


def connection(port: int = 40_000, program: str = "", scheme: str = "tcp") -> Entry:
    processes = (Process(program),) if program else ()
    local, peer = (Endpoint(scheme=scheme, host="192.0.2.1", port=number) for number in (50_000, port))
    return Entry(local, peer, processes)


def judge(entry: Entry, **known: object) -> Use:
    evidence: Any = Evidence(**known) if known else None
    return use_of(entry, evidence)


SSH = {"protocol": "SSH", "purpose": "ssh", "confidence": 0.99, "encrypted": "yes"}
TLS = {"protocol": "TLS", "purpose": "web", "confidence": 0.99, "encrypted": "yes", "tls_version": "TLS 1.3"}


def test_bytes_come_before_program_and_port() -> None:
    use = judge(connection(443, "firefox"), **SSH)
    assert use == Use("ssh", "SSH", 0.99, "its first bytes are SSH", "yes")


def test_a_program_comes_before_a_port() -> None:
    use = judge(connection(443, "sshd"))
    assert (use.name, use.confidence, use.encrypted) == ("ssh", 0.8, "unknown")
    assert use.reason == "sshd holds it"


def test_a_port_comes_last_and_is_believed_little() -> None:
    use = judge(connection(5432))
    assert use == Use("database", "", 0.3, "port 5432 is postgresql's", "unknown")
    listener = Entry(Endpoint(scheme="tcp", host="*", port=22), state="listening", processes=None)
    assert judge(listener).confidence == 0.45


def test_what_agrees_makes_surer() -> None:
    use = judge(connection(5432, "psql"))
    assert use.name == "database"
    assert use.confidence == pytest.approx(0.85)
    assert use.reason == "psql holds it, and port 5432 is postgresql's"


@pytest.mark.parametrize("transport", PORTS)
def test_no_port_and_no_program_says_encrypted(transport: str) -> None:
    for port in PORTS[transport]:
        assert judge(connection(port, scheme=transport)).encrypted == "unknown"
    for program in PROGRAMS:
        assert judge(connection(443, program, transport)).encrypted == "unknown"


def test_nothing_is_unknown_and_says_why() -> None:
    assert judge(connection()).name == "unknown"
    assert judge(connection()).confidence == 0.0
    assert judge(connection(), started=True).reason == "nothing known begins like this"
    assert "before anyone looked" in judge(connection(), started=False).reason


def test_random_bytes_stay_random_looking_whatever_the_port_says() -> None:
    use = judge(connection(443), looks_random=True, encrypted="random-looking")
    assert (use.name, use.encrypted) == ("web", "random-looking")


def test_a_weak_sign_shows_no_cipher() -> None:
    use = judge(connection(), protocol="Skype", purpose="call", confidence=0.35, encrypted="yes")
    assert (use.name, use.confidence, use.encrypted) == ("call", 0.35, "unknown")


def test_what_is_inside_tells_more_than_the_carrier() -> None:
    assert judge(connection(), **TLS, alpn=("h2",)) == Use(
        "web", "TLS 1.3 h2", 0.99, "its first bytes are TLS, for h2 inside", "yes"
    )
    assert judge(connection(), **TLS, alpn=("imap",)).name == "mail"
    assert judge(connection(), **TLS, alpn=("dot",)).name == "dns"
    assert judge(connection(), **TLS, alpn=("sk-seq/1",)).name == "message queue"


def test_the_name_tells_more_than_the_web() -> None:
    use = judge(connection(), **TLS, alpn=("h2",), server_name="us04web.zoom.us")
    assert (use.name, use.reason) == ("call", "its first bytes are TLS, for us04web.zoom.us")
    assert judge(connection(), **TLS, server_name="imap.example.org").name == "mail"
    assert judge(connection(), **TLS, alpn=("h2",), server_name="www.example.org").name == "web"
    assert judge(connection(), **TLS, server_name="notzoom.us").name == "web"


def test_tls_without_a_purpose_is_what_its_program_or_port_says() -> None:
    use = judge(connection(5432, "postgres"), **TLS)
    assert (use.name, use.protocol, use.encrypted, use.confidence) == ("database", "TLS 1.3", "yes", 0.8)
    assert judge(connection(993), **TLS).name == "mail"
    assert judge(connection(443), **TLS) == Use("web", "TLS 1.3", 0.99, "its first bytes are TLS", "yes")


def test_what_went_over_to_tls_says_so() -> None:
    use = judge(connection(), protocol="SMTP", purpose="mail", confidence=0.97, encrypted="yes", upgraded=True)
    assert (use.protocol, use.reason) == ("SMTP with TLS", "its first bytes are SMTP, then TLS")


def test_the_middle_of_a_connection_is_believed_less() -> None:
    use = judge(connection(), started=False, protocol="HTTP/1", purpose="web", confidence=0.7, encrypted="no")
    assert (use.name, use.confidence) == ("web", 0.7)
    assert use.reason == "a piece of its middle looks like HTTP/1"
    assert judge(connection(22, "sshd"), started=False, protocol="HTTP/1", purpose="web", confidence=0.7).name == "ssh"


def test_shapes_say_a_little() -> None:
    speech = {"transport": "udp", "seconds": 60.0, "packets": (3_000, 2_990), "payload_bytes": (516_000, 514_000)}
    assert judge(connection(scheme="udp"), **speech) == Use(
        "call", "", 0.45, "small packets go both ways as steadily as speech", "unknown"
    )
    film = {"seconds": 60.0, "packets": (900, 9_000), "payload_bytes": (20_000, 12_000_000)}
    assert judge(connection(), **film).name == "streaming"
    moves = {"transport": "udp", "seconds": 60.0, "packets": (3_000, 2_500), "payload_bytes": (100_000, 120_000)}
    assert judge(connection(scheme="udp"), **moves).name == "game"
    assert judge(connection(scheme="udp"), **{**speech, "seconds": 1.0}).name == "unknown"


def test_sockets_without_ports_are_known_by_their_program() -> None:
    entry = Entry(Endpoint.parse("unix:///run/x"), processes=(Process("postgres"),))
    assert judge(entry).name == "database"
    assert judge(Entry(Endpoint.parse("unix:///run/x"))).name == "unknown"


def test_uses_have_their_meaning() -> None:
    assert {"web", "mail", "vpn", "game", "call", "streaming", "dns", "database", "ssh", "unknown"} <= set(USES)
    assert all(USES.values())
