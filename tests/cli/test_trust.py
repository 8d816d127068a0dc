"""`socketkit trust`, as it is run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from socketkit.authorized_peers import AuthorizedPeers
from socketkit.cli import main
from socketkit.known_peers import KnownPeers
from tests.keys import A, B, C

Captured = pytest.CaptureFixture[str]


def trust(*words: str) -> int:
    return main(["trust", *words])


# --- known peers


def test_add_show_list(capsys: Captured) -> None:
    assert trust("add", "NAS:7000", A.upper(), "the", "NAS") == 0
    assert trust("add", "[::1]:1", B) == 0
    assert capsys.readouterr() == ("", "")
    assert trust("list") == 0
    assert capsys.readouterr().out == f"nas:7000  {A}  the NAS\n[::1]:1   {B}\n"
    assert trust("show", "tls://nas:7000") == 0
    assert capsys.readouterr().out == f"nas:7000  {A}  the NAS\n"


def test_nothing_is_known(capsys: Captured) -> None:
    assert trust("list") == 0
    assert capsys.readouterr() == ("", "")
    assert trust("show", "nas:7000") == 1


def test_json(home: Path, capsys: Captured) -> None:
    trust("add", "nas:7000", A, "the NAS")
    trust("revoke", C)
    with open(home / "known_peers", "a") as file:
        file.write("nonsense\n")
    for words in (["list"], ["show", "nas:7000"]):
        assert trust(*words, "--json") == 0
        listed = json.loads(capsys.readouterr().out)
        assert listed["file"] == str(home / "known_peers")
        assert listed["keys"] == [
            {"place": "nas:7000", "fingerprint": A, "comment": "the NAS", "revoked": False, "line": 1},
            {"place": "*", "fingerprint": C, "comment": "", "revoked": True, "line": 2},
        ]
        assert listed["faults"] == ["line 3: a place and a key belong on a line (HOST:PORT sk1:...)"]


def test_list_shows_what_cannot_be_read(home: Path, capsys: Captured) -> None:
    trust("add", "nas:7000", A)
    with open(home / "known_peers", "a") as file:
        file.write(f"nas:7001 {A} \x1b[31m\nnonsense\n")
    assert trust("list") == 0
    said = capsys.readouterr()
    assert "\x1b" not in said.out
    assert said.err.startswith(f"socketkit: {home}/known_peers, line 3: ")


def test_add_refuses_another_key(capsys: Captured) -> None:
    trust("add", "nas:7000", A)
    assert trust("add", "nas:7000", B) == 1
    assert f"`socketkit trust replace nas:7000 {B}`" in capsys.readouterr().err
    assert trust("add", "--also", "nas:7000", B) == 0
    assert KnownPeers().find("nas:7000").pins == (A, B)


def test_key_that_stands_in_the_address() -> None:
    assert trust("add", f"tls://nas:7000?pin={A}", "the NAS") == 0
    assert KnownPeers().find("nas:7000").pins == (A,)
    assert trust("replace", f"tls://nas:7000?pin={B}") == 0
    assert KnownPeers().find("nas:7000").pins == (B,)
    assert trust("add", "tls+unix:///run/app.sock", C) == 0
    assert KnownPeers().find("/run/app.sock").pins == (C,)


def test_replace() -> None:
    trust("add", "nas:7000", A)
    trust("add", "--also", "nas:7000", B)
    assert trust("replace", "nas:7000", C, "new", "disk") == 0
    (entry,) = KnownPeers().entries()
    assert (entry.fingerprint, entry.comment) == (C, "new disk")


def test_remove(capsys: Captured) -> None:
    for key in (A, B, C):
        trust("add", "--also", "nas:7000", key)
    assert trust("remove", "nas:7000", A) == 0
    assert trust("remove", "nas:7000") == 0
    assert capsys.readouterr().err == "removed 1 key\nremoved 2 keys\n"
    assert trust("remove", "nas:7000") == 1
    assert "no such key is known: `socketkit trust list`" in capsys.readouterr().err


def test_revoke(capsys: Captured) -> None:
    trust("add", "nas:7000", A)
    assert trust("revoke", A) == 0
    assert trust("revoke", B, "nas:7000") == 0
    assert trust("list") == 0
    assert capsys.readouterr().out == f"*         {A}  revoked\nnas:7000  {B}  revoked\n"
    assert trust("add", "nas:7000", A) == 1
    assert "is revoked by" in capsys.readouterr().err


# --- authorized peers


def test_authorized(capsys: Captured) -> None:
    assert trust("add", "--authorized", A, "Ann's", "laptop") == 0
    assert trust("add", "--authorized", B) == 0
    assert trust("revoke", "--authorized", B) == 0
    assert trust("list", "--authorized") == 0
    assert capsys.readouterr().out == f"{A}  Ann's laptop\n{B}  revoked\n"
    assert trust("show", "--authorized", A, "--json") == 0
    (entry,) = json.loads(capsys.readouterr().out)["keys"]
    assert entry == {"fingerprint": A, "comment": "Ann's laptop", "revoked": False, "line": 1}
    assert AuthorizedPeers().fingerprints() == (A,)
    assert trust("remove", "--authorized", A) == 0
    assert trust("show", "--authorized", A) == 1
    assert KnownPeers().entries() == ()


# --- wrong words


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["add"], "write PLACE SK1 [COMMENT]"),
        (["add", "nas:7000"], "write PLACE SK1 [COMMENT]"),
        (["add", "tls://nas:7000"], "write PLACE SK1 [COMMENT]"),
        (["add", "nas", A], "the port is missing"),
        (["add", "nas:7000", "sk1:x"], "not an identity"),
        (["add", "--authorized"], "write SK1 [COMMENT]"),
        (["add", "--authorized", "Ann"], "not an identity"),
        (["add", "--authorized", "--also", A], "--also goes with a place"),
        (["replace", "nas:7000"], "write PLACE SK1 [COMMENT]"),
        (["show"], "write PLACE"),
        (["show", "a:1", "b:1"], "write PLACE"),
        (["show", "--authorized"], "write SK1"),
        (["remove"], "write PLACE [SK1]"),
        (["remove", "nas:7000", A, B], "write PLACE [SK1]"),
        (["remove", "--authorized", A, B], "write SK1"),
        (["revoke"], "write SK1"),
        (["revoke", A, "nas:7000", "x"], "write SK1 [PLACE]"),
        (["revoke", "--authorized", A, "nas:7000"], "write SK1"),
        (["revoke", "nas:7000"], "not an identity"),
    ],
)
def test_wrong_command_line(words: list[str], said: str, home: Path, capsys: Captured) -> None:
    assert trust(*words) == 2
    assert said in capsys.readouterr().err
    assert not home.exists()


def test_file_that_others_can_write_to(home: Path, capsys: Captured) -> None:
    trust("add", "nas:7000", A)
    (home / "known_peers").chmod(0o666)
    for words in (["list"], ["show", "nas:7000"], ["add", "nas:7001", A]):
        assert trust(*words) == 1
        assert "chmod 600" in capsys.readouterr().err


def test_show_stops_at_a_line_that_matters(home: Path, capsys: Captured) -> None:
    trust("add", "nas:7000", A)
    with open(home / "known_peers", "a") as file:
        file.write("nas:7000 sk1:broken\n")
    assert trust("show", "nas:7000") == 1
    assert "known_peers, line 2: " in capsys.readouterr().err
