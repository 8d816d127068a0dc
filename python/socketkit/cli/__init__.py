"""The command line: one module per command, each loaded when it is asked for.

What is decided here is how the program ends, whatever the command. An error is one line on stderr that names the
remedy (an address adds the line with its caret, a refusal one with the page about its threat), never a traceback; `-v`
shows that before it.
"""

from __future__ import annotations

import os
import signal
import sys
from io import TextIOWrapper
from typing import TYPE_CHECKING

from ..errors import (
    BusyConnection,
    ClosedConnection,
    FaultyText,
    HistoryError,
    IdentityError,
    MessageTooLarge,
    PeerViolation,
    explain,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType
    from typing import NoReturn, TextIO

FAILED = 1
WRONG_COMMAND_LINE = 2
# As a shell reports a program that the signal has ended.
INTERRUPTED = 128 + signal.SIGINT
NOBODY_READS = 128 + signal.SIGPIPE
TERMINATED = 128 + signal.SIGTERM


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, this process's own if none is given; returns the exit status."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    _hold_standard_descriptors()
    _replace_unprintable()
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        status = _run(words)
        sys.stdout.flush()
    except BaseException as ending:
        status = _status(ending)
        _say_notes(ending)
    finally:
        signal.signal(signal.SIGTERM, before)
    return _flushed(status)


def _run(words: list[str]) -> int:
    if words == ["--version"]:
        # Without click: importing it takes longer than all the rest.
        from .. import __version__

        print(f"socketkit {__version__}")
        return 0
    from .commands import invoke

    return invoke(words)


def _status(ending: BaseException) -> int:
    """The exit status for what ended the command; says why if it is an error."""
    match ending:
        case SystemExit(code=int() as status):
            return status
        case KeyboardInterrupt():
            if sys.stderr.isatty():
                _say("")  # behind the terminal's ^C
            return INTERRUPTED
        case BrokenPipeError():  # a SocketError is none, whatever its number
            return NOBODY_READS
        case FaultyText():
            return _complain(str(ending), WRONG_COMMAND_LINE)
        case OSError() if type(ending).__module__ == "builtins":
            where = f"{ending.filename}: " if ending.filename else ""
            return _complain(where + (explain(ending.errno, "file") if ending.errno else str(ending)), FAILED)
        case OSError() | EOFError() | BusyConnection() | ClosedConnection() | IdentityError():
            return _complain(str(ending), FAILED)
        case HistoryError() | MessageTooLarge() | PeerViolation():
            return _complain(str(ending), FAILED)
    return _status_of_click(ending)


def _status_of_click(ending: BaseException) -> int:
    import click

    match ending:
        case click.exceptions.Exit():
            return ending.exit_code
        case click.UsageError():
            reason = ending.format_message().rstrip(".")
            more = f" (see {ending.ctx.command_path} --help)" if ending.ctx else ""
            return _complain(f"{reason[:1].lower()}{reason[1:]}{more}", WRONG_COMMAND_LINE)
        case click.ClickException():
            return _complain(ending.format_message(), ending.exit_code)
    return _complain(f"a fault of socketkit itself: {ending!r} (-v shows where)", FAILED)


def _complain(reason: str, status: int) -> int:
    _say(f"socketkit: {reason}")
    return status


def _say_notes(ending: BaseException) -> None:
    """The page about the threat for which something was refused: once, however many attempts were."""
    failures = [ending, *getattr(ending, "attempts", ())]
    notes = [note for failure in failures for note in getattr(failure, "__notes__", ())]
    dimmed = sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    for note in dict.fromkeys(notes):
        _say(f"\x1b[2m{note}\x1b[0m" if dimmed else note)


def _say(text: str) -> None:
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:  # nobody reads stderr either
        _silence(sys.stderr)


def _flushed(status: int) -> int:
    """Flush what is printed here and not at the interpreter's end, which would complain in its own words."""
    try:
        sys.stdout.flush()
    except OSError as failure:
        _silence(sys.stdout)
        return status or _status(failure)
    return status


def _silence(stream: TextIO) -> None:
    """What it still holds goes nowhere: the interpreter would try it once more at its end, and fail for that (120)."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _hold_standard_descriptors() -> None:
    """Open those of 0, 1 and 2 that the caller closed: else a socket got the number, and what is printed."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def _replace_unprintable() -> None:
    """A terminal without a letter shows ? for it: no reason to fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(TERMINATED)
