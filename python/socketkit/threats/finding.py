"""What an audit found: one fault, with its evidence and its remedy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SEVERITIES = ("info", "low", "medium", "high")
"""From the least on. `info`: worth knowing, nothing to be done; `high`: act today."""


class Check(NamedTuple):
    """What is looked for, whatever it is found in."""

    id: str  # OP1
    severity: str
    title: str  # `A service in plain text can be reached from other machines`
    page: str  # of docs/threats, without .md


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault of this machine.

    `subject` is what it is about (a socket's address, a setting, a file) and stays the same as long as the fault does;
    `socket` and `process` are as people read them, None where it is no socket's. `remedy` says what to do, `commands`
    what to run for that: nothing runs them. `first_seen` is Unix time.
    """

    check: Check
    subject: str
    evidence: str
    remedy: str
    commands: tuple[str, ...] = ()
    socket: str | None = None
    process: str | None = None
    first_seen: float = 0.0
    severity: str = ""  # if it is another than the check's

    def __post_init__(self) -> None:
        # Names of programs, files and hosts are others' words: they move no cursor, and begin no line of a script.
        for name in ("subject", "evidence", "remedy", "socket", "process"):
            text = getattr(self, name)
            if text is not None and not text.isprintable():
                object.__setattr__(self, name, _printable(text))
        object.__setattr__(self, "commands", tuple(line for line in self.commands if line.isprintable()))
        if not self.severity:
            object.__setattr__(self, "severity", self.check.severity)
        if self.severity not in SEVERITIES:
            raise ValueError(f"there is no severity {self.severity!r}: {', '.join(SEVERITIES)}")

    @property
    def id(self) -> str:
        return self.check.id

    @property
    def title(self) -> str:
        return self.check.title

    @property
    def key(self) -> str:
        """The same for the same fault of the same subject, in every run: what a baseline remembers."""
        return f"{self.check.id} {self.subject}"

    def as_json(self) -> dict[str, object]:
        return {
            "id": self.id,
            "severity": self.severity,
            "title": self.title,
            "subject": self.subject,
            "socket": self.socket,
            "process": self.process,
            "evidence": self.evidence,
            "remedy": self.remedy,
            "commands": list(self.commands),
            "first_seen": self.first_seen,
            "page": f"threats/{self.check.page}.md",
        }


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)


def at_least(findings: Iterable[Finding], severity: str) -> list[Finding]:
    """Those that are so severe, or more."""
    least = SEVERITIES.index(severity)
    return [finding for finding in findings if SEVERITIES.index(finding.severity) >= least]


def as_sarif(findings: Iterable[Finding], version: str) -> dict[str, object]:
    """What code hosts and security dashboards read: SARIF 2.1.0 (OASIS), one run."""
    found = list(findings)
    checks = {finding.check.id: finding.check for finding in found}
    driver = {"name": "socketkit", "version": version, "rules": [_rule(check) for check in checks.values()]}
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": [_result(finding, list(checks)) for finding in found]}],
    }


def _rule(check: Check) -> Mapping[str, object]:
    return {
        "id": check.id,
        "shortDescription": {"text": check.title},
        "fullDescription": {"text": f"docs/threats/{check.page}.md"},
        "defaultConfiguration": {"level": LEVELS[check.severity]},
        "properties": {"tags": ["security", check.page], "security-severity": SCORES[check.severity]},
    }


def _result(finding: Finding, rules: list[str]) -> Mapping[str, object]:
    where = {"fullyQualifiedName": finding.socket or finding.subject, "kind": "resource"}
    return {
        "ruleId": finding.id,
        "ruleIndex": rules.index(finding.id),
        "level": LEVELS[finding.severity],
        "message": {"text": f"{finding.title}: {finding.evidence}. {finding.remedy}"},
        "locations": [{"logicalLocations": [where]}],
        "partialFingerprints": {"subject/v1": finding.key},
    }


LEVELS = {"info": "note", "low": "note", "medium": "warning", "high": "error"}
# Code hosts sort by such a number: from 7 on it is high, from 4 on medium.
SCORES = {"info": "0.0", "low": "2.0", "medium": "5.0", "high": "8.0"}
