"""What the package offers, and what serving does without."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from socketkit import http


def test_names() -> None:
    for name in http.__all__:
        assert callable(getattr(http, name))
    with pytest.raises(AttributeError, match="has no attribute 'proxy'"):
        _ = http.proxy  # type: ignore[attr-defined]


def test_serving_needs_no_client(python: Callable[..., str]) -> None:
    loaded = python("import sys, socketkit.http; print(*{'h11', 'httpx', 'httpcore'} & set(sys.modules))")
    assert loaded.strip() == ""
