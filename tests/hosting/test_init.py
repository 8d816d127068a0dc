"""What `socketkit.hosting` gives, and what it leaves for later."""

from __future__ import annotations

import subprocess
import sys

import pytest

from socketkit import hosting
from socketkit.hosting import gate


def test_the_gate_is_there() -> None:
    assert hosting.Gate is gate.Gate
    with pytest.raises(AttributeError, match="no attribute 'Window'"):
        hosting.Window  # noqa: B018


def test_services_without_browsers_load_no_http() -> None:
    lines = "import sys, socketkit.hosting; print([name for name in sys.modules if name.startswith('socketkit.http')])"
    assert subprocess.run([sys.executable, "-c", lines], capture_output=True, check=True).stdout == b"[]\n"
