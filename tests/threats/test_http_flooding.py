"""Denial of service by HTTP: the attacks of `test_flooding` one layer up, on `socketkit.http.serve` with its limits.

What one connection can do is in `tests/http`; here many do it at once, beside an honest client.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.http.raw_frames import HEADERS, PREFACE, block, frame, settings
from tests.threats.namespaces import Network
from tests.threats.siege import Target, besiege
from tests.threats.test_flooding import CROWD, LOG_BYTES, all_pass

pytestmark = [pytest.mark.privileged, pytest.mark.slow, pytest.mark.siege, pytest.mark.timeout(300)]

Figures = Callable[[str], None]

HALF_OPEN = 500
HONEST = {
    "request": b"GET / HTTP/1.1\r\nHost: server\r\n\r\n".hex(),
    "answer": b"HTTP/1.1 200 OK\r\ndate: now\r\ncontent-length: 6\r\n\r\nserved".hex(),
}


@pytest.fixture
def crowd(arena: Network) -> list[str]:
    return arena["attacker"].take_sources(CROWD)


def http(name: str, first: bytes, sources: list[str], scheme: str = "tcp", **attack: Any) -> Target:
    deeds = {"sources": sources, "connections": HALF_OPEN, "most": HALF_OPEN, "first": first.hex(), **attack}
    return Target(name, deeds, scheme, "http", HONEST, log_bytes=LOG_BYTES)


def test_half_open_requests(arena: Network, crowd: list[str], figures: Figures, tmp_path: Path) -> None:
    """500 clients that have begun, and go on with nothing."""
    targets = [
        http("500 half heads, tcp", b"GET / HTTP/1.1\r\nHost: a\r\nX: ", crowd),
        http("500 half bodies, tcp", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\na", crowd),
    ]
    all_pass(besiege(arena, targets, tmp_path), figures)


def test_half_a_block(arena: Network, crowd: list[str], figures: Figures, tmp_path: Path) -> None:
    """The same over HTTP/2, whose silent connections are looked at every ten seconds."""
    half = PREFACE + settings() + frame(HEADERS, 0, 1, block()[:9])
    attack = {"tls": True, "alpn": ["h2"], "per_second": 20, "connections": 100, "most": 100}
    target = http("100 half heads, HTTP/2", half, crowd, "tls", **attack)
    target.limits = {"idle_seconds": 5.0}
    all_pass(besiege(arena, [target], tmp_path, seconds=15.0), figures)
