"""Hosts for datagrams: those of tests/threats (`network(*names)`), whose sockets the tests open in their own process.

- `family`: "4" and "6": the test runs for both.
"""

from __future__ import annotations

import pytest

from tests.threats.conftest import network, no_leftovers

__all__ = ["family", "network", "no_leftovers"]


@pytest.fixture(params=["4", "6"])
def family(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name
