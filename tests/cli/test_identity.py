"""`socketkit identity`, as it is run."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from socketkit import Endpoint, Identity, _core
from socketkit.cli import main, prompt
from tests.cli.programs import Start
from tests.cli.terminals import Terminal
from tests.keys import A


def test_show(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["identity"]) == 0
    shown = capsys.readouterr().out
    own = Identity.of_user()
    pin = base64.b64encode(_core.fingerprint_bytes(own.fingerprint)).decode()
    assert shown.splitlines() == [
        own.fingerprint,
        f"  file  {home}/identity.pem",
        f"  curl  --pinnedpubkey sha256//{pin}",
    ]
    assert main(["identity", "show"]) == 0
    assert capsys.readouterr().out == shown


def test_json(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["identity", "show", "--json", "--address", "tls://nas:7000"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["fingerprint"] == Identity.of_user().fingerprint
    assert facts["file"] == str(home / "identity.pem")
    assert facts["public_key_pin"].startswith("sha256//")
    assert facts["address"] == f"tls://nas:7000?pin={facts['fingerprint']}"


@pytest.mark.slow
def test_certificate_and_pin_are_those_of_openssl(
    program: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    openssl = program("openssl")
    assert main(["identity", "show", "--certificate"]) == 0
    certificate = capsys.readouterr().out
    assert "PRIVATE" not in certificate
    public = subprocess.run(
        [openssl, "x509", "-noout", "-pubkey"], input=certificate.encode(), capture_output=True, check=True
    ).stdout
    der = subprocess.run([openssl, "pkey", "-pubin", "-outform", "DER"], input=public, capture_output=True).stdout
    main(["identity", "show", "--json"])
    pin = json.loads(capsys.readouterr().out)["public_key_pin"]
    assert pin == f"sha256//{base64.b64encode(sha256(der).digest()).decode()}"


def test_address_has_the_key_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["identity", "show", "--address", "tls://nas:7000?trust=system&alpn=h2"]) == 0
    where = Endpoint.parse(capsys.readouterr().out.strip())
    assert dict(where.query) == {"alpn": "h2", "pin": Identity.of_user().fingerprint}
    assert main(["identity", "show", "--address", "tcp://nas:7000"]) == 2
    assert "tcp has no such parameter" in capsys.readouterr().err
    assert main(["identity", "show", "--address", "nas"]) == 2


def test_qr(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("segno", reason="segno is not installed: make setup-dev")
    assert main(["identity", "show", "--qr"]) == 0
    code = capsys.readouterr().out
    assert code.endswith(f"\n{Identity.of_user().fingerprint}\n")
    assert "▄" in code and "\x1b" not in code
    assert main(["identity", "show", "--qr", "--address", "tls://nas:7000"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("tls://nas:7000?pin=sk1:")


def test_options_that_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["identity", "show", "--qr", "--json"]) == 2
    assert "exclude each other" in capsys.readouterr().err


def test_file_that_others_can_read(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Identity.of_user()
    (home / "identity.pem").chmod(0o644)
    assert main(["identity"]) == 1
    assert capsys.readouterr().err.endswith(f"chmod 600 {home}/identity.pem\n")


# --- a new one


def test_first_one_needs_no_question(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["identity", "new"]) == 0
    said = capsys.readouterr()
    assert said.out == f"{Identity.of_user().fingerprint}\n"
    assert said.err == ""


def test_new_needs_yes_without_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(prompt, "TERMINAL", "/nonexistent/tty")
    old = Identity.of_user()
    assert main(["identity", "new"]) == 2
    assert "write --yes" in capsys.readouterr().err
    assert Identity.of_user() == old


def test_new_says_what_to_tell_peers(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = Identity.of_user()
    assert main(["identity", "new", "--yes"]) == 0
    said, own = capsys.readouterr(), Identity.of_user()
    assert own != old
    assert said.out == f"{own.fingerprint}\n"
    assert f"{home}/identity.pem.old" in said.err
    assert f"socketkit trust replace HOST:PORT {own.fingerprint}\n" in said.err
    assert f"socketkit trust add --authorized {own.fingerprint}\n" in said.err
    assert Identity.load(home / "identity.pem.old") == old
    assert main(["identity", "new", "--yes", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["fingerprint"] == Identity.of_user().fingerprint
    assert facts["old_file"] == str(home / "identity.pem.old")


@pytest.mark.slow
@pytest.mark.parametrize(("answer", "status"), [("yes", 0), ("no", 1)])
def test_new_asks_on_the_terminal(socketkit: Start, answer: str, status: int) -> None:
    old, terminal = Identity.of_user(), Terminal()
    try:
        command = socketkit("identity", "new", **terminal.options())
        terminal.asked("will refuse the new one. Make it? [yes / no] ")
        terminal.answer(answer)
        result = command.finish()
    finally:
        terminal.close()
    assert result.status == status
    assert (Identity.of_user() == old) is (answer == "no")
    assert answer == "yes" or result.err == "socketkit: nothing was changed\n"


def test_unknown_subcommand(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["identity", A]) == 2
    assert "no such command" in capsys.readouterr().err.lower()
