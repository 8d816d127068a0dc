"""How a service is shown: the list with its keys, lines of a crowd, JSON."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from socketkit import Endpoint
from socketkit.cli.peer_screen import LINES_PER_SECOND, JsonEvents, PeerLines, PeerScreen, screen, words_of
from socketkit.connection import Peer
from socketkit.hosting import About, Happening, Hosted, Row, at


class Connection:
    """As much of one as is shown."""

    received_bytes = 1_500
    sent_bytes = 20

    def __init__(self, port: int) -> None:
        self.peer = Peer(Endpoint.parse(f"tcp://192.0.2.7:{port}"))
        self.cut = False

    def abort(self) -> None:
        self.cut = True


def hosted() -> Hosted:
    return Hosted(at(Endpoint.parse("tcp://localhost:0")))


def made(number: int = 1) -> Row:
    return Row(number, "tcp://192.0.2.7:1", None, 2.5, 1_000, 2_000, "waits")


def test_list() -> None:
    async def main() -> None:
        service, shown = hosted(), PeerScreen()
        assert shown.lines(service) == [("0 connections", "dim")]
        connections = [Connection(port) for port in (7, 8, 9)]
        for connection in connections:
            service.peers.join(connection, "echo\x1b[31m")
        head, *rows, footer = [line for line, _ in shown.lines(service)]
        assert head.split() == ["peer", "since", "received", "sent", "doing"]
        assert "tcp://192.0.2.7:8" in rows[1] and "1.50 kB" in rows[1] and "20 B" in rows[1]
        assert "\x1b" not in rows[1]
        assert footer.startswith("3 connections")
        shown.press("x", service)  # nobody is chosen
        shown.press("down", service)
        shown.press("j", service)
        assert [style for _, style in shown.lines(service)] == ["bold", "", "reverse", "", "dim"]
        shown.press("x", service)
        assert [connection.cut for connection in connections] == [False, True, False]
        shown.press("up", service)
        assert shown.lines(service)[3][1] == "reverse"  # up from nowhere is the last one
        shown.press("down", service)
        assert shown.lines(service)[1][1] == "reverse"
        assert not service.reason
        shown.press("q", service)
        assert "ending: q was pressed" in shown.lines(service)[-1][0]

    asyncio.run(main())


def test_words() -> None:
    assert words_of(Happening("joined", made())) == "connection from tcp://192.0.2.7:1"
    gone = "received 1.00 kB, sent 2.00 kB in 2.50 s"
    assert words_of(Happening("left", made())) == f"tcp://192.0.2.7:1 has gone: {gone}"
    assert words_of(Happening("kicked", made())) == f"tcp://192.0.2.7:1 was sent off: {gone}"


def test_a_crowd_does_not_fill_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        lines = PeerLines()
        async with lines.shown(hosted()):
            for number in range(500):
                lines.tell(Happening("joined", made(number)))

    asyncio.run(main())
    said = capsys.readouterr().err.splitlines()
    assert len(said) == LINES_PER_SECOND + 1
    assert said[-1] == f"and {500 - LINES_PER_SECOND} more came or went"


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    events = JsonEvents()
    events.tell(Happening("joined", made()))
    events.tell(Happening("kicked", made()))
    joined, kicked = map(json.loads, capsys.readouterr().out.splitlines())
    assert joined == {
        "event": "joined",
        "number": 1,
        "address": "tcp://192.0.2.7:1",
        "fingerprint": None,
        "doing": "waits",
    }
    assert (kicked["event"], kicked["received_bytes"], kicked["seconds"]) == ("kicked", 1_000, 2.5)


def test_a_warning_and_facts(capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        service, shown = hosted(), PeerScreen()
        present = service.peers.join(Connection(7), "smtp")
        present.about = lambda: About("smtp, 1 mail", "PASSWORD SEEN", {"mails": 1})
        line, style = shown.lines(service)[1]
        assert line.rstrip().endswith("smtp, 1 mail, PASSWORD SEEN")
        assert style == "red"
        shown.press("down", service)
        assert shown.lines(service)[1][1] == "red reverse"
        service.peers.tell = JsonEvents().tell
        service.peers.leave(present)

    asyncio.run(main())
    left = json.loads(capsys.readouterr().out)
    assert (left["event"], left["warning"], left["mails"], left["doing"]) == (
        "left",
        "PASSWORD SEEN",
        1,
        "smtp, 1 mail",
    )


def test_which_one(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    class Terminal:
        def isatty(self) -> bool:
            return True

    assert isinstance(screen(as_json=True), JsonEvents)
    assert isinstance(screen(as_json=False), PeerLines)
    terminal: Any = Terminal()
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, terminal)
    chosen = screen(as_json=False)
    monkeypatch.undo()
    assert isinstance(chosen, PeerScreen)
