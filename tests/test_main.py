"""`python -m socketkit` is the command."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "socketkit", "--help"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: socketkit [OPTIONS]")
