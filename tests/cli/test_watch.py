"""`socketkit watch`, as it is run; its screen is in tests/cli/test_watch_screen.py."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
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


def test_without_textual_it_names_the_extra() -> None:
    terminal = Terminal()
    code = "import sys; sys.modules['textual'] = None; from socketkit.cli import main; sys.exit(main(['watch']))"
    program = [sys.executable, "-c", code]
    done = subprocess.run(
        program, stdin=terminal.theirs, stdout=terminal.theirs, stderr=subprocess.PIPE, text=True, timeout=60
    )
    terminal.close()
    assert (done.returncode, "pip install 'socketkit[watch]'" in done.stderr) == (1, True)
