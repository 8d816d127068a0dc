"""What `import socketkit` gives, and what it leaves for later."""

from __future__ import annotations

import subprocess
import sys

import pytest

import socketkit


@pytest.mark.slow
def test_names_that_are_imported_late() -> None:
    code = """
import sys, socketkit
assert not {"socketkit.identity", "socketkit.trust", "socketkit.fingerprint"} & set(sys.modules)
from socketkit import *
assert Identity.__module__ == "socketkit.identity" and Trust.__module__ == "socketkit.trust"
assert set(socketkit.__all__) <= set(vars(socketkit))
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=20).returncode == 0


def test_every_name_is_there() -> None:
    assert all(hasattr(socketkit, name) for name in socketkit.__all__)
    with pytest.raises(AttributeError, match="module 'socketkit' has no attribute 'Nonsense'"):
        _ = socketkit.Nonsense  # type: ignore[attr-defined]
