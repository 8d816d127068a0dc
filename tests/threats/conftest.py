"""Networks of namespaces, and the figures that the attacks give: the docs quote them.

- `arena`: a network with the hosts `server`, `honest` and `attacker`, for one test.
- `network(*names)`: a network with other hosts.
- `figures(line)`: keeps a line for the end of the run.

Every test has a SOCKETKIT_HOME of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.threats.namespaces import Network, remove_leftovers


@pytest.fixture(scope="session", autouse=True)
def no_leftovers() -> None:
    if os.geteuid() == 0:
        remove_leftovers()


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Identities and known peers of the test alone, in its programs too."""
    monkeypatch.setenv("SOCKETKIT_HOME", f"{tmp_path}/home")


@pytest.fixture
def network(program: Callable[[str], str]) -> Iterator[Callable[..., Network]]:
    program("ip")
    with ExitStack() as stack:
        yield lambda *names: stack.enter_context(Network(*names))


@pytest.fixture
def arena(network: Callable[..., Network]) -> Network:
    return network("server", "honest", "attacker")


@pytest.fixture
def figures(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    return lambda line: record_property("figures", line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [*terminalreporter.stats.get("passed", []), *terminalreporter.stats.get("failed", [])]
    lines = [value for report in reports for name, value in report.user_properties if name == "figures"]
    if lines:
        terminalreporter.section("figures of the attacks")
        for line in lines:
            terminalreporter.write_line(line)
