"""Every rule of `socketkit.testing` for every type of messages, under both event loops."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from socketkit import Messages, Unsupported, connect, listen
from socketkit.testing import check_messages, check_rule, message_pair, message_rules, name_of
from socketkit.testing.claims import RuleOf
from socketkit.testing.messages import borders, cancelling, ends, room, tasks
from tests.conformance.message_transports import MESSAGES, OF_SOME_KERNELS, kernel_has, make_messages
from tests.conformance.transports import LIMITS
from tests.conftest import Run

CASES = [
    pytest.param(rule, name, id=f"{rule.__name__}-{name}")  # type: ignore[attr-defined]
    for name, found in MESSAGES.items()
    for rule in message_rules(lossy=found.lossy, ends=found.ends)
    if not found.variant or rule not in (*cancelling.RULES, *room.RULES)
]


@pytest.mark.parametrize(("rule", "name"), CASES)
def test_rule(rule: RuleOf[Messages], name: str, run: Run, tmp_path: Path, no_leaks: None) -> None:
    run(check_rule(rule, make_messages(name, tmp_path)), seconds=60)


@pytest.mark.parametrize("name", OF_SOME_KERNELS)
def test_types_of_some_kernels(name: str, run: Run, tmp_path: Path, no_leaks: None) -> None:
    """All rules where the kernel has the type; where it has not, the error says so."""
    found = OF_SOME_KERNELS[name][0]
    if kernel_has(name):
        run(check_messages(make_messages(name, tmp_path)), seconds=50)
        return

    async def refused() -> None:
        for open_one in (connect, listen):
            with pytest.raises(Unsupported) as refusal:
                await open_one(found.url.replace(":0", ":7000"), Messages)
            assert str(refusal.value).startswith(f"{open_one.__name__} {found.url.partition(':')[0]}://")
            assert "kernel" in str(refusal.value)

    run(refused())


@pytest.mark.slow
def test_check_messages_checks_them_all(run: Run, no_leaks: None) -> None:
    run(check_messages(lambda: message_pair(limits=LIMITS)), seconds=50)


@pytest.mark.parametrize("rule", [*tasks.RULES, *borders.RULES, *ends.RULES], ids=lambda rule: rule.__name__)
def test_rule_in_debug_mode(rule: RuleOf[Messages], tmp_path: Path) -> None:
    """asyncio's debug mode watches who calls what from where."""
    with asyncio.Runner(debug=True) as runner:
        runner.run(check_rule(rule, make_messages("seqpacket-unix", tmp_path)))


def test_a_broken_rule_names_its_shape(run: Run) -> None:
    async def forget(make_pair: object) -> None:
        raise AssertionError("there is a reason")

    forget.__module__ = message_rules()[0].__module__
    with pytest.raises(AssertionError, match="messages must keep the rule `forget`: there is a reason"):
        run(check_rule(forget, message_pair))
    assert name_of(forget) == "forget"
