"""Trust is a value, and the address says the same in its own words."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from socketkit import Endpoint, IdentityError, Trust
from tests.keys import A, B

EVERY = [
    Trust.system(),
    Trust.authority("/etc/ca.pem"),
    Trust.pin(A),
    Trust.pin(A, B),
    Trust.first_use(),
    Trust.danger_anyone(),
]


@pytest.mark.parametrize("trust", EVERY, ids=lambda trust: trust.kind)
def test_value(trust: Trust) -> None:
    assert eval(repr(trust), {"Trust": Trust}) == trust
    assert pickle.loads(pickle.dumps(trust)) == trust
    assert [other for other in EVERY if other == trust] == [trust]
    assert len({*EVERY, trust}) == len(EVERY)
    assert trust != "system"
    with pytest.raises(AttributeError):
        trust.kind = "system"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        del trust.kind


def test_not_made_by_its_class() -> None:
    with pytest.raises(TypeError, match=r"Trust\.system\(\)"):
        Trust()


def test_pins_have_one_spelling_and_no_order() -> None:
    assert Trust.pin(A.upper(), B, A) == Trust.pin(B, A)
    assert Trust.pin(A).pins == (A,)
    with pytest.raises(IdentityError, match="check digits"):
        Trust.pin(A, B[:-1] + "ab"[B[-1] == "a"])
    with pytest.raises(TypeError, match="at least one"):
        Trust.pin()


def test_path_is_that_of_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Trust.authority(Path("ca.pem")).path == str(tmp_path / "ca.pem")


@pytest.mark.parametrize(
    ("address", "trust"),
    [
        ("tls://h:1", None),
        ("tcp://h:1", None),
        ("tls://h:1?ca=/x", Trust.authority("/x")),
        (f"tls://h:1?pin={A.upper()}", Trust.pin(A)),
        (f"tls+unix:///x?pin={A}", Trust.pin(A)),
        ("tls://h:1?trust=system", Trust.system()),
        ("tls://h:1?trust=first_use", Trust.first_use()),
        ("tls://h:1?trust=danger_anyone", Trust.danger_anyone()),
    ],
)
def test_of_an_address(address: str, trust: Trust | None) -> None:
    assert Trust.of(Endpoint.parse(address)) == trust
