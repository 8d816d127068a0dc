"""What an audit remembers for the next one: `audit.json` in socketkit's folder, for this user alone.

When each fault was first seen; the hardware addresses of the gateways and the root authorities, which are only replaced
when a person accepts a change; the kernel's counters, whose rates are looked at; which listeners were ever used; since
when connections to other machines are there.
A file that cannot be read is as good as none, and says so: an audit goes on without a past.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from .. import home, kept_file
from .open_ports import is_used
from .view import LEAST_SECONDS, ListenerPast, Remembered, connection_key, subject_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .finding import Finding
    from .view import View


def path() -> str:
    return home.file("audit.json")


def load(boot: str) -> tuple[Remembered, dict[str, float]]:
    """What is remembered, and when each finding was first seen. Counters of another boot mean nothing now."""
    return _read((kept_file.read(path()) or b"").decode("utf-8", "replace"), boot)


def save(view: View, findings: Iterable[Finding], boot: str, *, accept: bool) -> None:
    """Remember this look; `accept`: gateways and authorities are as they should be. IdentityError."""
    found = list(findings)

    def edit(text: str) -> str:
        before, first_seen = _read(text, boot)
        return json.dumps(_written(view, before, first_seen, found, boot, accept=accept), indent=1) + "\n"

    kept_file.change(path(), edit)


def boot() -> str:
    """A number of this boot and of this network namespace, whose counters are none of another's."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return f"{file.read().strip()} {os.stat('/proc/thread-self/ns/net').st_ino}"


def _read(text: str, boot: str) -> tuple[Remembered, dict[str, float]]:
    try:
        kept: dict[str, Any] = json.loads(text or "{}")
        counters = kept.get("counters", {})
        authorities = kept.get("authorities")
        same_boot = counters.get("boot") == boot
        return Remembered(
            gateways={str(place): str(hardware) for place, hardware in kept.get("gateways", {}).items()},
            authorities=None if authorities is None else frozenset(map(str, authorities)),
            counters={str(name): int(value) for name, value in counters.get("values", {}).items()} if same_boot else {},
            counters_at=float(counters["at"]) if same_boot else 0.0,
            listeners={
                str(name): ListenerPast(
                    float(past["since"]), None if past["used"] is None else float(past["used"]), int(past["looks"])
                )
                for name, past in kept.get("listeners", {}).items()
            },
            connections={
                str(key): float(at) for key, at in (counters.get("connections", {}) if same_boot else {}).items()
            },
        ), {str(key): float(at) for key, at in kept.get("first_seen", {}).items()}
    except (ValueError, TypeError, AttributeError, KeyError):
        return Remembered(), {}


def _written(
    view: View, before: Remembered, first_seen: dict[str, float], findings: list[Finding], boot: str, *, accept: bool
) -> dict[str, Any]:
    gateways = dict(before.gateways)
    for place, hardware in view.gateway_hardware.items():
        if accept or place not in gateways:
            gateways[place] = hardware
    authorities = before.authorities
    if view.authorities is not None and (accept or authorities is None):
        authorities = frozenset(view.authorities)
    elif view.authorities is not None and authorities is not None:
        authorities &= frozenset(view.authorities)  # what went and comes again is new
    counters, counters_at = dict(before.counters), before.counters_at
    # Of two looks at once the second would say nothing of a rate, and the next one nothing of what came before both.
    if not counters_at or view.uptime - counters_at >= LEAST_SECONDS:
        counters = {name: view.counters[name] for name in COUNTERS if name in view.counters}
        counters_at = view.uptime
    return {
        "version": 1,
        # A fault that is gone is forgotten: when it comes again it is new.
        "first_seen": {finding.key: first_seen.get(finding.key, view.now) for finding in findings[:MOST_FINDINGS]},
        "gateways": dict(list(gateways.items())[-MOST_GATEWAYS:]),
        "authorities": None if authorities is None else sorted(authorities),
        "counters": {"boot": boot, "at": counters_at, "values": counters, "connections": _connections(view, before)},
        "listeners": _listeners(view, before),
    }


def _connections(view: View, before: Remembered) -> dict[str, float]:
    """Those that are there now, the longest known first: of a flood of new ones none pushes an old one out."""
    keys = (connection_key(entry) for entry in view.outward if entry.state == "established")
    found = {key: before.connections.get(key, view.uptime) for key in keys}
    return dict(sorted(found.items(), key=lambda item: item[1])[:MOST_CONNECTIONS])


def _listeners(view: View, before: Remembered) -> dict[str, dict[str, float | int | None]]:
    found: dict[str, dict[str, float | int | None]] = {}
    for entry in view.listeners:
        if entry.scheme != "tcp" or len(found) >= MOST_LISTENERS:
            continue
        name = subject_of(entry)
        past = before.listeners.get(name) or ListenerPast(view.now, None, 0)
        used = view.now if is_used(view, entry) else past.used
        found[name] = {"since": past.since, "used": used, "looks": past.looks + 1}
    return found


COUNTERS = (
    "TcpExt.TCPChallengeACK",
    "TcpExt.TCPACKSkippedChallenge",
    "TcpExt.SyncookiesSent",
    "TcpExt.ListenOverflows",
)
# So that the file stays below its largest size.
MOST_FINDINGS, MOST_GATEWAYS, MOST_LISTENERS, MOST_CONNECTIONS = 4_096, 64, 1_024, 4_096
