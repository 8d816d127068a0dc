"""`socketkit watch`, as it is run; its screen is in tests/cli/test_watch_screen.py."""

from __future__ import annotations

import fcntl
import json
import os
import select
import socket
import struct
import subprocess
import sys
import termios
from collections.abc import Callable

import pytest

from tests.cli.programs import Result, Start
from tests.cli.terminals import Terminal

pytestmark = pytest.mark.slow


def test_json(socketkit: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = socketkit("watch", "--json", "--own", f"local-port={listener.getsockname()[1]}", "!listening")
        printed = b""
        while printed.count(b"\n") < 2:
            with socket.create_connection(listener.getsockname()):  # again, until the command watches
                listener.accept()[0].close()
            readable, _, _ = select.select([command.output], [], [], 0.05)
            printed += os.read(command.output.fileno(), 65_536) if readable else b""
        command.interrupt()
        assert command.finish().status == 130
    assert [json.loads(line)["change"] for line in printed.splitlines()[:2]] == ["opened", "closed"]


def test_the_screen_needs_a_terminal(ran: Callable[..., Result]) -> None:
    result = ran("watch")
    assert (result.status, "--json prints changes" in result.err) == (2, True)
    assert "there is no prot" in ran("watch", "prot=80").err


def test_on_a_terminal_it_draws_and_ends_with_q() -> None:
    terminal = Terminal()
    try:
        # A terminal says how large it is.
        fcntl.ioctl(terminal.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 200, 0, 0))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
            environment["TERM"] = "xterm-256color"
            streams = {"stdin": terminal.theirs, "stdout": terminal.theirs, "stderr": terminal.theirs}
            command = [sys.executable, "-m", "socketkit", "watch", "--own", f"local-port={port}"]
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


def test_without_textual_it_names_the_extra() -> None:
    code = "import sys; sys.modules['textual'] = None; from socketkit.cli import main; sys.exit(main(['watch']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, "pip install 'socketkit[watch]'" in done.stderr) == (1, True)


LEAVES_THE_SCREEN = "\x1b[?1049l"
