"""Denial of service: every attack is made on servers with the default limits, beside an honest client of each.

The attacks are those that brought Python servers down when they were measured; the rule is that of `siege`.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.threats.namespaces import Network
from tests.threats.programs.honest import context
from tests.threats.siege import Outcome, Target, besiege
from tests.threats.watching import MEGABYTE

# The longest attack lasts 31 s by its nature, a busy machine may take twice as long over the rest, and a siege may be
# laid three times.
pytestmark = [pytest.mark.privileged, pytest.mark.slow, pytest.mark.siege, pytest.mark.timeout(300)]

Figures = Callable[[str], None]

CROWD = 200
CLIENTS = 2000
FEW = 100
NEVER_READING_SECONDS = 31.0
NEVER_READING_BYTES = int(0.3 * MEGABYTE)
EXHAUSTED_CPU_SHARE = 0.25
LOG_BYTES = 65_536

both_crowds = pytest.mark.parametrize("sources", [1, CROWD], ids=["one source", "crowd"])


@pytest.fixture
def crowd(arena: Network) -> list[str]:
    return arena["attacker"].take_sources(CROWD)


def client_hello() -> bytes:
    """A whole ClientHello in its record, as OpenSSL sends it."""
    outgoing = ssl.MemoryBIO()
    session = context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="server.test")
    with suppress(ssl.SSLWantReadError):
        session.do_handshake()
    return outgoing.read()


def many(sources: list[str], deeds: dict[str, Any], number: int = CLIENTS) -> dict[str, Any]:
    """An attack that replaces what the server cuts for 3 s, and then only holds."""
    return {"sources": sources, "connections": number, "most": 2 * number, "reopen_seconds": 3.0, **deeds}


def all_pass(outcomes: list[Outcome], figures: Figures) -> None:
    for outcome in outcomes:
        figures(outcome.figures)
    for outcome in outcomes:
        outcome.check()


# --- connections that get nowhere


@both_crowds
def test_connections_that_send_nothing(
    arena: Network, crowd: list[str], figures: Figures, tmp_path: Path, sources: int
) -> None:
    attack = many(crowd[:sources], {})
    targets = [Target(f"idle, sources: {sources}, {scheme}", attack, scheme) for scheme in ("tcp", "tls")]
    all_pass(besiege(arena, targets, tmp_path), figures)


@both_crowds
def test_a_byte_per_second(arena: Network, crowd: list[str], figures: Figures, tmp_path: Path, sources: int) -> None:
    """Slow drip: a line over TCP, a ClientHello over TLS."""
    targets = [
        Target(f"drip, sources: {sources}, tcp", many(crowd[:sources], {"drip": b"x".hex()})),
        Target(f"drip, sources: {sources}, tls", many(crowd[:sources], {"drip": client_hello().hex()}), "tls"),
    ]
    all_pass(besiege(arena, targets, tmp_path), figures)


@both_crowds
def test_handshakes_that_stall(
    arena: Network, crowd: list[str], figures: Figures, tmp_path: Path, sources: int
) -> None:
    hello = client_hello()
    targets = [
        Target(
            f"half a ClientHello, sources: {sources}", many(crowd[:sources], {"first": hello[: len(hello) // 2].hex()})
        ),
        Target(f"a ClientHello and no more, sources: {sources}", many(crowd[:sources], {"first": hello.hex()})),
    ]
    for target in targets:
        target.scheme = "tls"
    all_pass(besiege(arena, targets, tmp_path), figures)


def test_a_good_start_excuses_no_drip(arena: Network, crowd: list[str], figures: Figures, tmp_path: Path) -> None:
    """A message in time, then a byte per second; and a megabyte announced of which nothing comes."""
    drip = {"first": b"a good line\nand".hex(), "drip": b"x".hex()}
    announced = {"first": ((1 << 20).to_bytes(4, "big") + b"and").hex()}
    frame = {"request": b"\0\0\0\6honest".hex(), "answer": b"\0\0\0\6honest".hex()}
    targets = [
        Target("drip after a good line, tcp", many(crowd, drip)),
        Target("drip after a good line, tls", many(crowd, drip | {"tls": True}, 300), "tls"),
        Target("1 MiB announced, nothing sent, tcp", many(crowd, announced), serve="frames", honest=frame),
    ]
    all_pass(besiege(arena, targets, tmp_path), figures)


# --- peers that take, or send, too much


def test_clients_that_never_read(arena: Network, crowd: list[str], figures: Figures, tmp_path: Path) -> None:
    """They ask for more than they read: cut when the kernel has taken nothing for 30 s, each at a bounded price."""
    attack = {"sources": crowd, "connections": FEW, "most": FEW, "first": b"more\n".hex(), "reads": False}
    targets = [
        Target("never reading, tcp", attack),
        Target("never reading, tls", attack | {"tls": True}, "tls"),
    ]
    for target in targets:
        target.memory_bytes = FEW * NEVER_READING_BYTES
    outcomes = besiege(arena, targets, tmp_path, seconds=NEVER_READING_SECONDS)
    assert [outcome.most_held for outcome in outcomes] == [FEW, FEW], "not all attackers came through"
    all_pass(outcomes, figures)


def test_what_is_too_long_is_refused_on_its_length(
    arena: Network, crowd: list[str], figures: Figures, tmp_path: Path
) -> None:
    """Within a second, before anything is set aside for it, and without a page in the log for each."""
    attack = {"sources": crowd, "connections": CROWD, "most": CROWD, "per_second": CROWD}
    frame = {"request": b"\0\0\0\6honest".hex(), "answer": b"\0\0\0\6honest".hex()}
    targets = [
        Target("2 GB announced", attack | {"first": b"\x7f\xff\xff\xff".hex()}, serve="frames", honest=frame),
        Target("a line without end", attack | {"first": (b"x" * 16_384).hex()}),
        # RFC 8446 section 5.1: a record has 2^14 bytes at most.
        Target("a record of 65,535 bytes", attack | {"first": b"\x16\x03\x01\xff\xff".hex()}, "tls"),
        # A ClientHello that says it has 16 MB, in a record that is allowed.
        Target("a ClientHello of 16 MB", attack | {"first": b"\x16\x03\x01\x40\x00\x01\xff\xff\xff".hex()}, "tls"),
    ]
    for target in targets:
        target.cut_seconds, target.log_bytes = 1.0, LOG_BYTES
    outcomes = besiege(arena, targets, tmp_path, seconds=2.0)
    all_pass(outcomes, figures)
    for outcome in outcomes:
        assert outcome.attacker["ended"] == CROWD, outcome.attacker


# --- too many of them


def test_out_of_descriptors(arena: Network, crowd: list[str], figures: Figures, tmp_path: Path) -> None:
    """256 descriptors, 400 clients: the server neither spins nor fills the disk, and honest clients are served."""
    targets = [
        Target(
            f"256 descriptors, 400 clients, {scheme}",
            many(crowd, {}, 400),
            scheme,
            descriptors=256,
            cpu_share=EXHAUSTED_CPU_SHARE,
            log_bytes=LOG_BYTES,
        )
        for scheme in ("tcp", "tls")
    ]
    all_pass(besiege(arena, targets, tmp_path), figures)


def test_one_source_that_connects_all_the_time(
    arena: Network, crowd: list[str], figures: Figures, tmp_path: Path
) -> None:
    attack = {"sources": crowd[:1], "connections": 4000, "most": 4000, "leaves": True}
    targets = [
        Target("1,000 connections/s, tcp", attack | {"first": b"line\n".hex()}),
        Target("1,000 ClientHellos/s, tls", attack | {"first": client_hello().hex()}, "tls"),
    ]
    outcomes = besiege(arena, targets, tmp_path, seconds=1.0)
    all_pass(outcomes, figures)
    for outcome in outcomes:
        assert outcome.stats is not None
        assert outcome.stats["refused_rate"] + outcome.stats["refused_penalty"] >= 2000, outcome.stats
        assert crowd[0] in outcome.stats["sources"], outcome.stats


def test_syn_flood(arena: Network, program: Callable[[str], str], figures: Figures, tmp_path: Path) -> None:
    """Forged SYNs are the kernel's to answer: its cookies do (net.ipv4.tcp_syncookies), and the backlog lets them."""
    server, attacker = arena["server"], arena["attacker"]
    # The answers to forged addresses need a way out of the server; the attacker drops them.
    server.run("ip", "route", "add", "default", "via", attacker.ip4)
    server.set(ipv4__tcp_syncookies=1)
    flood = [program("hping3"), "-q", "-n", "-S", "--rand-source", "-i", "u300", "-c", "6000", "-p", "{port}", "{host}"]
    outcomes = besiege(arena, [Target("SYN flood, tcp", ["timeout", "5", *flood])], tmp_path, seconds=4.0)
    counters = kernel_counters(server)
    figures(f"{outcomes[0].figures}, cookies {counters['SyncookiesSent']}")
    outcomes[0].check()
    assert counters["SyncookiesSent"] > 0, "the flood was too small to fill the queue"


def kernel_counters(host: Any) -> dict[str, int]:
    names, values = host.run("grep", "^TcpExt", "/proc/net/netstat").splitlines()
    return dict(zip(names.split()[1:], map(int, values.split()[1:]), strict=True))


# --- a tool that we did not write


def test_slowhttptest(arena: Network, program: Callable[[str], str], figures: Figures, tmp_path: Path) -> None:
    """Slow heads and slow bodies, from one machine; a head over TLS too."""
    tool = [program("slowhttptest"), "-c", "500", "-r", "500", "-i", "1", "-l", "20", "-p", "2"]
    honest = {
        "request": b"GET / HTTP/1.1\r\nHost: server\r\n\r\n".hex(),
        "answer": b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nserved".hex(),
    }
    targets = [
        Target("slowhttptest, heads, tcp", [*tool, "-H", "-u", "http://{host}:{port}/"], serve="web", honest=honest),
        Target("slowhttptest, bodies, tcp", [*tool, "-B", "-u", "http://{host}:{port}/"], serve="web", honest=honest),
        Target("slowhttptest, heads, tls", [*tool, "-H", "-u", "https://{host}:{port}/"], "tls", "web", honest),
    ]
    all_pass(besiege(arena, targets, tmp_path, seconds=12.0), figures)


# --- the rule itself


def test_the_rule_sees_a_server_without_limits_fail(arena: Network, figures: Figures, tmp_path: Path) -> None:
    """The echo on asyncio that everybody writes: a proof that could not fail would prove nothing."""
    attack = {"connections": 400, "most": 400}
    target = Target("asyncio, 256 descriptors, 400 clients", attack, serve="naive", descriptors=256)
    (outcome,) = besiege(arena, [target], tmp_path, seconds=2.0)
    figures(outcome.figures)
    faults = " ".join(outcome.faults())
    assert "during the attack" in faults
    assert "connections of the attacker are left" in faults
    assert outcome.log_bytes > LOG_BYTES
