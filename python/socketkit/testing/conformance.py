"""What every connection must keep, whatever carries it: each `check_...` runs all rules, each on a pair of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from . import cancelling, datagrams, ends, messages, receives, sends, tasks

if TYPE_CHECKING:
    from ..datagrams import Datagrams
    from ..messages import Messages
    from .claims import MakePair, MakePairOf, Rule, RuleOf

_End = TypeVar("_End")

STREAM_RULES: tuple[Rule, ...] = (*ends.RULES, *sends.RULES, *receives.RULES, *cancelling.RULES, *tasks.RULES)


async def check_stream(make_pair: MakePair) -> None:
    """Check every rule of `STREAM_RULES`, each on a pair of its own from `make_pair()`.

    `make_pair()` gives an async context manager of two connected streams. Raises AssertionError, which names the rule
    that was broken; a rule that does not end within RULE_SECONDS is broken. Give the streams a short
    `Limits.close_seconds`: one rule waits for it.
    """
    for rule in STREAM_RULES:
        await check_rule(rule, make_pair)


async def check_messages(
    make_pair: MakePairOf[Messages], *, lossy: bool = False, ends: bool = True, halves: bool = True, empty: bool = True
) -> None:
    """Check every rule of `message_rules` for this type, as `check_stream` does."""
    for rule in message_rules(lossy=lossy, ends=ends, halves=halves, empty=empty):
        await check_rule(rule, make_pair)


async def check_datagrams(make_pair: MakePairOf[Datagrams], *, lossy: bool = True) -> None:
    """Check every rule of `datagram_rules(lossy=lossy)`, as `check_stream` does.

    `make_pair()` gives an async context manager of two bound sockets, each of which the other can reach at its `local`.
    """
    for rule in datagram_rules(lossy=lossy):
        await check_rule(rule, make_pair)


def message_rules(
    *, lossy: bool = False, ends: bool = True, halves: bool = True, empty: bool = True
) -> tuple[RuleOf[Messages], ...]:
    """The rules of `Messages` of one type.

    `lossy`: what finds no room is lost, and nobody waits for a peer that does not read (UDP). `ends`: the type can tell
    the peer that nothing more will come; `halves`: and may receive then. `empty`: a message may have no bytes.
    """
    ending: tuple[RuleOf[Messages], ...] = messages.RULES_OF_TYPES_WITHOUT_AN_END
    if ends:
        ending = (
            *messages.RULES_OF_TYPES_WITH_AN_END,
            *(messages.RULES_OF_TYPES_WITH_HALVES if halves else messages.RULES_OF_TYPES_WITHOUT_HALVES),
            *(messages.RULES_OF_EMPTY_MESSAGES_BEFORE_AN_END if empty else ()),
        )
    return (
        *messages.RULES,
        *(messages.RULES_OF_LOSSY_TYPES if lossy else messages.RULES_OF_LOSSLESS_TYPES),
        *(messages.RULES_OF_EMPTY_MESSAGES if empty else messages.RULES_OF_TYPES_WITHOUT_EMPTY_MESSAGES),
        *ending,
    )


def datagram_rules(*, lossy: bool = True) -> tuple[RuleOf[Datagrams], ...]:
    """The rules of `Datagrams` of one type.

    `lossy`: they cross a network, where they get lost and where anybody can forge whom they are from (UDP).
    """
    return (*datagrams.RULES, *(datagrams.RULES_OF_LOSSY_TYPES if lossy else datagrams.RULES_OF_LOSSLESS_TYPES))


async def check_rule(rule: RuleOf[_End], make_pair: MakePairOf[_End]) -> None:
    """One of the rules; AssertionError with its name if it is broken."""
    try:
        async with asyncio.timeout(RULE_SECONDS):
            await rule(make_pair)
    except Exception as failure:
        reason = "it does not end" if isinstance(failure, TimeoutError) else str(failure) or repr(failure)
        raise AssertionError(f"{_subject(rule)} must keep the rule `{name_of(rule)}`: {reason}") from failure


def name_of(rule: RuleOf[_End]) -> str:
    """The rule in words."""
    return getattr(rule, "__name__", repr(rule)).replace("_", " ")


def _subject(rule: object) -> str:
    module = getattr(rule, "__module__", "")
    return next((shape for shape in ("messages", "datagrams") if f".{shape}" in module), "a stream")


RULE_SECONDS = 20.0
