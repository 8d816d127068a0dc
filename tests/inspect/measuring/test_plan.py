"""What may be asked for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socketkit import PeerViolation
from socketkit.inspect.measuring.plan import BOUNDS, Plan


@given(st.builds(Plan, seconds=st.floats(0.1, 3600), down=st.booleans(), flows=st.integers(1, 64)))
def test_round_trip(plan: Plan) -> None:
    assert Plan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize("name", BOUNDS)
def test_each_bound(name: str) -> None:
    least, most = BOUNDS[name]
    for value in (least, most):
        Plan(**{name: value})
    for beyond in (least - 1, most + 1):
        with pytest.raises(ValueError, match=name.replace("_", " ")):
            Plan(**{name: beyond})


def test_some_direction() -> None:
    with pytest.raises(ValueError, match="up, down or both"):
        Plan(up=False)


@pytest.mark.parametrize(
    "words",
    [
        None,
        [],
        {},
        {"seconds": 1},
        Plan().to_json() | {"more": 1},
        Plan().to_json() | {"seconds": "10"},
        Plan().to_json() | {"seconds": float("nan")},
        Plan().to_json() | {"seconds": True},
        Plan().to_json() | {"flows": 1.5},
        Plan().to_json() | {"flows": 65},
        Plan().to_json() | {"up": 1},
    ],
)
def test_strangers_plans(words: Any) -> None:
    with pytest.raises(PeerViolation):
        Plan.from_json(words)
