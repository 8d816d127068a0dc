"""Tests of rates and losses: what they measure is also what the machine did in that moment."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

Test = TypeVar("Test", bound=Callable[..., None])


def measured_again(test: Test) -> Test:
    """The test passes if one of three runs of it does.

    A machine that pauses for 0.2 s overflows a socket's buffer, or misses a part of a second's rate. What we do wrong
    is wrong each time.
    """

    @wraps(test)
    def tried(*arguments: object, **named: object) -> None:
        for left in reversed(range(RUNS)):
            try:
                return test(*arguments, **named)
            except AssertionError:
                if not left:
                    raise
        return None

    return tried  # type: ignore[return-value]


RUNS = 3
