"""The identity: made once, read only if it is private, and its key seen by nobody."""

from __future__ import annotations

import copy
import os
import pickle
import ssl
import stat
import subprocess
import sys
import traceback
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from socketkit import Identity, IdentityError, _core, identity

# --- the user's own


def test_made_at_first_use(home: Path) -> None:
    own = Identity.of_user()
    assert Identity.of_user() == own
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "identity.pem").stat().st_mode) == 0o600
    assert identity.user_file() == str(home / "identity.pem")
    assert Identity.load(home / "identity.pem") == own


def test_existing_makes_none(home: Path) -> None:
    assert identity.existing() is None
    assert not home.exists()
    own = Identity.of_user()
    assert identity.existing() == own


@pytest.mark.slow
def test_two_first_users_at_once_get_one_key(home: Path) -> None:
    code = "from socketkit import Identity; input(); print(Identity.of_user().fingerprint)"
    users = [
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for user in users:  # all are started before one may go on
        assert user.stdin is not None
        user.stdin.write("\n")
        user.stdin.flush()
    found = {user.communicate(timeout=20)[0] for user in users}
    assert found == {f"{Identity.of_user().fingerprint}\n"}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_refused_if_others_can_read_it(home: Path, mode: int) -> None:
    Identity.of_user()
    (home / "identity.pem").chmod(mode)
    with pytest.raises(IdentityError, match=f"others can read .*chmod 600 {home}/identity.pem"):
        Identity.of_user()


@pytest.mark.privileged
def test_refused_if_it_belongs_to_another_user(home: Path) -> None:
    Identity.of_user()
    os.chown(home / "identity.pem", 12345, -1)
    with pytest.raises(IdentityError, match="belongs to another user"):
        Identity.of_user()


def test_refused_if_the_folder_is_everyones(home: Path) -> None:
    home.mkdir()
    home.chmod(0o777)
    with pytest.raises(IdentityError, match=f"chmod go-w {home}"):
        Identity.of_user()
    assert not list(home.iterdir())


def test_renew_keeps_the_old_file(home: Path) -> None:
    old = Identity.of_user()
    new = identity.renew()
    assert new != old
    assert Identity.of_user() == new
    assert Identity.load(home / "identity.pem.old") == old
    assert stat.S_IMODE((home / "identity.pem.old").stat().st_mode) == 0o600


def test_renew_replaces_what_is_no_key(home: Path) -> None:
    home.mkdir(0o700)
    (home / "identity.pem").touch(0o600)
    with pytest.raises(IdentityError, match="holds no private key: `socketkit identity new`"):
        Identity.of_user()
    assert identity.renew() == Identity.of_user()


def test_renew_without_an_old_one(home: Path) -> None:
    assert identity.renew() == Identity.of_user()
    assert not (home / "identity.pem.old").exists()


# --- files


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str, text: str | bytes, mode: int = 0o600) -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(mode)
        return path

    return write


def parts(pem: bytes) -> tuple[str, str]:
    """The key, and the certificate."""
    end = b"-----END PRIVATE KEY-----\n"
    key, _, certificate = pem.partition(end)
    return (key + end).decode(), certificate.decode()


KEY, CERTIFICATE = parts(_core.make_identity(["localhost"]))
FINGERPRINT = _core.certificate_fingerprint(CERTIFICATE.encode())


@pytest.mark.parametrize(
    "text",
    [
        KEY + CERTIFICATE,
        CERTIFICATE + KEY,
        f"a text before\n{KEY}between{CERTIFICATE}behind",
        (KEY + CERTIFICATE).replace("\n", "\r\n"),
        "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n" + KEY + CERTIFICATE,
    ],
)
def test_one_file(write: Callable[..., Path], text: str) -> None:
    loaded = Identity.load(write("one.pem", text))
    assert loaded.fingerprint == FINGERPRINT
    assert loaded.certificate == CERTIFICATE
    assert loaded._pem == (KEY + CERTIFICATE).encode()


def test_two_files(write: Callable[..., Path]) -> None:
    other = parts(_core.make_identity(["other"]))[1]
    chain = write("chain.pem", CERTIFICATE + other, 0o644)
    loaded = Identity.load(str(write("key.pem", KEY)), chain)
    assert loaded.fingerprint == FINGERPRINT
    assert loaded.certificate == CERTIFICATE + other


ENCRYPTED = KEY.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no private key"),
        (CERTIFICATE, "holds no private key"),
        (KEY, "holds no certificate: name its file"),
        (KEY + KEY + CERTIFICATE, "more than one private key"),
        (ENCRYPTED + CERTIFICATE, "is encrypted: take off the pass phrase with `openssl pkey`"),
        (KEY.replace("PRIVATE", "OPENSSH PRIVATE") + CERTIFICATE, "no key of X.509"),
        (KEY.replace("MC4C", "!!!!") + CERTIFICATE, "no key of X.509"),
        (KEY.replace("MC4C", "AC4C") + CERTIFICATE, "no key of X.509"),
        (KEY + CERTIFICATE.replace("MII", "AAA"), "certificate cannot be read"),
        (KEY + CERTIFICATE[:40], "holds no certificate"),
        (KEY + "-----BEGIN CERTIFICATE", "holds no certificate"),
    ],
)
def test_files_that_will_not_do(write: Callable[..., Path], text: str, words: str) -> None:
    path = write("some.pem", text)
    with pytest.raises(IdentityError, match=words) as caught:
        Identity.load(path)
    assert str(path) in str(caught.value)
    told = "".join(traceback.format_exception(caught.value))
    assert not [line for line in KEY.splitlines()[1:-1] if line[8:24] in told]


def test_missing_files(tmp_path: Path, write: Callable[..., Path]) -> None:
    with pytest.raises(IdentityError, match=r"none\.pem: no such file"):
        Identity.load(tmp_path / "none.pem")
    with pytest.raises(IdentityError, match=r"none\.pem: no such file"):
        Identity.load(write("key.pem", KEY), tmp_path / "none.pem")


def test_key_that_others_can_read(write: Callable[..., Path]) -> None:
    path = write("key.pem", KEY + CERTIFICATE, 0o644)
    with pytest.raises(IdentityError, match=f"chmod 600 {path}"):
        Identity.load(path)


# --- the value


def test_key_never_travels() -> None:
    own = Identity.new()
    assert own != Identity.new()
    assert repr(own) == f"<Identity {own.fingerprint}>"
    assert "PRIVATE" not in own.certificate
    assert copy.deepcopy(own) is copy.copy(own) is own
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(own, protocol)


def test_frozen_and_hashable() -> None:
    own = Identity.new()
    assert own in {own}
    assert own != own.fingerprint
    with pytest.raises(AttributeError):
        own.fingerprint = "x"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        del own.fingerprint
    with pytest.raises(AttributeError):
        own.other = 1  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match=r"Identity\.of_user\(\)"):
        Identity()


def test_openssl_takes_it(write: Callable[..., Path]) -> None:
    own = Identity.new()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(write("own.pem", own._pem))  # it refuses a key that is not the certificate's


def test_fingerprint_is_what_openssl_says(write: Callable[..., Path], program: Callable[[str], str]) -> None:
    openssl, own = program("openssl"), Identity.new()
    certificate = write("certificate.pem", own.certificate)
    public = subprocess.run([openssl, "x509", "-in", certificate, "-noout", "-pubkey"], capture_output=True, check=True)
    der = subprocess.run(
        [openssl, "pkey", "-pubin", "-outform", "DER"], input=public.stdout, capture_output=True
    ).stdout
    assert _core.fingerprint_text(sha256(der).digest()) == own.fingerprint


@pytest.mark.parametrize(
    ("host", "named"),
    [
        ("Nas.Example.", "nas.example"),
        ("localhost", None),
        ("with_underscore", None),
        ("-dash", None),
        ("not a name", None),
        ("192.0.2.1", None),
        ("", None),
        ("x" * 64, None),
    ],
)
def test_names_of_the_certificate(host: str, named: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("_socket.gethostname", lambda: host)
    given: list[list[str]] = []

    def make_identity(names: list[str]) -> bytes:
        given.append(names)
        return (KEY + CERTIFICATE).encode()

    monkeypatch.setattr(_core, "make_identity", make_identity)
    Identity.new()
    assert given == [["localhost", "127.0.0.1", "::1", *([named] if named else [])]]


def test_alternative_is_another_value_of_the_same_identity() -> None:
    first, other = Identity.new(), Identity.new()
    both = first.with_alternative(other)
    assert both.fingerprint == first.fingerprint
    assert both != first and both == first.with_alternative(other)
    assert hash(both) == hash(first)
    assert both.certificate == first.certificate
    assert repr(both) == repr(first)
