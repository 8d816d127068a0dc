"""What every stream must keep, whatever carries it: `check_stream` runs all rules, each on a pair of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from . import cancelling, ends, receives, sends, tasks

if TYPE_CHECKING:
    from .claims import MakePair, Rule

STREAM_RULES: tuple[Rule, ...] = (*ends.RULES, *sends.RULES, *receives.RULES, *cancelling.RULES, *tasks.RULES)


async def check_stream(make_pair: MakePair) -> None:
    """Check every rule of `STREAM_RULES`, each on a pair of its own from `make_pair()`.

    `make_pair()` gives an async context manager of two connected streams. Raises AssertionError, which names the rule
    that was broken; a rule that does not end within RULE_SECONDS is broken. Give the streams a short
    `Limits.close_seconds`: one rule waits for it.
    """
    for rule in STREAM_RULES:
        await check_rule(rule, make_pair)


async def check_rule(rule: Rule, make_pair: MakePair) -> None:
    """One of the rules; AssertionError with its name if it is broken."""
    try:
        async with asyncio.timeout(RULE_SECONDS):
            await rule(make_pair)
    except Exception as failure:
        reason = "it does not end" if isinstance(failure, TimeoutError) else str(failure) or repr(failure)
        raise AssertionError(f"a stream must keep the rule `{name_of(rule)}`: {reason}") from failure


def name_of(rule: Rule) -> str:
    """The rule in words."""
    return getattr(rule, "__name__", repr(rule)).replace("_", " ")


RULE_SECONDS = 20.0
