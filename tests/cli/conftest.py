"""`socketkit(...)` runs the real command, as a process of its own; every one is gone when the test ends."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.cli.programs import Program, Result, Start


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A command that is run in this process sets up logging for all of it."""
    root, ours = logging.getLogger(), logging.getLogger("socketkit")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


@pytest.fixture
def start() -> Iterator[Start]:
    """`start(words, **options of Popen)` starts any program."""
    running: list[Program] = []

    def start(words: list[str], **options: Any) -> Program:
        running.append(Program(words, **options))
        return running[-1]

    yield start
    for program in reversed(running):
        program.close()


@pytest.fixture
def socketkit(start: Start) -> Start:
    """`socketkit("connect", url, **options of Popen)` starts the command."""

    def socketkit(*words: str, **options: Any) -> Program:
        return start([sys.executable, "-m", "socketkit", *words], **options)

    return socketkit


@pytest.fixture
def ran(socketkit: Start) -> Callable[..., Result]:
    """`ran("connect", url, data=b"")` runs the command to its end, with `data` on its stdin."""

    def ran(*words: str, data: bytes | None = None, **options: Any) -> Result:
        if data is not None:
            options["stdin"] = subprocess.PIPE
        return socketkit(*words, **options).finish(data)

    return ran


@pytest.fixture
def closed_pipe() -> Iterator[int]:
    """The end to write of a pipe that nobody reads."""
    read, write = os.pipe()
    os.close(read)
    yield write
    os.close(write)
