"""Every rule of `socketkit.testing` for every carrier, under both event loops."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from socketkit.testing import STREAM_RULES, check_rule, check_stream, ends, name_of, receives, stream_pair, tasks
from socketkit.testing.claims import Rule
from tests.conformance.transports import LIMITS, TRANSPORTS, make_pair
from tests.conftest import LoopFactory, Run


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("rule", STREAM_RULES, ids=lambda rule: rule.__name__)
def test_rule(rule: Rule, transport: str, run: Run, tmp_path: Path, no_leaks: None) -> None:
    run(check_rule(rule, make_pair(transport, tmp_path)), seconds=60)


@pytest.mark.slow
def test_check_stream_checks_them_all(run: Run, no_leaks: None) -> None:
    run(check_stream(lambda: stream_pair(limits=LIMITS)), seconds=50)


@pytest.mark.parametrize("rule", [*tasks.RULES, *receives.RULES, *ends.RULES], ids=lambda rule: rule.__name__)
def test_rule_in_debug_mode(rule: Rule, loop_factory: LoopFactory, tmp_path: Path) -> None:
    """asyncio's debug mode watches who calls what from where."""
    with asyncio.Runner(debug=True, loop_factory=loop_factory) as runner:
        runner.run(check_rule(rule, make_pair("tcp4", tmp_path)))


def test_a_broken_rule_is_named(run: Run) -> None:
    async def broken_rule(make_pair: object) -> None:
        raise AssertionError("there is a reason")

    with pytest.raises(AssertionError, match="`broken rule`: there is a reason"):
        run(check_rule(broken_rule, stream_pair))
    assert name_of(broken_rule) == "broken rule"
