"""A test as its server sees it: requests in any order, twice, and from strangers."""

from __future__ import annotations

from typing import Any

import pytest

from socketkit import PeerViolation
from socketkit.inspect.measuring.plan import Plan
from socketkit.inspect.measuring.protocol import MEASURED, VERSION
from socketkit.inspect.measuring.session import GRACE_SECONDS, Session, require_version

UP = {"direction": "up", "flow": 0}


def session(**plan: Any) -> Session:
    return Session("0123456789abcdef", Plan(**plan), 0)


def test_from_join_to_stop() -> None:
    test = session(down=True, warm_up_seconds=1)
    assert test.join(UP) == ("up", 0)
    assert test.join({"direction": "down", "flow": 0}) == ("down", 0)
    test.answer({"do": "start"}, 10, 0)
    assert test.started
    assert test.answer({"do": "count"}, 20, 0)["elapsed_ns"] == 0  # warms up
    test.answer({"do": "mark"}, 30, 0)
    assert test.answer({"do": "count"}, 40, 0)["elapsed_ns"] == 10
    test.side.incoming[0].arrivals.note(MEASURED, 0, 0, 0, 1)
    for now in (50, 60):  # sent again
        answer = test.answer({"do": "stop", "sent": [3]}, now, 0)
        assert (answer["elapsed_ns"], answer["received"]["lost"], answer["ended"]) == (20, 2, True)
    assert test.stopped


def test_a_request_that_comes_twice_does_no_more() -> None:
    test = session()
    test.join(UP)
    test.join(UP)
    test.answer({"do": "start"}, 10, 0)
    test.answer({"do": "start"}, 20, 0)
    assert test.answer({"do": "count"}, 30, 0)["elapsed_ns"] == 20


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"direction": "up"},
        {"direction": "up", "flow": 1},
        {"direction": "up", "flow": -1},
        {"direction": "up", "flow": True},
        {"direction": "down", "flow": 0},
        {"direction": ["up"], "flow": 0},
    ],
)
def test_no_such_flow(request_: dict[str, Any]) -> None:
    with pytest.raises(PeerViolation, match="no such flow"):
        session().join(request_)


def test_flows_come_before_the_start() -> None:
    test = session(flows=2)
    test.join(UP)
    with pytest.raises(PeerViolation, match="before all"):
        test.answer({"do": "start"}, 0, 0)
    test.join(UP | {"flow": 1})
    test.answer({"do": "start"}, 0, 0)
    with pytest.raises(PeerViolation):
        test.join(UP)


@pytest.mark.parametrize("request_", [{}, {"do": 7}, {"do": "stop", "sent": 7}, {"do": "stop", "sent": [1, 2]},
                                      {"do": "stop", "sent": [-1]}, {"do": "stop", "sent": ["1"]}])  # fmt: skip
def test_nonsense(request_: dict[str, Any]) -> None:
    with pytest.raises(PeerViolation):
        session().answer(request_, 0, 0)


def test_other_version() -> None:
    require_version({"bench": VERSION})
    with pytest.raises(PeerViolation, match=r"version 1 .* the other one 2: install the same version"):
        require_version({"bench": 2})


def test_abandoned() -> None:
    second = 1_000_000_000
    test = session(seconds=60)
    assert not test.abandoned(2 * second, 3)
    assert test.abandoned(4 * second, 3)
    test.answer({"do": "count"}, 4 * second, 0)
    assert not test.abandoned(6 * second, 3)
    test.side.incoming[0].arrivals.note(MEASURED, 0, 0, 0, 1)  # what is sent says that its sender is there
    assert not test.abandoned(8 * second, 3)
    assert not test.abandoned(10 * second, 3)
    assert test.abandoned(12 * second, 3)


def test_nobody_may_stay() -> None:
    test = session(seconds=1, warm_up_seconds=1)
    late = int((2 + GRACE_SECONDS) * 1e9) + 1
    test.answer({"do": "count"}, late, 0)
    assert test.abandoned(late, 3)
