"""When the catcher is to fail, so that a program can be seen to cope: `rcpt=451@10%`, `data=552`, `connect=drop`.

`STAGE[:PATTERN]=WHAT[@WHEN]`: at which stage (`connect`, `helo`, `auth`, `mail`, `rcpt`, `data`; of mail and rcpt only
for addresses like the pattern), what happens (a reply's code, with a text of your own behind it; `drop`; `delay:2s`),
and when: `@10%` of the times, or `@3x`, the first three. All rules of a stage are asked in their order: delays add up,
the first reply or drop counts. The dice are seeded, so a run that failed can be had again.
"""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING, NamedTuple

from ...errors import FaultyText
from .addresses import matches

if TYPE_CHECKING:
    from collections.abc import Iterable


class FailureError(FaultyText):
    """The text is no rule of a failure."""


class Rule(NamedTuple):
    """One rule. `code` 0 and no `drop`: it only waits. `times` None: any number."""

    stage: str
    pattern: str = "*"
    code: int = 0
    text: str = ""
    drop: bool = False
    delay_seconds: float = 0.0
    chance: float = 1.0
    times: int | None = None

    @classmethod
    def parse(cls, text: str) -> Rule:
        """Raises FailureError."""
        head, equals, rest = text.partition("=")
        if not equals:
            raise FailureError("a rule is STAGE=WHAT", text, len(text), "rcpt=451@10%, connect=drop, mail=delay:2s")
        stage, colon, pattern = head.partition(":")
        if stage not in STAGES:
            raise FailureError(f"there is no stage {stage!r}", text, 0, ", ".join(STAGES))
        if colon and (stage not in ("mail", "rcpt") or not pattern):
            raise FailureError(
                "a pattern of addresses stands behind mail and rcpt", text, len(stage), "rcpt:*@a.example=550"
            )
        what, at, when = rest.rpartition("@") if WHEN.search(rest) else (rest, "", "")
        rule = _what(cls(stage, pattern or "*"), text, len(head) + 1, what)
        return _when(rule, when) if at else rule

    def __str__(self) -> str:
        head = self.stage + (f":{self.pattern}" if self.pattern != "*" else "")
        if self.drop:
            what = "drop"
        elif self.code:
            what = f"{self.code} {self.text}" if self.text else f"{self.code}"
        else:
            what = f"delay:{round(self.delay_seconds * 1000)}ms"
        when = f"@{self.times}x" if self.times is not None else f"@{self.chance * 100:g}%" if self.chance < 1 else ""
        return f"{head}={what}{when}"


class Outcome(NamedTuple):
    """What is to happen: wait, then drop, or refuse with a code (0: do neither) and a text."""

    delay_seconds: float = 0.0
    drop: bool = False
    code: int = 0
    text: str = ""


class Failures:
    """The rules, with their dice and their counts. `seed` None: other dice each time; `seed` says which they were."""

    def __init__(self, rules: Iterable[str | Rule] = (), seed: int | None = None) -> None:
        """Raises FailureError."""
        self.seed = random.SystemRandom().randrange(1 << 32) if seed is None else seed
        self._dice = random.Random(self.seed)
        parsed = [rule if isinstance(rule, Rule) else Rule.parse(rule) for rule in rules]
        self.rules = tuple(parsed)
        self._left = [rule.times for rule in parsed]
        self._stages = frozenset(rule.stage for rule in parsed)

    def at(self, stage: str, address: str = "") -> Outcome:
        """What is to happen at this stage, this time."""
        if stage not in self._stages:
            return NOTHING
        delay_seconds = 0.0
        for number, rule in enumerate(self.rules):
            if rule.stage != stage or not matches(address, rule.pattern) or not self._due(number, rule):
                continue
            delay_seconds += rule.delay_seconds
            if rule.drop or rule.code:
                return Outcome(
                    delay_seconds, rule.drop, rule.code, rule.text or TEXTS.get(rule.code, "As was asked for")
                )
        return Outcome(delay_seconds)

    def _due(self, number: int, rule: Rule) -> bool:
        if rule.chance < 1 and self._dice.random() >= rule.chance:
            return False
        left = self._left[number]
        if left is not None:
            self._left[number] = max(0, left - 1)
        return left is None or left > 0


def _what(rule: Rule, text: str, at: int, what: str) -> Rule:
    code, _, words = what.partition(" ")
    if re.fullmatch(r"[0-9]{3}", code, re.ASCII):
        if code[0] not in "45":
            raise FailureError("a refusal is 400 to 599", text, at)
        if not words.isprintable() or len(words) > 400:
            raise FailureError("the text of a reply is one line", text, at + len(code))
        return rule._replace(code=int(code), text=words)
    if what == "drop":
        return rule._replace(drop=True)
    if delay := DELAY.fullmatch(what):
        seconds = float(delay[1]) * UNITS[delay[2]]
        if seconds > MOST_DELAY_SECONDS:
            raise FailureError(f"at most {MOST_DELAY_SECONDS:g} s", text, at)
        return rule._replace(delay_seconds=seconds)
    raise FailureError(f"{what!r} is nothing that can happen", text, at, "a code such as 451, drop, delay:2s")


def _when(rule: Rule, when: str) -> Rule:
    if when.endswith("%"):
        return rule._replace(chance=float(when[:-1]) / 100)
    return rule._replace(times=int(when[:-1]))


STAGES = ("connect", "helo", "auth", "mail", "rcpt", "data")
NOTHING = Outcome()
DELAY = re.compile(r"delay:([0-9]{1,6}(?:\.[0-9]{1,3})?)(ms|s|m)", re.ASCII)
WHEN = re.compile(r"@(?:100(?:\.0+)?|[0-9]{1,2}(?:\.[0-9]{1,4})?)%$|@[0-9]{1,6}x$", re.ASCII)
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}
MOST_DELAY_SECONDS = 600.0
TEXTS = {
    421: "4.3.2 Closing, as was asked for",
    450: "4.2.0 Mailbox busy, as was asked for",
    451: "4.3.0 Try again later, as was asked for",
    452: "4.2.2 No room, as was asked for",
    535: "5.7.8 Wrong password, as was asked for",
    550: "5.1.1 No such mailbox, as was asked for",
    552: "5.2.2 Mailbox full, as was asked for",
    554: "5.7.1 Refused, as was asked for",
}
