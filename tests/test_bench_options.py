"""What the benches share on their command lines: bench/options.py, and that every bench has its short form."""

from __future__ import annotations

import subprocess
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCH = Path(__file__).resolve().parent.parent / "bench"
BENCHES = sorted(path.stem for path in BENCH.glob("*.py") if path.stem not in ("harness", "options"))


def load() -> ModuleType:
    spec = spec_from_file_location("bench_options", BENCH / "options.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


options = load()


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    def parse(*words: str) -> Any:
        parser = options.Options(
            "what it measures",
            quick={"rounds": 1, "sizes": "64"},
            tables=("a", "b"),
            servers=True,
            rounds=5,
            seconds=0.5,
        )
        parser.numbers("--sizes", [64, 1024], unit="BYTES")
        parser.number("--connections", 16)
        parser.form("--long", {"rounds": 7})
        monkeypatch.setattr("sys.argv", ["bench", *words])
        return parser.chosen()

    return parse


def test_without_words_everything_is_measured(parsed: Callable[..., Any]) -> None:
    chosen = parsed()
    assert (chosen.tables, chosen.peers, chosen.rounds, chosen.seconds) == (["a", "b"], None, 5, 0.5)
    assert (chosen.sizes, chosen.connections, chosen.one_core) == ([64, 1024], 16, False)


def test_what_is_written_out_counts_more_than_a_form(parsed: Callable[..., Any]) -> None:
    chosen = parsed("--quick", "--rounds", "3")
    assert (chosen.rounds, chosen.sizes) == (3, [64])


def test_names_come_with_commas_between(parsed: Callable[..., Any]) -> None:
    chosen = parsed("--tables", "b", "--peers", "socketkit,c")
    assert (chosen.tables, chosen.peers) == (["b"], ["socketkit", "c"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--tables", "a,c"), "no c; there are a, b"),
        (("--quick", "--long"), "--quick or --long, not both"),
        (("--rounds", "0"), "a whole number from 1 on"),
        (("--sizes", "64,-1"), "a whole number from 1 on"),
        (("--seconds", "nan"), "more than none"),
        (("--seconds", "soon"), "more than none"),
    ],
)
def test_what_cannot_be_is_refused(
    parsed: Callable[..., Any], capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    with pytest.raises(SystemExit):
        parsed(*words)
    assert said in capsys.readouterr().err


def test_an_argument_that_is_no_number_is_told_as_one() -> None:
    with pytest.raises(ArgumentTypeError, match="not '²'"):
        options.positive("²")


@pytest.mark.slow
@pytest.mark.parametrize("bench", BENCHES)
def test_every_bench_tells_its_options_and_has_a_short_form(bench: str) -> None:
    done = subprocess.run([sys.executable, BENCH / f"{bench}.py", "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "--quick " in done.stdout


def test_the_page_of_the_benches_has_a_row_for_each() -> None:
    page = (BENCH / "README.md").read_text()
    assert [bench for bench in BENCHES if f"| `{bench}.py` |" not in page] == []
