"""Patterns of addresses."""

from __future__ import annotations

import pytest

from socketkit.uses.mail.addresses import matches


@pytest.mark.parametrize(
    ("pattern", "does"),
    [
        ("bob@example.org", True),
        ("BOB@Example.ORG", True),
        ("*@example.org", True),
        ("b?b@*", True),
        ("bob", False),
        ("[b]ob@example.org", False),
        ("*@example.com", False),
    ],
)
def test_pattern(pattern: str, does: bool) -> None:
    assert matches("bob@example.org", pattern) is does
