"""The rule of the sieges: what is laid again, and what never is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest

from tests.threats import siege
from tests.threats.siege import Outcome, Target, besiege

LATE = {"during": {"served": 100, "failed": 0, "p99_ms": 101.0}}
LEFT = {"left": 1}
REFUSING = {"during": {"served": 90, "failed": 10, "p99_ms": 101.0, "failures": {}}}
GROWN = {"grown_bytes": siege.MEMORY_BYTES + 1}

Lay = Callable[..., tuple[list[Outcome], list[list[str]]]]


@pytest.fixture
def lay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Lay:
    """`lay([LATE, {}], [{}])`: for each target, what goes wrong in each siege. Outcomes, and who was besieged.

    `taken`: ticks of the host in each siege, beside ten of ours.
    """

    def lay(*scripts: list[dict[str, Any]], taken: Sequence[int] = ()) -> tuple[list[Outcome], list[list[str]]]:
        ahead = {f"target {n}": iter(script) for n, script in enumerate(scripts)}
        besieged = []

        def lay_one(network: Any, targets: Sequence[Target], folder: Path, *_: float) -> list[Outcome]:
            assert not list(folder.iterdir())
            besieged.append([target.name for target in targets])
            return [outcome(target, **next(ahead[target.name])) for target in targets]

        monkeypatch.setattr(siege, "_besiege", lay_one)
        monkeypatch.setattr(siege, "SPOILED_PAUSE_SECONDS", 0.0)
        times = chain.from_iterable(([0] * 8, [10, 0, 0, 80, 0, 0, 0, stolen]) for stolen in chain(taken, repeat(0)))
        monkeypatch.setattr(siege, "processor_times", lambda: next(times))
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        return besiege(None, [Target(name, {}) for name in ahead], folder), besieged  # type: ignore[arg-type]

    return lay


def outcome(target: Target, **changed: Any) -> Outcome:
    window = {"served": 100, "failed": 0, "p99_ms": 5.0, "failures": {}}
    given = {
        "before": window,
        "during": window,
        "after": window,
        "grown_bytes": 0,
        "most_held": 16,
        "left": 0,
        "cpu_share": 0.0,
        "log_bytes": 0,
        "attacker": {"longest_seconds": 2.0},
        "stats": {},
    }
    return Outcome(target, **(given | changed))


def test_what_holds_is_laid_once(lay: Lay) -> None:
    (good,), besieged = lay([{}])
    assert (good.faults(), len(besieged)) == ([], 1)
    assert "siege" not in good.figures


def test_what_is_late_is_laid_again_alone(lay: Lay) -> None:
    (late, good, left), besieged = lay([LATE, LATE, {}], [{}], [LEFT, {}])
    assert besieged == [["target 0", "target 1", "target 2"], ["target 0", "target 2"], ["target 0"]]
    assert [each.faults() for each in (late, good, left)] == [[], [], []]
    assert late.figures.endswith("siege 3 (before: p99 101.0 ms, allowed 100 ms; p99 101.0 ms, allowed 100 ms)")
    assert left.figures.endswith("siege 2 (before: 1 connections of the attacker are left)")


def test_late_each_time_is_a_failure(lay: Lay) -> None:
    (late,), besieged = lay([LATE, LEFT, LATE])
    assert len(besieged) == siege.SIEGES
    with pytest.raises(AssertionError, match=r"p99 101.0 ms, allowed 100 ms"):
        late.check()


def test_what_the_host_spoils_is_laid_again_three_times(lay: Lay) -> None:
    (late, good), besieged = lay([REFUSING, LEFT, LATE, LATE, {}], [{}], taken=[10, 5, 2, 0, 9])
    assert [len(each) for each in besieged] == [2, 1, 1, 1, 1]
    assert (late.faults(), good.faults()) == ([], [])
    host = "the host took {} % of the processors' time".format
    assert late.figures.endswith(f"(before: {host(50)}; {host(33)}; {host(17)}; p99 101.0 ms, allowed 100 ms)")
    (refusing,), besieged = lay([REFUSING] * 4, taken=[9] * 4)
    assert len(besieged) == siege.SPOILED_SIEGES + 1
    with pytest.raises(AssertionError, match="served 90 of 100"):
        refusing.check()


@pytest.mark.parametrize(("fault", "taken"), [(REFUSING, 1), (GROWN, 9), (GROWN | LATE, 9), ({"stats": None}, 9)])
def test_what_no_host_excuses(lay: Lay, fault: dict[str, Any], taken: int) -> None:
    (broken,), besieged = lay([fault], taken=[taken])
    assert len(besieged) == 1
    assert broken.faults()


@pytest.mark.parametrize("before", [[], [LATE]], ids=["at first", "laid again"])
@pytest.mark.parametrize("fault", [REFUSING, GROWN, GROWN | LATE, {"stats": None}])
def test_nothing_but_time_is_excused(lay: Lay, fault: dict[str, Any], before: list[dict[str, Any]]) -> None:
    (broken,), besieged = lay([*before, fault])
    assert len(besieged) == len(before) + 1
    with pytest.raises(AssertionError):
        broken.check()


def test_a_slow_calm_allows_more() -> None:
    calm = {"served": 100, "failed": 0, "p99_ms": 30.0}
    during = {"served": 100, "failed": 0, "p99_ms": 149.0}
    assert not outcome(Target("slow", {}), before=calm, during=during).faults()
    assert outcome(Target("slow", {}), before=calm | {"failed": 1}, during=during).late()


def test_bounds_of_one_target() -> None:
    bounded = Target("bounded", {}, cut_seconds=1.0, cpu_share=0.25, log_bytes=10)
    told = outcome(bounded, cpu_share=0.5, log_bytes=11)
    assert told.late() == ["cut after 2.0 s, allowed 1.0 s"]
    assert told.broken() == ["50 % of a CPU, allowed 25", "a log of 11 bytes, allowed 10"]
    assert outcome(Target("tool", ["true"]), attacker={"tool": 0}).faults() == []
