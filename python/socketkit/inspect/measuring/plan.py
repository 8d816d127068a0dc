"""`Plan`: what is measured, and for how long. One side asks for it, the other has bounds for all of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ...errors import PeerViolation, raisable
from .protocol import HEADER


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Directions are seen from who asks: `up` is sent by him, `down` to him.

    `flows` run in each direction, each of them at `bits_per_second` (0: as fast as it goes). Raises ValueError for what
    no server grants.
    """

    seconds: float = 10.0
    warm_up_seconds: float = 0.0
    up: bool = True
    down: bool = False
    flows: int = 1
    message_bytes: int = 131_072
    bits_per_second: int = 0

    def __post_init__(self) -> None:
        if not (self.up or self.down):
            raise ValueError("nothing to measure: up, down or both")
        for name, (least, most) in BOUNDS.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise ValueError(f"{name.replace('_', ' ')} must be from {least:,} to {most:,}, not {value:,}")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, words: object) -> Plan:
        """PeerViolation for what is none, or beyond the bounds."""
        expected = cls.__dataclass_fields__
        if not isinstance(words, dict) or words.keys() != expected.keys():
            raise raisable(PeerViolation)(f"a plan has {', '.join(expected)}")
        for name, value in words.items():
            kinds = {"float": (int, float), "int": (int,), "bool": (bool,)}[str(expected[name].type)]
            if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
                raise raisable(PeerViolation)(f"{name} is no {expected[name].type}")
        try:
            return cls(**words)
        except ValueError as fault:
            raise raisable(PeerViolation)(str(fault)) from None


MOST_SECONDS = 3600.0
BOUNDS: dict[str, tuple[float, float]] = {
    "seconds": (0.1, MOST_SECONDS),
    "warm_up_seconds": (0.0, 60.0),
    "flows": (1, 64),
    "message_bytes": (HEADER.size, 1_048_576),
    "bits_per_second": (0, 1_000_000_000_000),
}
