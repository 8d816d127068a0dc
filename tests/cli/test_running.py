"""How a command's coroutine is run: signals cancel it, logs are lines."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Iterator

import click
import pytest

from socketkit.cli.running import run


@pytest.fixture(autouse=True)
def context() -> Iterator[click.Context]:
    """As within a command."""
    with click.Context(click.Command("test")) as context:
        yield context


def test_result() -> None:
    async def work() -> int:
        return 7

    assert run(work()) == 7


@pytest.mark.parametrize(("number", "ending"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_signal_cancels_and_is_raised_after_the_cleaning(number: signal.Signals, ending: type[BaseException]) -> None:
    cleaned = []

    async def work() -> None:
        os.kill(os.getpid(), number)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ending) as raised:
        run(work())
    assert cleaned == [True]
    assert getattr(raised.value, "code", 143) == 143
    assert signal.getsignal(signal.SIGTERM) is before


def test_end_waits_for_no_thread() -> None:
    """A name server that does not answer must not keep Ctrl-C from ending the program."""
    never, started = threading.Event(), threading.Event()

    async def work() -> None:
        loop = asyncio.get_running_loop()
        resolving = loop.run_in_executor(None, lambda: (started.set(), never.wait()))
        await loop.run_in_executor(None, started.wait)
        os.kill(os.getpid(), signal.SIGINT)
        await resolving

    with pytest.raises(KeyboardInterrupt):
        run(work())
    assert not never.is_set()
    never.set()


def test_thread_that_fails() -> None:
    async def work() -> None:
        with pytest.raises(ZeroDivisionError):
            await asyncio.get_running_loop().run_in_executor(None, lambda: 1 / 0)

    run(work())


def test_log_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    async def work() -> None:
        try:
            raise ValueError("first\nsecond")
        except ValueError:
            logging.getLogger("socketkit").exception("it failed")
        logging.getLogger("socketkit").warning("callers wait")
        logging.getLogger("socketkit").info("unheard")

    run(work())
    first, *rest = capsys.readouterr().err.splitlines()
    assert first == "socketkit: it failed: ValueError: first second"
    assert rest == ["socketkit: callers wait"]


def test_verbose_log_has_all(context: click.Context, capsys: pytest.CaptureFixture[str]) -> None:
    context.obj = True

    async def work() -> None:
        logging.getLogger("socketkit").debug("heard")
        try:
            raise ValueError("why")
        except ValueError:
            logging.getLogger("socketkit").exception("it failed")

    run(work())
    said = capsys.readouterr().err
    assert "heard" in said
    assert "Traceback" in said
