"""Happy Eyeballs without sockets and without a clock."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

from socketkit.race import ATTEMPT_DELAY_SECONDS, Race, interleave

A4, B4, C4 = [(socket.AF_INET, (f"192.0.2.{number}", 80)) for number in (1, 2, 3)]
A6, B6 = [(socket.AF_INET6, (f"2001:db8::{number}", 80)) for number in (1, 2)]


def race(*addresses: tuple[int, tuple[Any, ...]]) -> Race[str]:
    async def start(address: object) -> str:
        return str(address)

    def defeat(failures: Sequence[BaseException]) -> BaseException:
        return LookupError(*[str(failure) for failure in failures])

    return Race(addresses, start, lambda _: None, defeat)


def test_families_take_turns_beginning_with_the_best_address() -> None:
    assert interleave([A6, B6, A4, B4, C4]) == [A6, A4, B6, B4, C4]
    assert interleave([A4, B4, A6]) == [A4, A6, B4]
    assert interleave([A4]) == [A4]


def test_a_repeated_address_is_tried_once() -> None:
    assert interleave([A4, A4, A6, A4, A6]) == [A4, A6]


def test_the_first_attempt_starts_at_once_and_the_next_after_the_delay() -> None:
    attempts = race(A6, A4)
    assert attempts.due(100.0) == 0
    assert attempts.due(100.0) is None
    assert attempts.patience(100.0) == ATTEMPT_DELAY_SECONDS
    assert attempts.due(100.0 + ATTEMPT_DELAY_SECONDS - 0.001) is None
    assert attempts.due(100.0 + ATTEMPT_DELAY_SECONDS) == 1
    assert attempts.due(200.0) is None
    assert attempts.patience(200.0) is None


def test_a_failure_makes_the_next_one_due_at_once() -> None:
    attempts = race(A6, A4, B6)
    assert attempts.due(5.0) == 0
    attempts.failed(0, OSError("no"), 5.1)
    assert attempts.patience(5.1) == 0
    assert attempts.due(5.1) == 1
    assert attempts.due(5.1) is None
    assert attempts.patience(5.2) == ATTEMPT_DELAY_SECONDS - (5.2 - 5.1)


def test_a_late_look_is_not_made_up_for() -> None:
    """A loop that was busy for a second starts one attempt, not four."""
    attempts = race(A6, A4, B6)
    assert attempts.due(0.0) == 0
    assert attempts.due(1.0) == 1
    assert attempts.due(1.0) is None


def test_defeat_tells_of_all_in_the_order_of_their_start() -> None:
    attempts = race(A6, A4, B6)
    for now in (0.0, 1.0, 2.0):
        attempts.due(now)
    attempts.failed(2, OSError("third"), 3.0)
    attempts.failed(0, OSError("first"), 3.1)
    attempts.failed(1, OSError("second"), 3.2)
    assert attempts.defeat().args == ("first", "second", "third")


def test_an_attempt_gets_its_address() -> None:
    attempts = race(A4, A6)
    work = attempts.attempt(1)
    try:
        work.send(None)
    except StopIteration as end:
        assert end.value == str(A6)
