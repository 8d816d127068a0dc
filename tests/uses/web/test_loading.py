from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from socketkit.uses.web.loading import NoApplication, is_application, load

MODULE = """
async def app(scope, receive, send): ...
class Site:
    async def app(self, scope, receive, send): ...
site = Site()
def wsgi(environ, start_response): ...
def make(): ...
nothing = 5
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "shop_of_tests.py").write_text(MODULE)
    (tmp_path / "broken_of_tests.py").write_text("import there_is_no_such_thing\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for name in ("shop_of_tests", "broken_of_tests"):
        sys.modules.pop(name, None)


def test_applications_are_found(here: Path) -> None:
    assert callable(load("shop_of_tests:app"))
    assert callable(load("shop_of_tests:site.app"))


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("no_such_module:app", "run it in the folder of no_such_module.py"),
        ("shop_of_tests:ap", "did you mean app"),
        ("shop_of_tests:nothing", "scope, receive and send"),
        ("shop_of_tests:wsgi", "a2wsgi"),
        ("shop_of_tests:make", "call it in the module"),
    ],
)
def test_what_is_wrong_is_said(here: Path, target: str, said: str) -> None:
    with pytest.raises(NoApplication, match=said):
        load(target)


def test_what_a_module_lacks_is_its_own_fault(here: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match="there_is_no_such_thing"):
        load("broken_of_tests:app")


def test_what_is_an_application(here: Path) -> None:
    assert is_application("shop.site:app")
    assert not is_application("shop")
    assert not is_application("C:/x")
    (here / "a:b").touch()
    assert not is_application("a:b")
