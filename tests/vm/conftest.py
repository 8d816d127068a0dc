"""The tests in this folder run in a virtual machine with a kernel that has SCTP and vsock; see machine.py.

pytest collects them here and runs them there: each is one test under one name, and what is told of it here, its output
too, is the report from there. Where no machine can be booted they skip, with what to install.
"""

from __future__ import annotations

import faulthandler
import json
import os
from collections.abc import Iterator

import pytest

from tests.vm.kernel import missing
from tests.vm.machine import INSIDE, REPORTS, Machine

IS_INSIDE = bool(os.environ.get(INSIDE))
MACHINE = pytest.StashKey[Machine]()


def is_ours(item: pytest.Item) -> bool:
    return item.path.parent.name == "vm"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    lack = None if IS_INSIDE else missing()
    for item in items:
        if is_ours(item):
            item.add_marker(pytest.mark.slow)
            # Inside, a test has the time that it needs under emulation; here, what REPORT_SECONDS says.
            item.add_marker(pytest.mark.timeout(90 if IS_INSIDE else 0))
            if lack:
                item.add_marker(pytest.mark.skip(reason=lack))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    if IS_INSIDE or not is_ours(item) or item.get_closest_marker("skip"):
        return None
    faulthandler.cancel_dump_traceback_later()  # the machine has a bound of its own
    hooks = item.ihook
    hooks.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in reports_from_inside(item):
        hooks.pytest_runtest_logreport(report=report)
    hooks.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def reports_from_inside(item: pytest.Item) -> Iterator[pytest.TestReport]:
    config = item.config
    try:
        for data in the_machine(item).reports(item.nodeid):
            yield config.hook.pytest_report_from_serializable(config=config, data=data)
    except AssertionError as failure:
        yield pytest.TestReport(item.nodeid, item.location, {}, "failed", str(failure), "call")


def the_machine(item: pytest.Item) -> Machine:
    """Booted for the first that asks, with all tests of this run."""
    stash = item.session.stash
    if MACHINE not in stash:
        folder = item.config._tmp_path_factory.mktemp("vm")  # type: ignore[attr-defined]
        stash[MACHINE] = Machine(folder, [other.nodeid for other in item.session.items if is_ours(other)])
    return stash[MACHINE]


def pytest_sessionfinish(session: pytest.Session) -> None:
    if MACHINE in session.stash:
        session.stash[MACHINE].stop()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if IS_INSIDE:
        with REPORTS.open("a") as file:
            file.write(json.dumps(REPORTER.serialized(report)) + "\n")


class Reporter:
    """pytest turns reports into plain data with a hook, which wants the configuration."""

    config: pytest.Config

    def serialized(self, report: pytest.TestReport) -> object:
        return self.config.hook.pytest_report_to_serializable(config=self.config, report=report)


REPORTER = Reporter()


def pytest_configure(config: pytest.Config) -> None:
    REPORTER.config = config
