"""The tour's table."""

from __future__ import annotations

import pytest

from socketkit.cli.tour_screen import Screen
from socketkit.cli.visits import Visit
from tests.keys import A

WORKS = Visit(
    "TCP over IPv4",
    "tcp4://localhost:4000",
    "works",
    peer="tcp4://127.0.0.1:50000",
    encrypted=False,
    sent_bytes=10_000_000,
    received_bytes=10_000_000,
    bytes_per_second=1.5e9,
    latency_seconds=43e-6,
)
LOCAL = Visit("Unix, path", "unix:///tmp/x", "works", peer="unix:// (pid 1, uid 0)", encrypted=True)
ABSENT = Visit("TCP over IPv6", "tcp6://localhost:0", "absent", "no IPv6 on this machine")
FAILED = Visit("in the process", "mem://tour", "failed", "a message came back changed")
WAITING = Visit("Unix, abstract name", "unix://@x")


def printed(visits: list[Visit], capsys: pytest.CaptureFixture[str]) -> list[str]:
    with Screen(visits):
        pass
    return capsys.readouterr().out.splitlines()


def row(lines: list[str], word: str) -> list[str]:
    (line,) = (line for line in lines if word in line)
    return [cell.strip() for cell in line.split("   ") if cell.strip()]


def test_rows(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed([WORKS, LOCAL, ABSENT, FAILED, WAITING], capsys)
    assert row(lines, "tcp4") == [
        "✓",
        "tcp4://localhost:4000",
        "tcp4://127.0.0.1:50000",
        "no",
        "20.0 MB",
        "1.50 GB/s",
        "43.0 µs",
    ]
    assert row(lines, "unix:///tmp/x")[:4] == ["✓", "unix:///tmp/x", "unix:// (pid 1, uid 0)", "not needed"]
    assert row(lines, "IPv6") == ["-", "TCP over IPv6", "no IPv6 on this machine"]
    assert row(lines, "mem://") == ["✗", "mem://tour", "a message came back changed"]
    assert row(lines, "abstract") == ["Unix, abstract name"]
    assert lines[-1] == ("2 socket types opened and used both ways; 1 not on this machine; 1 FAILED")


def test_encrypted(capsys: pytest.CaptureFixture[str]) -> None:
    tls = Visit("TLS", f"tls://localhost:1?pin={A}", "works", peer="tls://localhost:2", encrypted=True)
    assert row(printed([tls], capsys), "tls://") == ["✓", "tls://localhost:1", "tls://localhost:2", "yes", "0 B"]
    tls.cipher, tls.key_exchange = "TLS13_AES_256_GCM_SHA384", "X25519MLKEM768"
    assert "AES_256_GCM_SHA384, X25519MLKEM768" in row(printed([tls], capsys), "tls://")


def test_nothing_is_concluded_from_half_a_tour(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), Screen([WORKS]):
        raise KeyboardInterrupt
    assert capsys.readouterr().out == ""


def test_alive_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    visit = Visit("TCP over IPv4", "tcp4://localhost:0")
    with Screen([visit]) as screen:
        visit.outcome, visit.peer, visit.sent_bytes = "running", "tcp4://127.0.0.1:1", 1_000
        screen._live.refresh()
        visit.outcome = "works"
    text = capsys.readouterr().out
    before, after = text.index("1.00 kB"), text.index("✓")
    assert before < after


def test_groups_have_their_heading(capsys: pytest.CaptureFixture[str]) -> None:
    frames = Visit("frames", "raw", group="raw sockets: low")
    lines = printed([Visit("UDP", "udp", group="datagrams: may get lost"), frames, frames], capsys)
    assert row(lines, "may get lost") == ["datagrams", "may get lost"]
    assert sum("raw sockets" in line for line in lines) == 1
