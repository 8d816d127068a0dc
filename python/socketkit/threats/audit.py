"""`audit()`: what is wrong with the sockets of this machine, and what to do about each.

It looks once (view.py), asks every finder, and remembers what it saw for the next time (state.py). Nothing is changed
on the machine, and nothing is sent to anybody.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from ..errors import IdentityError
from ..inspect.selection import Selection
from . import recorded, state
from .finding import SEVERITIES, Check, Finding
from .view import Remembered, View, name_of

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from typing import Literal

    from .._core import SocketTable
    from ..inspect.expected_ports import Expected
    from ..inspect.first_bytes import FirstBytes
    from .view import Presented, Recorded

__all__ = ["Finding", "Report", "audit", "checks", "look"]


class Report(NamedTuple):
    """What an audit found, and what it could not know."""

    findings: list[Finding]
    unknown: list[str]
    view: View


def audit(
    select: str = "",
    *,
    namespaces: Literal["all", "own"] = "all",
    expect: str | os.PathLike[str] | None = None,
    first_bytes: FirstBytes | None = None,
    history: str | os.PathLike[str] | None = None,
    remember: bool = True,
) -> list[Finding]:
    """What is wrong with this machine's sockets now, the worst first.

    `select`: only of sockets that are selected (`Selection`), and nothing about the machine as a whole. `expect`: a
    file of declared ports, as `socketkit scan` takes it; those of `localhost` count. `first_bytes`: what was seen of
    the flows so far; without it only programs and ports tell what is in plain text. `history`: a file that
    `socketkit watch --record` writes, which knows which ports nobody uses. `remember`: keep what was seen in
    socketkit's folder, so that the next audit knows what is new.

    Raises SelectionError, TargetError for a file that declares no ports, HistoryError for one that is no history,
    OSError where the kernel tells of no socket.
    What this user may not know is not found: `look` says what that was.
    """
    return look(
        select, namespaces=namespaces, expect=expect, first_bytes=first_bytes, history=history, remember=remember
    ).findings


def look(
    select: str = "",
    *,
    namespaces: Literal["all", "own"] = "all",
    source: Literal["auto", "netlink"] = "auto",
    expect: str | os.PathLike[str] | None = None,
    table: SocketTable | None = None,
    first_bytes: FirstBytes | None = None,
    presented: Sequence[Presented] = (),
    declared: frozenset[str] = frozenset(),
    resolved: frozenset[str] | None = None,
    history: str | os.PathLike[str] | None = None,
    unused_seconds: float = recorded.UNUSED_SECONDS,
    remember: bool = True,
    accept: bool = False,
) -> Report:
    """As `audit`, with what it could not know; `accept`: gateways and authorities are as they should be.

    `table`: one that looks again instead of a new one; `declared`: programs and destinations that are vouched for;
    `presented`: what services showed in handshakes (handshakes.py); `resolved`: addresses that names led to.
    `unused_seconds`: from how long on a port of the `history` that nobody connected to counts as unused.
    """
    selection = Selection(select)
    boot = state.boot()
    unknown: list[str] = []
    past = None if history is None else _recorded(history, unused_seconds, unknown)
    try:
        before, first_seen = state.load(boot)
    except IdentityError as failure:
        before, first_seen, remember = Remembered(), {}, False
        unknown.append(f"what earlier audits saw: {failure}")
    view = View.of_machine(
        namespaces=namespaces,
        source=source,
        table=table,
        first_bytes=first_bytes,
        presented=presented,
        resolved=resolved,
        expected=None if expect is None else declared_here(expect),
        declared=declared,
        before=before,
        recorded=past,
    )
    found = [replace(one, first_seen=first_seen.get(one.key, view.now)) for one in findings(view)]
    if remember:
        try:
            state.save(view, found, boot, accept=accept)
        except IdentityError as failure:
            unknown.append(f"what has changed, at the next audit: {failure}")
    unknown += view.unknown
    if first_bytes is None:
        unknown.append("what connections say: no bytes were looked at (--seconds)")
    if not before.listeners:
        unknown.append("which ports are never used, and what has changed: this is the first audit that remembers")
    if selection:
        names = {name_of(entry) for entry in view.entries if selection.matches(entry, view.use(entry))}
        found = [one for one in found if one.socket in names]
    return Report(found, unknown, view)


def _recorded(history: str | os.PathLike[str], unused_seconds: float, unknown: list[str]) -> Recorded | None:
    past = recorded.read(history, unused_seconds=unused_seconds)
    if past is None:
        unknown.append("which ports are never used: the history has no time in which all TCP sockets were recorded")
    elif past.seconds < unused_seconds:
        unknown.append(
            f"which ports are never used: {past.seconds / 3_600:,.1f} hours are recorded of the"
            f" {unused_seconds / 3_600:,.1f} that it takes"
        )
    return past


def findings(view: View) -> list[Finding]:
    """All that is found in a view, the worst first; the same fault of the same subject once."""
    found: dict[str, Finding] = {}
    for name in FINDERS:
        for finding in import_module(f".{name}", __package__).find(view):
            before = found.get(finding.key)
            if before is None or SEVERITIES.index(before.severity) < SEVERITIES.index(finding.severity):
                found[finding.key] = finding
    return sorted(found.values(), key=lambda one: (-SEVERITIES.index(one.severity), one.id, one.subject))


def checks() -> list[Check]:
    """All that is looked for."""
    return [check for name in FINDERS for check in import_module(f".{name}", __package__).CHECKS]


def declared_here(path: str | os.PathLike[str]) -> list[Expected]:
    """The ports that a file declares for this machine: those of `localhost`, and of its own name."""
    from ..inspect import expected_ports
    from .machine import own_names

    declared = expected_ports.read(path)
    names = {"localhost", "127.0.0.1", "::1", *own_names()}
    return [entry for host, listed in declared.items() if host.lower() in names for entry in listed]


FINDERS = ("open_ports", "unencrypted", "hijacking", "middle", "flooding", "phoning_home")
