"""The rules of `Messages`: every type keeps `RULES`, and those of what it can do (DESIGN section 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import borders, cancelling, closing, ends, room, tasks

if TYPE_CHECKING:
    from ...messages import Messages
    from ..claims import RuleOf

RULES: tuple[RuleOf[Messages], ...] = (*borders.RULES, *cancelling.RULES, *closing.RULES, *tasks.RULES)
RULES_OF_LOSSY_TYPES: tuple[RuleOf[Messages], ...] = room.RULES_OF_LOSSY_TYPES
RULES_OF_LOSSLESS_TYPES: tuple[RuleOf[Messages], ...] = room.RULES
RULES_OF_TYPES_WITH_AN_END: tuple[RuleOf[Messages], ...] = ends.RULES
RULES_OF_TYPES_WITH_HALVES: tuple[RuleOf[Messages], ...] = ends.RULES_OF_HALVES
RULES_OF_TYPES_WITHOUT_HALVES: tuple[RuleOf[Messages], ...] = ends.RULES_WITHOUT_HALVES
RULES_OF_TYPES_WITHOUT_AN_END: tuple[RuleOf[Messages], ...] = ends.RULES_WITHOUT_AN_END
RULES_OF_EMPTY_MESSAGES: tuple[RuleOf[Messages], ...] = borders.RULES_OF_TYPES_WITH_EMPTY_MESSAGES
RULES_OF_EMPTY_MESSAGES_BEFORE_AN_END: tuple[RuleOf[Messages], ...] = ends.RULES_OF_EMPTY_MESSAGES
RULES_OF_TYPES_WITHOUT_EMPTY_MESSAGES: tuple[RuleOf[Messages], ...] = borders.RULES_OF_TYPES_WITHOUT_EMPTY_MESSAGES
