"""`socketkit authority`, and what its lines do in stores that the test made."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from socketkit.cli import authority
from socketkit.hosting.authority import existing, make
from tests.cli.programs import Result

Ran = Callable[..., Result]

pytestmark = pytest.mark.slow


def test_make_show_remove(ran: Ran, home: Path, openssl: Callable[..., str], tmp_path: Path) -> None:
    none = ran("authority", "show")
    assert (none.status, none.out) == (1, b"")
    assert "there is no authority yet: `socketkit authority make`" in none.err
    made = json.loads(ran("authority", "make", "--json").out)
    shown = ran("authority", "show")
    assert shown.out.decode().splitlines()[:2] == [made["name"], f"  SHA-256  {made['fingerprint']}"]
    assert json.loads(ran("authority", "show", "--json").out) == made
    certificate = ran("authority", "show", "--certificate").out
    (tmp_path / "ca").write_bytes(certificate)
    assert made["fingerprint"] in openssl("x509", "-in", tmp_path / "ca", "-noout", "-fingerprint", "-sha256")
    again = ran("authority", "make")
    assert (again.status, "--replace makes a new one" in again.err) == (1, True)
    assert "socketkit authority trust | sh" in ran("authority", "make", "--replace").err
    assert ran("authority", "remove").status == 0
    assert ran("authority", "remove").status == 1


def test_lines_for_this_system(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: Callable[[str], str]
) -> None:
    make()
    own = existing()
    assert own is not None
    folder = tmp_path / "anchors"
    folder.mkdir()
    monkeypatch.setattr(
        authority, "SYSTEM_STORES", (("/nowhere", "true"), (str(folder), "true"), (str(folder), "false"))
    )
    monkeypatch.setattr(authority, "NSS_DATABASES", ())
    monkeypatch.setattr(authority.os, "geteuid", lambda: 0)
    (tmp_path / "ca").write_text(own.certificate)

    def done(undo: bool) -> None:
        lines = "\n".join(authority.commands(own, undo=undo))
        lines = lines.replace("socketkit authority show --certificate", f"cat {tmp_path}/ca")
        subprocess.run([program("sh")], input=lines, text=True, check=True, timeout=30)

    done(False)
    (file,) = folder.iterdir()
    assert file.read_text() == own.certificate
    assert file.name.endswith(".crt") and " " not in file.name
    done(True)
    assert not list(folder.iterdir())
    monkeypatch.setattr(authority.os, "geteuid", lambda: 1000)
    assert any("| sudo tee " in line for line in authority.commands(own, undo=False))


def test_lines_for_browsers(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make()
    own = existing()
    assert own is not None
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "cert9.db").touch()
    monkeypatch.setattr(authority, "SYSTEM_STORES", ())
    monkeypatch.setattr(authority, "NSS_DATABASES", (f"{tmp_path}/*",))
    monkeypatch.setattr(authority, "which", lambda name: None)
    assert "apt install libnss3-tools" in list(authority.commands(own, undo=False))[-1]
    monkeypatch.setattr(authority, "which", lambda name: f"/usr/bin/{name}")
    where = f"-d 'sql:{tmp_path}/a b' -n '{own.name}'"
    added = f"socketkit authority show --certificate | certutil -A {where} -t C,,"
    assert list(authority.commands(own, undo=False)) == ["set -e", added]
    assert list(authority.commands(own, undo=True)) == ["set -e", f"certutil -D {where}"]


def test_trust_without_one(ran: Ran) -> None:
    assert ran("authority", "trust").status == 1


def test_lines_work(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: Callable[[str], str]) -> None:
    certutil = program("certutil")
    make()
    own = existing()
    assert own is not None
    store = tmp_path / "a b"
    store.mkdir()
    subprocess.run([certutil, "-d", f"sql:{store}", "-N", "--empty-password"], check=True, timeout=30)
    (tmp_path / "ca").write_text(own.certificate)
    monkeypatch.setattr(authority, "SYSTEM_STORES", ())
    monkeypatch.setattr(authority, "NSS_DATABASES", (f"{tmp_path}/*",))
    listed = []
    for undo in (False, True):
        lines = "\n".join(authority.commands(own, undo=undo))
        lines = lines.replace("socketkit authority show --certificate", f"cat {tmp_path}/ca")
        subprocess.run([program("sh")], input=lines, text=True, check=True, timeout=30)
        shown = subprocess.run(
            [certutil, "-d", f"sql:{store}", "-L"], capture_output=True, text=True, check=True, timeout=30
        )
        listed.append(own.name in shown.stdout)
    assert listed == [True, False]
