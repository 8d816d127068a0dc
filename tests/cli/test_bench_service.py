"""What the serving side of a bench says."""

from __future__ import annotations

from socketkit.cli.bench_service import _quoted, _told, _words
from socketkit.inspect.measuring.plan import Plan
from socketkit.inspect.measuring.protocol import MEASURED
from socketkit.inspect.measuring.session import Session


def test_a_test_in_words() -> None:
    session = Session("0" * 16, Plan(flows=2), 0)
    session.side.begin(0, 0)
    session.side.incoming[0].arrivals.note(MEASURED, 0, 0, 0, 2_500_000)
    session.stop(2_000_000_000, 0)
    told = _told(session, "tcp://127.0.0.1:7")
    assert told["received_bytes"] == 2_500_000
    assert _words(told) == "test by tcp://127.0.0.1:7: received 2.50 MB (10.0 Mbit/s) in 2.00 s, 2 flows"
    assert "nothing sent" in _words(told | {"received_bytes": 0})


def test_the_command_can_be_pasted() -> None:
    assert _quoted("tcp://localhost:5201") == "tcp://localhost:5201"
    assert _quoted("udp://*:5201?plaintext=yes") == "'udp://HOST:5201?plaintext=yes'"
