"""The rules of conftest.py itself: what skips, what CI refuses, what counts as a leak."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # each runs a pytest of its own

SKIPS = """
import pytest

def test_skips(program):
    program("no-such-program")

@pytest.mark.may_skip("a kernel that has it")
def test_allowed():
    pytest.skip("not in this kernel")

@pytest.mark.xfail
def test_expected():
    assert False
"""

LEAKS = """
import itertools, os, socket, time

def test_tidy(no_leaks):
    socket.socket().close()

def test_leaky(no_leaks):
    os.open("/dev/null", os.O_RDONLY)

class Opened:
    def __init__(self):
        self.me, self.fd = self, os.open("/dev/null", os.O_RDONLY)
    def __del__(self):
        os.close(self.fd)

def test_broken(no_leaks):
    kept_by_the_traceback = Opened()
    assert False

def test_collected_late(no_leaks):
    Opened()
    time.monotonic = itertools.count(0, 100).__next__  # the machine is that slow
"""

LOOPS = """
import asyncio, pytest

def test_bounded(run):
    with pytest.raises(TimeoutError):
        run(asyncio.sleep(60), seconds=0.01)

def test_loop(run, loop_factory):
    async def kind():
        return type(asyncio.get_running_loop()).__module__.split(".")[0]
    assert run(kind()) == loop_factory.__module__.split(".")[0]
"""

TURNS = """
import pathlib, pytest, time

RUNNING = pathlib.Path("running")

@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("kind", [pytest.param("siege", marks=pytest.mark.siege), "test"])
def test_running(kind, number):
    mine = RUNNING / f"{kind}-{number}"
    mine.touch()
    for _ in range(20):
        seen = {path.name.partition("-")[0] for path in RUNNING.iterdir()}
        assert seen == {kind}
        assert kind == "test" or len(list(RUNNING.iterdir())) <= 2
        time.sleep(0.01)
    mine.unlink()
"""


@pytest.mark.parametrize(
    ("ci", "outcome"),
    [("", "2 skipped, 1 xfailed"), ("true", "1 failed, 1 skipped, 1 xfailed")],
    ids=["locally", "in-ci"],
)
def test_skip_fails_in_ci_unless_allowed(tmp_path: Path, ci: str, outcome: str) -> None:
    report = run_pytest(tmp_path, SKIPS, ci)
    assert outcome in report
    assert "no-such-program is not installed: apt install no-such-program" in report
    assert "test_allowed: a kernel that has it" in report


def test_skipped_module_fails_in_ci(tmp_path: Path) -> None:
    report = run_pytest(tmp_path, "import pytest\npytest.importorskip('no_such_module')", "true")
    assert "skipped where CI must run it" in report
    assert "1 error" in report


def test_open_descriptor_is_a_leak(tmp_path: Path) -> None:
    report = run_pytest(tmp_path, LEAKS)
    assert "left open: " in report
    assert "1 failed, 3 passed, 1 error" in report
    assert "ERROR test_it.py::test_leaky" in report


def test_run_is_bounded_on_both_loops(tmp_path: Path) -> None:
    assert "4 passed" in run_pytest(tmp_path, LOOPS)


def test_no_test_runs_beside_a_siege(tmp_path: Path) -> None:
    (tmp_path / "running").mkdir()
    (tmp_path / "temporary").mkdir()
    report = run_pytest(tmp_path, TURNS, "", "-n4", TMPDIR=f"{tmp_path}/temporary")
    assert "8 passed" in report
    assert not list((tmp_path / "temporary").glob("socketkit-*"))


def run_pytest(folder: Path, code: str, ci: str = "", *options: str, **environment: str) -> str:
    root = Path(__file__).parents[1]
    shutil.copy(root / "tests" / "conftest.py", folder)
    shutil.copy(root / "pyproject.toml", folder)
    (folder / "test_it.py").write_text(code)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options, "test_it.py"]
    environment = {"CI": ci, "PATH": "", **environment}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=50)
    return done.stdout + done.stderr
