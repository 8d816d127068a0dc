"""How the program ends: exit status, and one line that says why."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import socketkit
from socketkit import (
    BrokenConnection,
    BusyConnection,
    ClosedConnection,
    ConnectError,
    EndOfStream,
    Endpoint,
    EndpointError,
    PeerViolation,
)
from socketkit.cli import commands, main
from socketkit.errors import explained

SOCKETKIT = [sys.executable, "-m", "socketkit"]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"socketkit {socketkit.__version__}\n"


def test_version_among_other_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-v", "--version"]) == 0
    assert capsys.readouterr().out == f"socketkit {socketkit.__version__}\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "unneeded"),
    [
        (["--version"], {"asyncio", "click", "rich", "logging"}),
        (["--help"], {"asyncio", "rich", "logging", "socketkit.cli.tour"}),
        (["connect", "--help"], {"asyncio", "rich", "logging"}),
        (["tour", "--help"], {"asyncio", "rich", "logging"}),
    ],
)
def test_imports_no_more_than_it_needs(words: list[str], unneeded: set[str]) -> None:
    code = f"import sys; from socketkit.cli import main; main({words}); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20)
    assert not unneeded & set(done.stderr.split())


# --- why it ended

HERE = Endpoint.parse("tcp://localhost:1")


@pytest.mark.parametrize(
    ("ending", "status", "line"),
    [
        (KeyboardInterrupt(), 130, ""),
        (SystemExit(143), 143, ""),
        (BrokenPipeError(errno.EPIPE, "broken"), 141, ""),
        # The network's broken pipe is not that of stdout.
        (BrokenConnection("send", HERE, "closed by the peer", errno.EPIPE), 1, f"send {HERE}: closed by the peer"),
        (EndpointError("no port", "tcp://a", 6, "write one"), 2, "no port (write one)\n  tcp://a\n        ^"),
        (OSError(errno.ENOSPC, "No space", "log"), 1, "log: no space left on device"),
        (OSError("something else"), 1, "something else"),
        (EndOfStream("receive: the stream has ended"), 1, "receive: the stream has ended"),
        (ClosedConnection("send: closed"), 1, "send: closed"),
        (BusyConnection("busy"), 1, "busy"),
        (PeerViolation("too long"), 1, "too long"),
        (ZeroDivisionError("oh"), 1, "a fault of socketkit itself: ZeroDivisionError('oh') (-v shows where)"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_ending(
    ending: BaseException,
    status: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def end(words: object) -> int:
        raise ending

    monkeypatch.setattr(commands, "invoke", end)
    assert main(["connect"]) == status
    assert capsys.readouterr().err == (f"socketkit: {line}\n" if line else "")


REFUSED = "connect tcp://192.0.2.1:80: plain text could be read and changed on its way"
PAGE = "see docs/threats/unencrypted.md"


@pytest.mark.parametrize(
    ("terminal", "no_color", "note"), [(False, "", PAGE), (True, "1", PAGE), (True, "", f"\x1b[2m{PAGE}\x1b[0m")]
)
def test_a_refusal_names_the_page_about_its_threat(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], terminal: bool, no_color: str, note: str
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("TERM", "xterm")
    assert main(["connect", "tcp://192.0.2.1:80"]) == 1
    said = capsys.readouterr().err
    first, last = said.splitlines()
    assert first.startswith(f"socketkit: {REFUSED}")
    assert last == note


def test_the_page_is_named_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever number of attempts was refused for it."""
    attempts = [explained(ConnectError("connect", HERE, "refused"), "unencrypted") for _ in range(2)]
    whole = ConnectError("connect", HERE, "every address failed")
    whole.attempts = tuple(attempts)

    def end(words: object) -> int:
        raise whole

    monkeypatch.setattr(commands, "invoke", end)
    assert main(["connect"]) == 1
    assert capsys.readouterr().err == f"socketkit: connect {HERE}: every address failed\n{PAGE}\n"


def test_a_traceback_has_the_page_already(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-v", "listen", "tcp://*:0"]) == 1
    assert capsys.readouterr().err.count("see docs/threats/open-ports.md") == 1


def test_terminal_gets_a_new_line_behind_its_ctrl_c(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def end(words: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "invoke", end)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["connect"]) == 130
    assert capsys.readouterr().err == "\n"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["conect"], "no such command: conect, did you mean connect? (see socketkit --help)"),
        (["zzz"], "no such command: zzz (see socketkit --help)"),
        (["connect"], "missing argument 'URL' (see socketkit connect --help)"),
        (["connect", "--clrf", "tcp://:1"], None),
        (["connect", "tpc://localhost:1"], "unknown scheme tpc (did you mean tcp?)\n  tpc://localhost:1\n  ^"),
        (["connect", "--linger", "-1", "tcp://:1"], None),
    ],
)
def test_wrong_command_line(words: list[str], line: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.startswith("socketkit: ")
    assert line is None or said == f"socketkit: {line}\n"
    assert line is not None or said.count("\n") == 1


def test_no_words_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("Usage: socketkit")


def test_sigterm_handler_is_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    main(["--version"])
    assert signal.getsignal(signal.SIGTERM) is before


def test_sigterm_before_a_loop_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(words: object) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        return 0

    monkeypatch.setattr(commands, "invoke", end)
    assert main(["connect"]) == 143


# --- standard descriptors that are not what they should be


@pytest.mark.slow
@pytest.mark.parametrize("words", [["--version"], ["--help"], ["completion", "bash"]])
def test_nobody_reads_the_output(closed_pipe: int, words: list[str]) -> None:
    done = subprocess.run([*SOCKETKIT, *words], stdout=closed_pipe, stderr=subprocess.PIPE, timeout=20)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.slow
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_nobody_reads_the_errors(closed_pipe: int, unbuffered: str) -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run([*SOCKETKIT, "zzz"], stdout=subprocess.PIPE, stderr=closed_pipe, timeout=20, env=environment)
    assert (done.returncode, done.stdout) == (2, b"")


@pytest.mark.slow
def test_disk_is_full() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([*SOCKETKIT, "--help"], stdout=full, stderr=subprocess.PIPE, timeout=20)
    assert (done.returncode, done.stderr) == (1, b"socketkit: no space left on device\n")


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_descriptors_are_held(closed: str) -> None:
    shell = ["sh", "-c", f'"$@" {closed}', "sh", *SOCKETKIT, "connect", "tcp://127.0.0.1:1"]
    done = subprocess.run(shell, capture_output=True, timeout=20)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
