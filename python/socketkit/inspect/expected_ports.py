"""Which ports are declared to be open, and how reality differs from that.

A file of TOML: for each host its ports, and if it is to be a certain one behind TLS, its identity:

    "192.0.2.7" = ["22/tcp", "443/tcp sk1:..."]
    "nas.example" = ["53/udp", "443/tcp"]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..errors import explain
from ..fingerprint import NotFingerprint, canonical
from .port_lists import Ports
from .targets import TargetError

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from .scan import HostReport


class Expected(NamedTuple):
    """A port that is declared; `identity` is that of its key, "" for any or none."""

    port: int
    protocol: str = "tcp"
    identity: str = ""


class Difference(NamedTuple):
    """Where reality is not as declared. `kind` is undeclared, missing, identity, unencrypted or unreachable."""

    host: str
    port: int
    protocol: str
    kind: str
    reason: str


Declared = dict[str, tuple[Expected, ...]]


def read(path: str | os.PathLike[str]) -> Declared:
    """The ports of each host. Raises TargetError for what is no such file, or cannot be read."""
    import tomllib

    try:
        with open(path, "rb") as file:
            found = tomllib.load(file)
    except OSError as failure:
        raise TargetError(f"{path}: {explain(failure.errno or 0, 'file')}") from failure
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as failure:
        raise TargetError(f"{path}: {failure}") from None
    return {host: _ports(host, listed, path) for host, listed in found.items()}


def ports_of(declared: Declared) -> Ports:
    """All ports that stand in it: what must be looked at."""
    entries = [entry for listed in declared.values() for entry in listed]
    by_protocol = (
        tuple(sorted({entry.port for entry in entries if entry.protocol == protocol})) for protocol in ("tcp", "udp")
    )
    return Ports(*by_protocol)


def compare(declared: Mapping[str, Sequence[Expected]], reports: Sequence[HostReport]) -> list[Difference]:
    """How the hosts that were scanned differ from what is declared; a host that is not in it has no port declared."""
    differences: list[Difference] = []
    for report in reports:
        expected = {
            (entry.protocol, entry.port): entry
            for name in dict.fromkeys((report.host, report.address))
            for entry in declared.get(name, ())
        }
        if report.unreachable and expected:
            reason = report.reason or "it cannot be reached"
            differences.append(Difference(report.host, 0, "", "unreachable", reason))
            continue
        found = {(port.protocol, port.port): port for port in report.open}
        for (protocol, number), port in sorted(found.items()):
            entry = expected.get((protocol, number))
            if entry is None:
                named = f", {port.service}" if port.service else ""
                reason = f"open, but not declared{named}"
                differences.append(Difference(report.host, number, protocol, "undeclared", reason))
            elif entry.identity:
                differences += _other_identity(report.host, entry, port.tls.fingerprint if port.tls else None)
        for protocol, number in sorted(expected):
            state = report.state(number, protocol)
            # A UDP service may have nothing to say to a stranger.
            if (protocol, number) not in found and not (protocol == "udp" and state == "silent"):
                reason = f"declared, but {state}"
                differences.append(Difference(report.host, number, protocol, "missing", reason))
    return differences


def _other_identity(host: str, entry: Expected, presented: str | None) -> list[Difference]:
    if presented == entry.identity:
        return []
    if presented is None:
        reason = f"it speaks no TLS, and {entry.identity} was declared"
        return [Difference(host, entry.port, entry.protocol, "unencrypted", reason)]
    reason = f"its key is {presented or 'not one that can be read'}, declared was {entry.identity}"
    return [Difference(host, entry.port, entry.protocol, "identity", reason)]


def _ports(host: str, listed: object, path: object) -> tuple[Expected, ...]:
    if not isinstance(listed, list):
        raise TargetError(f'{path}: {host} has no list of ports: write "{host}" = ["22/tcp", "443/tcp"]')
    return tuple(_entry(host, text, path) for text in listed)


def _entry(host: str, text: object, path: object) -> Expected:
    port, _, identity = text.partition(" ") if isinstance(text, str) else ("", "", "")
    number, slash, protocol = port.partition("/")
    known = number.isdecimal() and number.isascii() and slash and protocol in ("tcp", "udp")
    if not known or not 1 <= int(number) <= 65_535:
        raise TargetError(f'{path}: {host}: {text!r:.60} is no port: write "443/tcp", or "443/tcp sk1:..."')
    try:
        return Expected(int(number), protocol, canonical(identity.strip()) if identity.strip() else "")
    except NotFingerprint as failure:
        raise TargetError(f"{path}: {host}: {port}: {failure}") from None
