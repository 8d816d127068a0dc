"""authorized_peers: who may connect, as the engine reads it, and nobody while a line cannot be read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from socketkit import IdentityError
from socketkit.authorized_peers import AuthorizedPeer, AuthorizedPeers
from tests.keys import A, B, C, D


@pytest.fixture
def peers(tmp_path: Path) -> AuthorizedPeers:
    return AuthorizedPeers(tmp_path / "authorized_peers")


def write(peers: AuthorizedPeers, data: str | bytes) -> None:
    Path(peers.path).write_bytes(data if isinstance(data, bytes) else data.encode())
    os.chmod(peers.path, 0o600)


def test_own_file(home: Path) -> None:
    assert AuthorizedPeers().path == str(home / "authorized_peers")
    assert AuthorizedPeers().fingerprints() == ()
    AuthorizedPeers().add(A, "Ann")
    assert (home / "authorized_peers").read_text() == f"{A} Ann\n"


def test_fingerprints(peers: AuthorizedPeers) -> None:
    write(peers, f"# who may connect\n\n{A} Ann's laptop\n  {B.upper()}\n{C}\n{A}\n@revoked {C} lost\n@revoked {D}\n")
    assert set(peers.fingerprints()) == {A, B}
    assert len(peers.fingerprints()) == 2
    assert peers.entries() == (
        AuthorizedPeer(A, "Ann's laptop", False, 3),
        AuthorizedPeer(B, "", False, 4),
        AuthorizedPeer(C, "", False, 5),
        AuthorizedPeer(A, "", False, 6),
        AuthorizedPeer(C, "lost", True, 7),
        AuthorizedPeer(D, "", True, 8),
    )
    assert peers.faults() == ()


@pytest.mark.parametrize("line", ["nonsense", A[:-1], "@revoked", f"@revoked {A[:-1]}", f"@revokd {A}", f"h:1 {A}"])
def test_line_that_cannot_be_read_lets_nobody_in(peers: AuthorizedPeers, line: str) -> None:
    write(peers, f"{B}\n# c\n{line}\n")
    with pytest.raises(IdentityError, match=f"{peers.path}, line 3: .*: repair the line or remove it"):
        peers.fingerprints()
    assert [entry.fingerprint for entry in peers.entries()] == [B]
    (fault,) = peers.faults()
    assert fault.startswith("line 3: ")
    peers.add(C)
    assert line in Path(peers.path).read_text().splitlines()


def test_add_remove_revoke(peers: AuthorizedPeers) -> None:
    peers.add(A.upper(), "Ann")
    peers.add(A)
    peers.add(B)
    assert peers.remove(B) == 1
    assert peers.remove(B) == 0
    assert peers.fingerprints() == (A,)
    peers.revoke(A, "lost")
    peers.revoke(A)
    assert Path(peers.path).read_text() == f"@revoked {A} lost\n"
    assert peers.remove(A) == 0
    with pytest.raises(IdentityError, match=f"{A} is revoked by {peers.path}, line 1"):
        peers.add(A)
    assert repr(peers) == f"AuthorizedPeers({peers.path!r})"


def test_file_that_others_can_write_to(peers: AuthorizedPeers) -> None:
    write(peers, A)
    os.chmod(peers.path, 0o620)
    with pytest.raises(IdentityError, match="chmod 600"):
        peers.fingerprints()


def test_wrong_words(peers: AuthorizedPeers) -> None:
    with pytest.raises(IdentityError, match="not an identity"):
        peers.add("Ann")
    with pytest.raises(IdentityError, match="one line"):
        peers.add(A, f"x\n{B}")
    assert not Path(peers.path).exists()


def test_comments_in_any_encoding_are_kept(peers: AuthorizedPeers) -> None:
    write(peers, A.encode() + b" J\xf6rg\n")
    assert peers.fingerprints() == (A,)
    peers.add(B)
    assert Path(peers.path).read_bytes() == A.encode() + b" J\xf6rg\n" + B.encode() + b"\n"


@pytest.mark.slow
def test_two_processes_adding_at_once_lose_nothing(peers: AuthorizedPeers) -> None:
    code = """
import sys
from socketkit import _core
from socketkit.authorized_peers import AuthorizedPeers
for number in range(30):
    AuthorizedPeers(sys.argv[1]).add(_core.fingerprint_text(bytes([int(sys.argv[2]), number]) * 16))
"""
    adding = [subprocess.Popen([sys.executable, "-c", code, peers.path, name]) for name in "12"]
    assert [process.wait(20) for process in adding] == [0, 0]
    assert len(peers.fingerprints()) == 60


@pytest.mark.slow
@given(st.lists(st.tuples(st.sampled_from(["add", "remove", "revoke"]), st.sampled_from([A, B, C, D])), max_size=20))
@settings(max_examples=50, deadline=None)  # each example writes files
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str]]) -> None:
    peers = AuthorizedPeers(tmp_path_factory.mktemp("peers") / "file")
    allowed: set[str] = set()
    revoked: set[str] = set()
    for call, key in steps:
        if call == "add" and key in revoked:
            with pytest.raises(IdentityError):
                peers.add(key)
            continue
        getattr(peers, call)(key)
        allowed = allowed | {key} if call == "add" else allowed - {key}
        revoked |= {key} if call == "revoke" else set()
    assert set(peers.fingerprints()) == allowed
    assert {entry.fingerprint for entry in peers.entries() if entry.revoked} == revoked


@pytest.mark.slow
@given(st.lists(st.sampled_from([A, B, "@revoked", *" \t\x1f\x85\r\n\0#x"])).map("".join))
@settings(max_examples=50, deadline=None)  # each example writes files
def test_engine_and_listing_agree_on_what_can_be_read(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    peers = AuthorizedPeers(tmp_path_factory.mktemp("peers") / "file")
    write(peers, text)
    if peers.faults():
        with pytest.raises(IdentityError):
            peers.fingerprints()
    else:
        revoked = {entry.fingerprint for entry in peers.entries() if entry.revoked}
        assert set(peers.fingerprints()) == {entry.fingerprint for entry in peers.entries()} - revoked
