"""The local authority, judged by OpenSSL, and by handshakes of programs that know no Ed25519."""

from __future__ import annotations

import asyncio
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from socketkit import Identity, IdentityError, Trust, connect, serve
from socketkit.hosting import authority
from socketkit.hosting.authority import LEAF_SECONDS, existing, local_names, make, remove, shown_for
from tests.conftest import Run

OpenSSL = Callable[..., str]
NAMES = ["192.168.1.7", "localhost", "127.0.0.1", "::1"]


def written(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_its_certificate(home: Path, openssl: OpenSSL, tmp_path: Path) -> None:
    made = make()
    text = openssl(
        "x509", "-in", written(tmp_path / "ca", made.certificate), "-noout", "-text", "-fingerprint", "-sha256"
    )
    assert "Name Constraints: critical" in text
    assert "IP:192.168.0.0/255.255.0.0" in text and "DNS:local" in text and "Excluded" not in text
    assert "CA:TRUE, pathlen:0" in text
    assert f"Fingerprint={made.fingerprint}" in text
    assert stat.S_IMODE((home / "authority.pem").stat().st_mode) == 0o600
    assert "PRIVATE" not in made.certificate


def test_what_it_vouches_for(home: Path, openssl: OpenSSL, tmp_path: Path) -> None:
    made = make()
    ca = written(tmp_path / "ca", made.certificate)
    shown = shown_for([*NAMES, "9.9.9.9", "bank.example"])
    assert shown.authority is not None and shown.authority.name == made.name
    own = Identity.of_user()
    assert shown.identity.fingerprint == own.fingerprint  # whom pins know
    assert shown.identity._alternative is not None
    for number, chain in enumerate((shown.identity.certificate, shown.identity._alternative)):
        leaf = written(tmp_path / f"leaf{number}", chain)
        for name in NAMES:
            option = "-verify_ip" if name[0].isdecimal() or ":" in name else "-verify_hostname"
            assert "OK" in openssl("verify", "-CAfile", ca, "-purpose", "sslserver", option, name, leaf)
        text = openssl("x509", "-in", leaf, "-noout", "-text")
        assert "9.9.9.9" not in text and "bank.example" not in text
        assert ("ED25519" in text, "prime256v1" in text) == (not number, bool(number))


def test_a_stolen_key_makes_no_bank(
    home: Path, openssl: OpenSSL, program: Callable[[str], str], tmp_path: Path
) -> None:
    made = make()
    ca = written(tmp_path / "ca", made.certificate)
    from socketkit import _core

    for name in ("bank.example", "9.9.9.9"):
        forged = _core.issue_certificate([name], (1_700_000_000, 2_100_000_000), None, (made._pem.decode(), made.name))
        leaf = written(tmp_path / "leaf", forged)
        done = subprocess.run([program("openssl"), "verify", "-CAfile", ca, leaf], capture_output=True, text=True)
        assert done.returncode != 0
        assert "permitted subtree violation" in done.stderr


def test_two_certificates_of_a_key_have_two_numbers(home: Path, openssl: OpenSSL, tmp_path: Path) -> None:
    make()
    key = Identity.of_user()._pem.decode().partition("-----BEGIN CERT")[0]
    made = existing()
    assert made is not None
    numbers = {
        openssl("x509", "-in", written(tmp_path / "leaf", made.issue(NAMES, key)), "-noout", "-serial")
        for _ in range(3)
    }
    assert len(numbers) == 3


def test_without_one_a_certificate_is_kept_for_browsers(home: Path) -> None:
    first = shown_for(NAMES)
    assert first.authority is None
    assert first.fingerprint == shown_for(NAMES).fingerprint == shown_for(NAMES[:1]).fingerprint
    assert stat.S_IMODE((home / "browser.pem").stat().st_mode) == 0o600
    key = (home / "browser.pem").read_text().partition("-----BEGIN CERT")[0]
    more = shown_for(["10.0.0.9"])
    assert more.fingerprint != first.fingerprint
    assert (home / "browser.pem").read_text().startswith(key)
    assert shown_for(["10.0.0.9", *NAMES]).fingerprint == more.fingerprint  # it is for all of them


def test_it_is_renewed_in_time(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = shown_for(NAMES)
    now = authority.time.time()
    monkeypatch.setattr(authority.time, "time", lambda: now + LEAF_SECONDS - 86_400)
    assert shown_for(NAMES).fingerprint != first.fingerprint


def test_what_it_may_not_vouch_for_is_self_issued(home: Path) -> None:
    make()
    assert shown_for(["9.9.9.9", "localhost"]).authority is None


def test_only_one(home: Path) -> None:
    made = make()
    with pytest.raises(IdentityError, match="--replace makes a new one"):
        make()
    assert make(replace=True).fingerprint != made.fingerprint
    assert remove() and not remove()
    assert existing() is None


def test_one_that_has_run_out(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expires = make().expires
    monkeypatch.setattr(authority.time, "time", lambda: expires + 1)
    with pytest.raises(IdentityError, match="authority make --replace"):
        existing()


@pytest.mark.parametrize("data", ["", "x", "-----BEGIN CERTIFICATE-----\n"])
def test_a_file_that_holds_something_else(home: Path, data: str) -> None:
    home.mkdir(exist_ok=True)
    (home / "authority.pem").write_text(data)
    (home / "authority.pem").chmod(0o600)
    with pytest.raises(IdentityError, match="remove it, and a new one is made"):
        existing()


@pytest.mark.parametrize(
    ("name", "vouched"),
    [("10.1.2.3", True), ("172.32.0.1", False), ("fd00::1", True), ("a.local", True), ("LOCALHOST", True),
     ("local.example", False), ("", False)],
)  # fmt: skip
def test_borders(home: Path, name: str, vouched: bool) -> None:
    assert make().vouches_for(name) is vouched


def test_names_of_this_machine() -> None:
    assert local_names(["10.0.0.9"])[:4] == ["10.0.0.9", "localhost", "127.0.0.1", "::1"]


@pytest.mark.slow
def test_who_knows_no_ed25519_gets_the_other_key(
    run: Run, home: Path, program: Callable[[str], str], tmp_path: Path
) -> None:
    made = make()
    ca = written(tmp_path / "ca", made.certificate)
    shown = shown_for(NAMES)
    browser = ["-sigalgs", "ecdsa_secp256r1_sha256:rsa_pss_rsae_sha256"]  # what Chromium offers, more or less

    async def shaken(port: int, *words: str) -> str:
        process = await asyncio.create_subprocess_exec(
            program("openssl"), "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", str(ca), "-verify_return_error",
            "-verify_ip", "127.0.0.1", *words,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        return (await process.communicate())[0].decode()

    async def main() -> None:
        async with serve(
            "tls://localhost:0?public=yes", lambda stream: stream.receive(), identity=shown.identity
        ) as server:
            port = server.local.port or 0
            plain = await shaken(port)
            assert "Verify return code: 0 (ok)" in plain and "signature type: ed25519" in plain.lower()
            other = await shaken(port, *browser)
            assert "Verify return code: 0 (ok)" in other and "Peer signature type: ECDSA" in other
            # The key that pins name stays the identity's, and our own client takes the authority's word as well.
            pinned = await connect(server.local)
            assert pinned.peer.fingerprint == Identity.of_user().fingerprint
            await pinned.aclose()
            vouched = await connect(f"tls://localhost:{port}", trust=Trust.authority(ca))
            await vouched.aclose()

    run(main())
