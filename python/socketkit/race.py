"""Happy Eyeballs (RFC 8305): which address to try next, and when. No I/O and no clock: `now` is an argument.

Addresses alternate between families; the next attempt starts 250 ms after the one before, or at once when that failed;
the first connection wins. Names are resolved before the race (the C library asks for both families at once), so there
is no resolution delay.
"""

from __future__ import annotations

from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

_T = TypeVar("_T")


class Race(Generic[_T]):
    """The attempts to connect to one endpoint.

    `start(address)` is a coroutine that connects to one address; `discard(winner)` is given a connection that came too
    late; `defeat(failures)` makes the exception when all failed.
    """

    def __init__(
        self,
        addresses: Sequence[tuple[int, tuple[Any, ...]]],
        start: Callable[[tuple[int, tuple[Any, ...]]], Coroutine[Any, Any, _T]],
        discard: Callable[[_T], None],
        defeat: Callable[[Sequence[BaseException]], BaseException],
    ) -> None:
        self.addresses = interleave(addresses)
        self.discard = discard
        self._start = start
        self._defeat = defeat
        self._next = 0
        self._due_at: float | None = None
        self._failures: dict[int, BaseException] = {}

    def due(self, now: float) -> int | None:
        """The attempt to start now; it counts as started."""
        if self._next == len(self.addresses) or (self._due_at is not None and now < self._due_at):
            return None
        self._due_at = now + ATTEMPT_DELAY_SECONDS
        self._next += 1
        return self._next - 1

    def attempt(self, index: int) -> Coroutine[Any, Any, _T]:
        return self._start(self.addresses[index])

    def failed(self, index: int, failure: BaseException, now: float) -> None:
        """Note a failed attempt: the next one is due at once."""
        self._failures[index] = failure
        self._due_at = now

    def patience(self, now: float) -> float | None:
        """Seconds until the next attempt is due; None when there is no further one."""
        if self._next == len(self.addresses) or self._due_at is None:
            return None
        return max(0.0, self._due_at - now)

    def defeat(self) -> BaseException:
        return self._defeat([self._failures[index] for index in sorted(self._failures)])


def interleave(addresses: Sequence[tuple[int, tuple[Any, ...]]]) -> list[tuple[int, tuple[Any, ...]]]:
    """The addresses with their families taking turns, the family of the first one first (RFC 8305 §4).

    Repetitions are left out.
    """
    unique = list(dict.fromkeys(addresses))
    first = [address for address in unique if address[0] == unique[0][0]]
    other = [address for address in unique if address[0] != unique[0][0]]
    return [address for address in chain.from_iterable(zip_longest(first, other)) if address is not None]


ATTEMPT_DELAY_SECONDS = 0.25
