"""One socket table for all tests of findings: its first look at a machine is the long one.

It looks at one network namespace: what others have at the same port elsewhere is none of a test's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from socketkit.inspect.table import SocketTable
from socketkit.threats.finding import Finding
from socketkit.threats.view import View

TABLE = SocketTable(namespaces="own")


def seen(**facts: Any) -> View:
    """This machine, or the namespace that the thread has entered."""
    return View.of_machine(table=TABLE, **facts)


def about(findings: Iterable[Finding], text: str, check: str = "") -> list[tuple[str, str]]:
    """What was found of a socket or a subject that has this in it."""
    return sorted(
        (one.id, one.severity)
        for one in findings
        if one.id.startswith(check) and (text in one.subject or text in (one.socket or ""))
    )
