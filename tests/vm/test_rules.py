"""Every rule of `socketkit.testing` for the types that this machine's kernel may lack."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from socketkit import Messages
from socketkit.testing import STREAM_RULES, check_rule, message_rules, stream_pair
from socketkit.testing.claims import Rule, RuleOf
from tests.conformance.conftest import frozen_heap as frozen_heap  # a fixture
from tests.conformance.message_transports import OF_SOME_KERNELS, make_messages
from tests.conformance.transports import LIMITS
from tests.conftest import LoopFactory, Run


@pytest.fixture
def loop_factory() -> LoopFactory:
    """One kind of loop: emulation is slow, and the engine's reactor is the same under both."""
    return asyncio.new_event_loop


# What the kernel makes impossible; test_peers.py has what happens instead, docs/seqpacket.md says it.
NOT_KEPT = {
    "sctp": (),
    "seqpacket-vsock": (
        # Records need more room than there is: the connection ends.
        "a_cancelled_send_has_sent_nothing",
        "messages_of_many_senders_are_whole_and_in_order",
        "the_messages_of_a_send_many_stay_together",
        # An abort is an end.
        "a_reset_is_no_end",
        "a_reset_wakes_whoever_waits",
    ),
    "vsock": ("a_reset_is_no_end", "a_reset_leaves_what_arrived", "a_reset_wakes_whoever_waits"),
}


def name_of(rule: RuleOf[Messages] | Rule) -> str:
    return getattr(rule, "__name__", "")


def kept(rules: tuple[RuleOf[Messages], ...], name: str) -> list[RuleOf[Messages]]:
    known = {name_of(rule) for rule in rules}
    assert known.issuperset(NOT_KEPT[name])
    return [rule for rule in rules if name_of(rule) not in NOT_KEPT[name]]


CASES = [
    pytest.param(rule, name, id=f"{name_of(rule)}-{name}")
    for name, (found, _) in OF_SOME_KERNELS.items()
    for rule in kept(message_rules(halves=found.halves, empty=found.empty), name)
]


@pytest.mark.parametrize(("rule", "name"), CASES)
def test_messages(rule: RuleOf[Messages], name: str, run: Run, tmp_path: Path, no_leaks: None) -> None:
    run(check_rule(rule, make_messages(name, tmp_path)), seconds=30)


@pytest.mark.parametrize("rule", [rule for rule in STREAM_RULES if name_of(rule) not in NOT_KEPT["vsock"]], ids=name_of)
def test_streams_of_vsock(rule: Rule, run: Run, no_leaks: None) -> None:
    run(check_rule(rule, lambda: stream_pair("vsock://1:0", limits=LIMITS)), seconds=30)
