"""What is true of the whole package: how it is installed, which module may import which, that each has its tests."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path, PurePath

import pytest

import socketkit

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "python" / "socketkit"
MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))

# DESIGN section 2, from the ground up. Imports stay within a layer or go to a lower one.
LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"_core"}),
    frozenset({"endpoint", "grammar", "schemes", "errors", "exposure", "fingerprint", "trust", "identity", "limits"})
    | {"home", "kept_file"}  # the files that values are read from
    | {"sockaddr", "cutting"},
    frozenset({"authorized_peers", "known_peers", "trusting"}),
    frozenset({"connection", "securing", "listener", "drivers", "race"}),
    # What keeps borders asks the types for the addresses that it is given.
    frozenset({"types", "messages", "datagrams", "records"}),
    frozenset({"", "verbs", "opening", "serving", "relaying", "forwarding", "sync"})  # "" is socketkit/__init__.py
    | {"message_relaying", "message_forwarding", "relays", "blocking"},
    frozenset({"inspect", "testing"}),
    frozenset({"threats"}),
    frozenset({"http", "hosting"}),
    frozenset({"uses"}),
    frozenset({"cli", "__main__"}),
)

# Modules (or folders of them) without a test file of their own: where their tests are instead, and why.
TESTED_ELSEWHERE = {
    "grammar.py": "tests/test_endpoint.py",  # a grammar is what Endpoint.parse takes
    "securing.py": "tests/types/test_tls.py",  # half of it: what connects needs both
    "uses/web/answers.py": "tests/uses/web/test_files.py",  # the answers that it gives
    "uses/web/uploads/bodies.py": "tests/uses/web/uploads/test_application.py",  # its bodies, however they are split
    "uses/web/uploads/claims.py": "tests/uses/web/uploads/test_application.py",  # two at once
    "uses/web/uploads/refusals.py": "tests/uses/web/uploads/test_application.py",  # every refusal
    "uses/web/uploads/threads.py": "tests/uses/web/uploads/test_parts.py",
    "schemes.py": "tests/test_endpoint.py",  # the table behind the grammar
    "uses/mail/access.py": "tests/uses/mail/test_imap.py",  # what the state machines ask
    "uses/mail/smtp_events.py": "tests/uses/mail/test_smtp.py",  # what the state machine tells
    "testing": "tests/conformance/test_streams.py",  # the suite: its test is that every stream type is run through it
    "http/asgi.py": "tests/http/test_service.py",  # names of types
    "testing/messages": "tests/conformance/test_messages.py",
    "testing/datagrams": "tests/conformance/test_datagrams.py",
}


def has_code(module: Path) -> bool:
    """Whether it holds more than a docstring, imports and `__all__`."""
    idle = (ast.Import, ast.ImportFrom, ast.Expr)
    body = ast.parse((PACKAGE / module).read_text()).body
    return any(not isinstance(node, idle) and ast.unparse(node).partition(" ")[0] != "__all__" for node in body)


# --- what is installed


def test_package_is_typed() -> None:
    installed = Path(socketkit.__file__).parent
    assert (installed / "py.typed").is_file()
    assert (installed / "_core.pyi").is_file()


def test_pages_are_installed() -> None:
    """The wheel has what is beside a module, too."""
    package = Path(socketkit.__file__).parent
    for pages in (package / "cli" / "watch_web", package / "uses" / "mail" / "inbox" / "page"):
        assert {path.name for path in pages.iterdir()} >= {"page.html", "page.css", "page.js", "icon.svg"}
    assert (package / "http" / "colours.css").is_file()
    pages = package / "uses" / "web" / "page"
    assert {path.name for path in pages.iterdir()} >= {"listing.html", "listing.css", "listing.js", "icon.svg"}


def test_version_is_that_of_cargo() -> None:
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    assert socketkit.__version__ == importlib.metadata.version("socketkit") == version


def test_extension_serves_every_python_from_3_11_on() -> None:
    core = importlib.import_module("socketkit._core")
    assert Path(str(core.__file__)).name == "_core.abi3.so"
    manifest = tomllib.loads((ROOT / "rust" / "python" / "Cargo.toml").read_text())
    assert "abi3-py311" in manifest["dependencies"]["pyo3"]["features"]


def test_command_is_installed() -> None:
    (command,) = importlib.metadata.entry_points(group="console_scripts", name="socketkit")
    assert callable(command.load())


# --- layers


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_imports_point_down_only(module: Path) -> None:
    upward = [
        f"line {line}: {dotted(importer)} imports {dotted(imported)}"
        for importer, imported, line in imports_within_the_package(module)
        if not may_import(importer, imported)
    ]
    assert not upward, "\n".join(upward)


def may_import(importer: tuple[str, ...], imported: tuple[str, ...]) -> bool:
    if importer[:1] == imported[:1] == ("uses",):  # no use imports another one
        return len(imported) == 1 or importer[:2] == imported[:2]
    # `socketkit.sockets`, `socketkit.audit`: named at the top, imported when they are used.
    if not importer and imported[:1] in (("inspect",), ("threats",)):
        return True
    return layer(importer) >= layer(imported)


def layer(module: tuple[str, ...]) -> int:
    top = module[0] if module else ""
    for height, names in enumerate(LAYERS):
        if top in names:
            return height
    raise AssertionError(
        f"{dotted(module)} is in no layer: put it into LAYERS, at the height that DESIGN section 2 gives it"
    )


def imports_within_the_package(module: Path) -> Iterator[tuple[tuple[str, ...], tuple[str, ...], int]]:
    """Yields (importer, imported, line), named below `socketkit`; those in functions and for typing count too."""
    importer = name_of(module)
    package = importer if module.name == "__init__.py" else importer[:-1]
    for node in ast.walk(ast.parse((PACKAGE / module).read_text())):
        if isinstance(node, ast.Import):
            named = [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = tuple((node.module or "").split(".")) if node.module else ()
            if node.level:
                base = ("socketkit", *package[: len(package) - node.level + 1], *base)
            # `from . import x` imports the module x, if there is one.
            named = [(*base, alias.name) if is_module((*base, alias.name)) else base for alias in node.names]
        else:
            continue
        yield from ((importer, name[1:], node.lineno) for name in named if name[0] == "socketkit")


def is_module(name: tuple[str, ...]) -> bool:
    path = PACKAGE.joinpath(*name[1:])
    return name == ("socketkit", "_core") or (
        name[0] == "socketkit" and (path.is_dir() or path.with_suffix(".py").is_file())
    )


def name_of(module: PurePath) -> tuple[str, ...]:
    parts = module.with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def dotted(name: tuple[str, ...]) -> str:
    return ".".join(("socketkit", *name))


def test_architecture_names_every_layer_and_package() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    layers = {name for names in LAYERS for name in names} - {"", "__main__"}
    folders = [path.parent.relative_to(PACKAGE).parts for path in PACKAGE.glob("*/*/__init__.py")]
    packages = {f"uses.{last}" if first == "uses" else last for first, last in folders if first in ("inspect", "uses")}
    assert [name for name in sorted(layers | packages) if f"`{name}`" not in page] == []


@pytest.mark.parametrize(
    ("importer", "imported", "allowed"),
    [
        ("cli.relay", "", True),
        ("connection", "errors", True),
        ("endpoint", "errors", True),
        ("errors", "connection", False),
        ("connection", "", False),
        ("types.stream", "sync", False),
        ("uses.web.server", "uses.web.routes", True),
        ("uses.web.server", "uses.mail", False),
    ],
)
def test_layer_rule(importer: str, imported: str, allowed: bool) -> None:
    assert may_import(*(tuple(filter(None, name.split("."))) for name in (importer, imported))) is allowed


# --- tests


@pytest.mark.parametrize("module", [module for module in MODULES if has_code(module)], ids=str)
def test_module_has_its_test_file(module: Path) -> None:
    elsewhere = TESTED_ELSEWHERE.get(str(module)) or TESTED_ELSEWHERE.get(str(module.parent))
    expected = elsewhere or own_test(module)
    assert (ROOT / expected).is_file(), f"{module} has no {expected}"


def test_no_exception_is_stale() -> None:
    stale = [
        name for name in TESTED_ELSEWHERE if not (PACKAGE / name).exists() or (ROOT / own_test(Path(name))).is_file()
    ]
    assert not stale, "these have a test file of their own by now, or are gone"


def own_test(module: Path) -> Path:
    """`cli/relay.py` -> `tests/cli/test_relay.py`, `cli/__init__.py` -> `tests/cli/test_init.py`."""
    return Path("tests", module.parent, f"test_{module.stem.strip('_')}.py")


# --- what must not be in it


def test_no_path_of_a_machine() -> None:
    machine_path = re.compile(rf"/(?:home|root|Users)/\w|{re.escape(str(ROOT))}\b")
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in project_files()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if machine_path.search(line)
    ]
    assert not found, "\n".join(found)


def project_files() -> Iterator[Path]:
    kinds = {".c", ".lock", ".md", ".py", ".pyi", ".rs", ".sh", ".toml"}
    yield ROOT / "Makefile"
    yield ROOT / ".ci" / "run"
    yield from (path for path in ROOT.iterdir() if path.suffix in kinds)
    for folder in ("bench", "docs", "fuzz/fuzz_targets", "fuzz/properties", "python", "rust", "tests", "tools"):
        yield from (path for path in (ROOT / folder).rglob("*") if path.suffix in kinds)
