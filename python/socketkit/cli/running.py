"""Runs a command's coroutine: signals end it cleanly, and what is logged is one line each."""

from __future__ import annotations

import asyncio
import logging
import signal
import traceback
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Thread
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import click

from . import TERMINATED

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

_P = ParamSpec("_P")
_T = TypeVar("_T")


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """The result of `work`. Ctrl-C and SIGTERM cancel it, and are raised when it has cleaned up.

    A second Ctrl-C does not wait for that.
    """
    _log_to_stderr(verbose=bool(click.get_current_context().find_root().obj))
    before = signal.getsignal(signal.SIGTERM)
    terminated = False

    async def main() -> _T:
        task = asyncio.current_task()
        assert task is not None

        def terminate() -> None:
            nonlocal terminated
            terminated = True
            task.cancel()

        loop = asyncio.get_running_loop()
        loop.set_default_executor(_DaemonThreads())
        loop.add_signal_handler(signal.SIGTERM, terminate)
        return await work

    try:
        return asyncio.run(main())
    except asyncio.CancelledError:
        if terminated:
            raise SystemExit(TERMINATED) from None
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


class _DaemonThreads(ThreadPoolExecutor):
    """A thread for each call, which the end of the program does not wait for.

    The loop's own executor would: Ctrl-C in `connect` then ended it when the name server had answered, or not.
    """

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        future: Future[_T] = Future()

        def call() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as failure:
                future.set_exception(failure)

        Thread(target=call, daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        pass


def _log_to_stderr(*, verbose: bool) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s") if verbose else _OneLine())
    logging.basicConfig(handlers=[handler], force=True)
    logging.getLogger("socketkit").setLevel(logging.DEBUG if verbose else logging.WARNING)


class _OneLine(logging.Formatter):
    """`socketkit: message: exception`, without the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        text = f"socketkit: {record.getMessage()}"
        if record.exc_info and record.exc_info[1]:
            text += ": " + " ".join("".join(traceback.format_exception_only(record.exc_info[1])).split())
        return text
