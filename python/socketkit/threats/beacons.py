"""Beacons: how much the contacts of a program with a place look like a report that is sent again and again.

Sans-I/O: contacts (a connection that was seen, with its bytes and its time) go in, scores come out. A contact that
comes at random is no beacon: people and queues come at random, timers do not.

    regularity = 1 - (MAD / median of the gaps) / 0.694         0.694: what random (exponential) gaps have
    score = regularity x (0.55 + 0.15 size + 0.15 spread + 0.15 duration) x (1 - trust)

`size` is how much the contacts' bytes are alike, `spread` how evenly they fill the time, `duration` how long it has
gone on. Bounded: of each pair so many contacts, and so many pairs, the longest silent going first.
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


class Contact(NamedTuple):
    """A connection that a program began."""

    at: float  # seconds, of any clock that does not jump
    executable: str
    destination: str  # `198.51.100.7:443/tcp`
    bytes: int = 0


class Score(NamedTuple):
    executable: str
    destination: str
    score: float
    regularity: float
    contacts: int
    period_seconds: float  # the median of the gaps
    trust: float


class Beacons:
    """Contacts, until they are forgotten. `trust(executable, destination)` is 0 (none) to 1."""

    def __init__(
        self, trust: Callable[[str, str], float] = lambda executable, destination: 0.0, *, pairs: int = 4_096
    ) -> None:
        self._trust = trust
        self._most_pairs = pairs
        self._pairs: dict[tuple[str, str], deque[Contact]] = {}

    def add(self, contact: Contact) -> None:
        key = (contact.executable, contact.destination)
        contacts = self._pairs.pop(key, None)
        if contacts is None:
            contacts = deque(maxlen=MOST_CONTACTS)
            if len(self._pairs) >= self._most_pairs:
                del self._pairs[next(iter(self._pairs))]  # the one whose last contact is the longest ago
        if contacts and contact.at - contacts[-1].at < SAME_SECONDS:
            # A program that opens several connections at once has made one contact.
            contacts[-1] = contacts[-1]._replace(bytes=contacts[-1].bytes + contact.bytes)
        else:
            contacts.append(contact)
        self._pairs[key] = contacts

    def scores(self, least: float = 0.0) -> list[Score]:
        """Of all that have enough contacts and score so much, the highest first."""
        found = [score for score in self._scores() if score.score >= least]
        return sorted(found, key=lambda score: (-score.score, score.executable, score.destination))

    def __len__(self) -> int:
        return len(self._pairs)

    def _scores(self) -> Iterator[Score]:
        for (executable, destination), contacts in self._pairs.items():
            if len(contacts) < LEAST_CONTACTS or contacts[-1].at - contacts[0].at < LEAST_SECONDS:
                continue
            gaps = [after.at - before.at for before, after in pairwise(contacts)]
            regular = regularity(gaps)
            trust = self._trust(executable, destination)
            worth = weight(contacts) * (1 - trust)
            yield Score(executable, destination, regular * worth, regular, len(contacts), median(gaps), trust)


def regularity(gaps: Sequence[float]) -> float:
    """1 for gaps that are all alike, 0 for random ones, and for those that vary more."""
    middle = median(gaps)
    if middle <= 0:
        return 0.0
    return max(0.0, 1 - deviation(gaps, middle) / middle / RANDOM_DEVIATION)


def weight(contacts: Sequence[Contact]) -> float:
    """0.55 to 1: how alike in size, how evenly spread, how long."""
    sizes = [float(contact.bytes) for contact in contacts]
    middle = median(sizes)
    alike = max(0.0, 1 - deviation(sizes, middle) / middle) if middle else 1.0
    first, whole = contacts[0].at, contacts[-1].at - contacts[0].at
    slots = {min(int((contact.at - first) / whole * SLOTS), SLOTS - 1) for contact in contacts} if whole > 0 else {0}
    spread = len(slots) / min(SLOTS, len(contacts))
    duration = min(1.0, len(contacts) / ENOUGH_CONTACTS)
    return 0.55 + 0.15 * (alike + min(spread, 1.0) + duration)


def deviation(values: Sequence[float], middle: float) -> float:
    """The median absolute deviation."""
    return median([abs(value - middle) for value in values])


def median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


RANDOM_DEVIATION = 0.694
SLOTS = 12
LEAST_CONTACTS, ENOUGH_CONTACTS, MOST_CONTACTS = 12, 20, 512
LEAST_SECONDS = 30.0
SAME_SECONDS = 0.5
FLAGGED, HIGH = 0.55, 0.75
