"""`socketkit watch --record`: as a service, beside lines and beside the screen."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from socketkit.errors import HistoryError
from socketkit.inspect.history import History
from socketkit.inspect.watch import watch
from tests.cli.programs import Result, Start
from tests.cli.terminals import Terminal
from tests.cli.test_watch import LEAVES_THE_SCREEN
from tests.conftest import Run

pytestmark = pytest.mark.slow

Ran = Callable[..., Result]


@pytest.mark.parametrize("words", [["--quiet"], []])
def test_a_service_records_until_sigterm(socketkit: Start, tmp_path: Path, words: list[str]) -> None:
    path = str(tmp_path / "history.db")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        command = socketkit("watch", "--own", "--record", path, f"local-port={port}", *words)
        command.said("recording: socketkit history ")
        with socket.create_connection(listener.getsockname()):
            listener.accept()[0].close()
        with History(path) as history:
            while not list(history.connections()):
                assert command.process.poll() is None
        command.process.send_signal(signal.SIGTERM)
        result = command.finish()
    assert (result.status, result.out) == (143, b"")
    assert "Traceback" not in result.err
    with History(path) as history:
        assert [(span.ended, span.running, span.selection) for span in history.spans()] == [
            (True, False, f"local-port={port}")
        ]
        assert {row.state for row in history.sockets()} >= {"listening"}


def test_lines_and_a_record(socketkit: Start, tmp_path: Path) -> None:
    path = str(tmp_path / "history.db")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        command = socketkit("watch", "--own", "--json", "--record", path, f"local-port={port}")
        printed = b""
        while b'"closed"' not in printed:
            with socket.create_connection(listener.getsockname()):  # again, until the command watches
                listener.accept()[0].close()
            readable, _, _ = select.select([command.output], [], [], 0.05)
            printed += os.read(command.output.fileno(), 65_536) if readable else b""
        command.interrupt()
        assert command.finish().status == 130
    with History(path) as history:
        assert list(history.sockets())


def test_the_screen_and_a_record(tmp_path: Path) -> None:
    path, terminal = str(tmp_path / "history.db"), Terminal()
    try:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "200", "LINES": "24"}
            streams = {"stdin": terminal.theirs, "stdout": terminal.theirs, "stderr": terminal.theirs}
            command = [sys.executable, "-m", "socketkit", "watch", "--own", "--record", path, f"local-port={port}"]
            with subprocess.Popen(command, env=environment, **streams, **terminal.options()) as process:
                try:
                    terminal.asked(f"tcp://127.0.0.1:{port}")
                    os.write(terminal.ours, b"q")
                    terminal.asked(LEAVES_THE_SCREEN)
                    assert process.wait(60) == 0
                finally:
                    process.kill()
    finally:
        terminal.close()
    with History(path) as history:
        assert [(row.state, row.port) for row in history.sockets()] == [("listening", port)]


def test_a_file_that_breaks_is_told_and_ends_nothing(run: Run, tmp_path: Path) -> None:
    from socketkit.cli.watch_recording import recording_of

    async def main() -> None:
        told: list[str] = []
        heard = asyncio.Event()

        def hear(text: str) -> None:
            told.append(text)
            heard.set()

        recording = recording_of(str(tmp_path / "a"), quiet=False, max_size=None, max_age=None)
        assert recording is not None
        watching = watch("port=1", first_bytes=False, namespaces="own")
        with pytest.raises(HistoryError, match="closed database"):
            async with watching, recording.beside(watching, hear):
                recording._recorder._writer._connection.close()  # nothing can be written any more
                await heard.wait()
                assert watching.take() == []
        assert len(told) == 1

    run(main())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--quiet"], "go with --record FILE"),
        (["--max-age", "1d"], "go with --record FILE"),
        (["--record", "{}", "--max-size", "12x"], "an amount is a number of bytes"),
        (["--record", "{}", "--max-size", "12"], "max_bytes is at least 1,048,576"),
        (["--record", "{}", "--max-age", "3x"], "a time is a number with s, m, h or d"),
        (["--record", "{}", "--max-age", "0d"], "a time is a number with s, m, h or d"),
        (["--record", "{}", "--max-age", "9999999999999d"], ""),
    ],
)
def test_options_that_cannot_be_meant(ran: Ran, tmp_path: Path, words: list[str], told: str) -> None:
    result = ran("watch", *(word.format(tmp_path / "history.db") for word in words))
    assert (result.status, told in result.err) == (2, True), result.err
    assert list(tmp_path.iterdir()) == []


def test_a_second_recorder_is_refused(socketkit: Start, ran: Ran, tmp_path: Path) -> None:
    path = str(tmp_path / "history.db")
    socketkit("watch", "--own", "--record", path, "port=1").said("recording: ")
    result = ran("watch", "--own", "--record", path, "port=1")
    assert (result.status, "is being recorded by another program" in result.err) == (1, True)
    assert ran("watch", "--record", str(tmp_path / "no" / "folder")).status == 1
