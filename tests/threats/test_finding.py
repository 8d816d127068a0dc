"""Findings: which are severe, what stays the same of them, and SARIF."""

from __future__ import annotations

import pytest

from socketkit.threats.finding import LEVELS, SEVERITIES, Check, Finding, as_sarif, at_least

OPEN = Check("OP1", "medium", "A port is open", "open-ports")
FOUND = Finding(OPEN, "tcp://*:80", "it is open", "close it", ("kill 7",), socket="tcp://*:80", process="a[7] of b")


def test_severity_is_the_check_s_unless_told() -> None:
    assert (FOUND.severity, FOUND.id, FOUND.title, FOUND.key) == ("medium", "OP1", "A port is open", "OP1 tcp://*:80")
    assert Finding(OPEN, "a", "b", "c", severity="low").severity == "low"
    with pytest.raises(ValueError, match="no severity"):
        Finding(OPEN, "a", "b", "c", severity="worst")


def test_others_words_move_no_cursor_and_begin_no_line() -> None:
    found = Finding(OPEN, "a\nrm -rf x", "\x1b[2J", "c", ("kill 1\nrm -rf x", "kill 2"), process="\r[1]")
    assert (found.subject, found.evidence, found.process) == ("a?rm -rf x", "?[2J", "?[1]")
    assert found.commands == ("kill 2",)


def test_at_least() -> None:
    found = [Finding(OPEN, word, "b", "c", severity=word) for word in SEVERITIES]
    assert [one.severity for one in at_least(found, "medium")] == ["medium", "high"]


def test_json_has_stable_names() -> None:
    assert list(FOUND.as_json()) == [
        *("id", "severity", "title", "subject", "socket", "process"),
        *("evidence", "remedy", "commands", "first_seen", "page"),
    ]
    assert FOUND.as_json()["page"] == "threats/open-ports.md"


def test_sarif_has_what_readers_require() -> None:
    """SARIF 2.1.0: version, tool.driver.name, and of each result its message, its rule, its place."""
    worse = Finding(OPEN, "tcp://*:81", "it is open", "close it", severity="high")
    log = as_sarif([FOUND, worse], "1.0")
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]  # type: ignore[misc, attr-defined]
    driver = run["tool"]["driver"]
    assert (driver["name"], driver["version"]) == ("socketkit", "1.0")
    (rule,) = driver["rules"]
    assert (rule["id"], rule["shortDescription"]["text"]) == ("OP1", OPEN.title)
    assert [result["level"] for result in run["results"]] == ["warning", "error"]
    for result in run["results"]:
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["message"]["text"].endswith("close it")
        assert result["locations"][0]["logicalLocations"][0]["fullyQualifiedName"]
        assert result["partialFingerprints"]
    assert set(LEVELS.values()) <= {"none", "note", "warning", "error"}


def test_sarif_of_nothing_is_valid() -> None:
    (run,) = as_sarif([], "1.0")["runs"]  # type: ignore[misc]
    assert (run["results"], run["tool"]["driver"]["rules"]) == ([], [])
