"""The rules of `Datagrams`: every type keeps `RULES`; over a network datagrams may get lost, and be forged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import answers, exchange, receiving, room

if TYPE_CHECKING:
    from ...datagrams import Datagrams
    from ..claims import RuleOf

RULES: tuple[RuleOf[Datagrams], ...] = (*exchange.RULES, *receiving.RULES)
RULES_OF_LOSSY_TYPES: tuple[RuleOf[Datagrams], ...] = (*answers.RULES, *room.RULES_OF_LOSSY_TYPES)
RULES_OF_LOSSLESS_TYPES: tuple[RuleOf[Datagrams], ...] = room.RULES_OF_LOSSLESS_TYPES
