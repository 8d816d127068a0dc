"""`audit()`: all finders on one view, sorted, remembered; of this machine, and of what is selected."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

import socketkit
from socketkit.errors import SelectionError
from socketkit.threats.audit import FINDERS, audit, checks, declared_here, findings, look
from tests.threats.made_up import Program, Row, view

DOCS = Path(__file__).parents[2] / "docs"


def test_every_check_has_its_number_and_its_page() -> None:
    found = checks()
    assert len({check.id for check in found}) == len(found)
    for check in found:
        assert (DOCS / "threats" / f"{check.page}.md").is_file()
    table = (DOCS / "audit.md").read_text()
    assert [check.id for check in found if f"| {check.id} |" not in table] == []


def test_every_finder_says_what_prevents_its_threat() -> None:
    from importlib import import_module

    for name in FINDERS:
        assert "revented by default: " in (import_module(f"socketkit.threats.{name}").__doc__ or "")


def test_nothing_is_found_where_nothing_is_known() -> None:
    assert findings(view()) == []


def test_worst_first_and_each_once() -> None:
    rows = [Row("tcp://*:7171?plaintext=yes", processes=(Program(executable="/tmp/x"),)) for _ in range(2)]
    found = findings(view(*rows))
    assert [one.id for one in found] == ["OP4", "OP1"]


def test_of_what_is_selected() -> None:
    with socket.create_server(("0.0.0.0", 0)) as one, socket.create_server(("0.0.0.0", 0)) as other:
        ports = [sock.getsockname()[1] for sock in (one, other)]
        found = audit(f"port={ports[0]}", namespaces="own")
        assert {one.socket for one in found} == {f"tcp4://*:{ports[0]}"}
        assert "OP1" in {one.id for one in found}
    with pytest.raises(SelectionError):
        audit("prot=7")


def test_what_is_found_again_was_first_seen_before() -> None:
    with socket.create_server(("0.0.0.0", 0)) as listener:
        port = listener.getsockname()[1]
        first, second = (audit(f"port={port}", namespaces="own")[0] for _ in range(2))
        assert first.first_seen == second.first_seen > 0
        third = audit(f"port={port}", namespaces="own", remember=False)[0]
        assert third.first_seen == first.first_seen


def test_what_is_not_known_is_said() -> None:
    assert any("first audit" in line for line in look(namespaces="own").unknown)
    second = look(namespaces="own").unknown
    assert any("no bytes" in line for line in second)


def test_file_that_others_may_write_is_no_past(home: Path) -> None:
    look(namespaces="own")
    from socketkit.threats import state

    os.chmod(state.path(), 0o666)
    report = look(namespaces="own")
    assert any("chmod" in line for line in report.unknown)


def test_audit_of_a_user_who_can_keep_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOCKETKIT_HOME", "/proc/none/socketkit")  # not even root makes it
    unknown = look(namespaces="own").unknown
    assert any("at the next audit" in line and "SOCKETKIT_HOME=/path" in line for line in unknown)


def test_declared_ports_are_those_of_this_machine(tmp_path: Path) -> None:
    file = tmp_path / "ports.toml"
    file.write_text('localhost = ["22/tcp"]\n"192.0.2.7" = ["80/tcp"]\n')
    assert [entry.port for entry in declared_here(file)] == [22]
    with socket.create_server(("0.0.0.0", 0)) as listener:
        port = listener.getsockname()[1]
        file.write_text(f'localhost = ["{port}/tcp"]\n')
        assert "OP1" not in {one.id for one in audit(f"port={port}", namespaces="own", expect=file)}


def test_it_is_exported() -> None:
    assert socketkit.audit is audit
    assert socketkit.Finding.__name__ == "Finding"
