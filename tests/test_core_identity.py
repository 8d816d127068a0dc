"""The identity functions of `_core`: fingerprints, certificates that other programs take, `authorized_peers`."""

from __future__ import annotations

import base64
import hashlib
import random
import re
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import create_connection

import pytest

from socketkit import _core

RAW = bytes(range(32))
TEXT = "sk1:aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypq6j2lqr"
NAMES = ["localhost", "printer.example", "127.0.0.1", "::1"]

Program = Callable[[str], str]


# --- fingerprints


def test_fingerprint_is_base32_with_check_digits() -> None:
    assert _core.fingerprint_text(RAW) == TEXT
    assert TEXT[4:56] == base64.b32encode(RAW).decode().rstrip("=").lower()
    assert _core.fingerprint_bytes(TEXT) == RAW


def test_check_digits_are_those_of_bech32m() -> None:
    """As BIP 350 computes them: in its alphabet the text is a Bech32m string with the human-readable part `sk`."""
    values = ["abcdefghijklmnopqrstuvwxyz234567".index(letter) for letter in TEXT[4:]]
    residue = 1
    for value in [3, 3, 0, 19, 11, *values]:
        top, residue = residue >> 25, (residue & 0x1FFFFFF) << 5 ^ value
        for bit, term in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            residue ^= term if top >> bit & 1 else 0
    assert residue == 0x2BC830A3


def test_every_fingerprint_comes_back() -> None:
    seeded = random.Random(1)
    for _ in range(200):
        raw = seeded.randbytes(32)
        assert _core.fingerprint_bytes(_core.fingerprint_text(raw)) == raw


def test_upper_case_and_hyphens_are_read() -> None:
    grouped = "SK1:" + "-".join(TEXT[at : at + 6].upper() for at in range(4, 62, 6))
    assert _core.fingerprint_bytes(grouped) == RAW


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "a fingerprint starts with sk1:"),
        ("sha256:" + RAW.hex(), "a fingerprint starts with sk1:"),
        ("sk1:aa0", "no fingerprint has '0' at offset 6"),
        (TEXT[:-1], "a fingerprint has 62 characters without hyphens, this has 61"),
        (TEXT + "a", "a fingerprint has 62 characters without hyphens, this has 63"),
        (TEXT.replace("q", "p", 1), "the check digits do not match: a character is wrong"),
    ],
)
def test_wrong_fingerprint_says_why(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}$"):
        _core.fingerprint_bytes(text)


@pytest.mark.parametrize("raw", [b"", RAW[:-1], RAW + b"\0"])
def test_fingerprint_of_other_lengths_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match=f"^a fingerprint has 32 bytes, this has {len(raw)}$"):
        _core.fingerprint_text(raw)


# --- certificates


def test_identity_is_a_key_and_its_certificate() -> None:
    key, certificate = sections(_core.make_identity(NAMES))
    assert key.startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert certificate.startswith(b"-----BEGIN CERTIFICATE-----\n")
    assert _core.make_identity(NAMES) != _core.make_identity(NAMES)


def test_fingerprint_does_not_depend_on_what_stands_beside_the_certificate() -> None:
    whole = _core.make_identity([])
    other = _core.make_identity([])
    fingerprint = _core.certificate_fingerprint(whole)
    assert fingerprint == _core.certificate_fingerprint(sections(whole)[1])
    assert fingerprint == _core.certificate_fingerprint(b"of the printer\n" + whole + other)
    assert fingerprint != _core.certificate_fingerprint(other)


IMPOSSIBLE_NAMES = ["", "two words", "*", "printer.example:80", "[::1]", "m\u00fcnchen.example", "a" * 64]


@pytest.mark.parametrize("name", IMPOSSIBLE_NAMES)
def test_impossible_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"is neither a DNS name nor an IP address$"):
        _core.make_identity(["localhost", name])


def test_pem_without_certificate_is_refused_without_quoting_it() -> None:
    key, certificate = sections(_core.make_identity([]))
    secret = key.splitlines()[1]
    for pem, reason in [
        (b"", "there is no certificate in this PEM"),
        (key, "there is no certificate in this PEM"),
        (key[:-30], "this PEM is damaged"),
        (certificate.replace(b"\nMI", b"\n??"), "this PEM is damaged"),
        (b"-----BEGIN " + secret + b"\n" + certificate, "this PEM is damaged"),
        (key.replace(b"PRIVATE KEY", b"CERTIFICATE"), "this certificate cannot be read: .*"),
    ]:
        with pytest.raises(ValueError, match=f"^{reason}$") as caught:
            _core.certificate_fingerprint(pem)
        assert secret.decode() not in str(caught.value)


def test_openssl_reads_it_and_finds_the_same_fingerprint(tmp_path: Path, program: Program) -> None:
    pem = _core.make_identity(NAMES)
    path = stored(tmp_path, pem)
    openssl = program("openssl")
    text = run(openssl, "x509", "-in", path, "-noout", "-text").decode()
    for line in [
        "Version: 3 (0x2)",
        "Signature Algorithm: ED25519",
        "Issuer: CN = socketkit",
        "Subject: CN = socketkit",
        "Not Before: Jan  1 00:00:00 2020 GMT",
        "Not After : Jan  1 00:00:00 4096 GMT",
        "DNS:localhost, DNS:printer.example, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1",
    ]:
        assert line.replace(" = ", "=") in text.replace(" = ", "=")  # its spaces changed with 3.2
    public = run(openssl, "x509", "-in", path, "-noout", "-pubkey")
    assert public == run(openssl, "pkey", "-in", path, "-pubout")
    spki = run(openssl, "pkey", "-pubin", "-outform", "der", given=public)
    assert _core.fingerprint_bytes(_core.certificate_fingerprint(pem)) == hashlib.sha256(spki).digest()


@pytest.mark.parametrize("purpose", ["sslserver", "sslclient"])
@pytest.mark.parametrize("names", [NAMES, []], ids=["named", "nameless"])
def test_openssl_verifies_it_as_its_own_authority(
    tmp_path: Path, program: Program, names: list[str], purpose: str
) -> None:
    _, certificate = sections(_core.make_identity(names))
    path = stored(tmp_path, certificate)
    verify = [program("openssl"), "verify", "-x509_strict", "-CAfile", path, "-purpose", purpose]
    assert run(*verify, path).decode() == f"{path}: OK\n"
    assert run(*verify, "-partial_chain", path).decode() == f"{path}: OK\n"


def test_it_is_no_authority_for_others(tmp_path: Path, program: Program) -> None:
    openssl, path = program("openssl"), stored(tmp_path, _core.make_identity([]))
    request, issued = str(tmp_path / "request.pem"), str(tmp_path / "issued.pem")
    subject = ["-newkey", "ed25519", "-nodes", "-keyout", str(tmp_path / "key.pem"), "-subj", "/CN=impostor"]
    run(openssl, "req", "-new", *subject, "-out", request)
    signing = ["-CA", path, "-CAkey", path, "-set_serial", "1", "-days", "1"]
    run(openssl, "x509", "-req", "-in", request, *signing, "-out", issued)
    ended = subprocess.run([openssl, "verify", "-CAfile", path, issued], capture_output=True, text=True, timeout=10)
    assert ended.returncode != 0
    assert "invalid CA certificate" in ended.stderr


@pytest.mark.parametrize("name", NAMES)
def test_stdlib_client_verifies_a_server_that_uses_it(tmp_path: Path, program: Program, name: str) -> None:
    pem = _core.make_identity(NAMES)
    with openssl_server(program("openssl"), stored(tmp_path, pem)) as port:
        context = ssl.create_default_context(cadata=sections(pem)[1].decode())
        context.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
        assert context.check_hostname
        with (
            create_connection(("127.0.0.1", port), 10) as plain,
            context.wrap_socket(plain, server_hostname=name) as tls,
        ):
            assert tls.version() == "TLSv1.3"
            presented = tls.getpeercert(binary_form=True)
    assert presented is not None
    presented_pem = ssl.DER_cert_to_PEM_cert(presented).encode()
    assert _core.certificate_fingerprint(presented_pem) == _core.certificate_fingerprint(pem)


def test_stdlib_client_refuses_another_name(tmp_path: Path, program: Program) -> None:
    pem = _core.make_identity(NAMES)
    with openssl_server(program("openssl"), stored(tmp_path, pem)) as port:
        context = ssl.create_default_context(cadata=sections(pem)[1].decode())
        with create_connection(("127.0.0.1", port), 10) as plain:
            with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
                context.wrap_socket(plain, server_hostname="other.example")


def test_curl_takes_it_as_authority_and_pin(tmp_path: Path, program: Program) -> None:
    pem = _core.make_identity(NAMES)
    digest = _core.fingerprint_bytes(_core.certificate_fingerprint(pem))
    path = stored(tmp_path, pem)
    options = ["--silent", "--show-error", "--max-time", "10", "--noproxy", "*", "--output", "/dev/null"]
    with openssl_server(program("openssl"), path, "-www") as port:
        url, pin = f"https://localhost:{port}/", f"sha256//{base64.b64encode(digest).decode()}"
        run(program("curl"), "-4", *options, "--cacert", path, "--pinnedpubkey", pin, url)


def sections(pem: bytes) -> list[bytes]:
    return re.findall(rb"-----BEGIN .*?-----END [A-Z ]+-----\n", pem, re.DOTALL)


def stored(folder: Path, pem: bytes) -> str:
    path = folder / "identity.pem"
    path.write_bytes(pem)
    return str(path)


def run(*command: str, given: bytes = b"") -> bytes:
    return subprocess.run(command, input=given, stdout=subprocess.PIPE, check=True, timeout=10).stdout


@contextmanager
def openssl_server(openssl: str, identity: str, *options: str) -> Iterator[int]:
    """Gives its port."""
    command = [openssl, "s_server", "-accept", "127.0.0.1:0", "-cert", identity, "-key", identity, *options]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as server:
        assert server.stdout is not None
        try:
            ready = next(line for line in server.stdout if line.startswith(b"ACCEPT"))
            yield int(ready.rpartition(b":")[2])
        finally:
            server.kill()


# --- authorized_peers


def test_authorized_gives_sorted_keys_and_revoked_wins() -> None:
    first, second, third = (bytes([number]) * 32 for number in (1, 2, 3))
    lines = [
        "# the family",
        "",
        f"{_core.fingerprint_text(third)} laptop of Ana",
        f"@revoked {_core.fingerprint_text(second)} stolen",
        f"\t{_core.fingerprint_text(first).upper()}\r",
        _core.fingerprint_text(second),
    ]
    assert _core.parse_authorized("\n".join(lines)) == ([first, third], [second])
    assert _core.parse_authorized("") == ([], [])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("sk1:aa0", "line 3: no fingerprint has '0' at offset 6"),
        ("@revoked", "line 3: @revoked needs a fingerprint"),
        ("@allowed " + TEXT, "line 3: @revoked is the only word with @"),
    ],
)
def test_wrong_line_is_named(line: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}$"):
        _core.parse_authorized(f"# one\n{TEXT}\n{line}\n")


def test_authorized_of_more_than_a_mebibyte_is_refused() -> None:
    most = "#" * (1 << 20)
    assert _core.parse_authorized(most) == ([], [])
    with pytest.raises(ValueError, match=r"^it has 1048577 bytes, 1048576 are the most$"):
        _core.parse_authorized(most + "#")


PERIOD = (1_700_000_000, 1_800_000_000)


@pytest.mark.parametrize(
    ("within", "period", "words"),
    [
        ([], PERIOD, "an authority over everything is not made"),
        (["10.0.0.0/33"], PERIOD, "'10.0.0.0/33' is no network|\"10.0.0.0/33\" is no network"),
        (["x/8"], PERIOD, "is no network"),
        (["fd00::/-1"], PERIOD, "is no network"),
        (["local"], (2, 2), "from a moment to a later one"),
        (["local"], (1, 1 << 62), "from a moment to a later one"),
    ],
)
def test_authority_that_cannot_be(within: list[str], period: tuple[int, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        _core.make_authority("name", within, period)


@pytest.mark.parametrize(
    ("names", "key", "authority", "words"),
    [
        (["a b"], None, None, "neither a DNS name nor an IP address"),
        (["a.local"], "nonsense", None, "begins with no key that can sign"),
        (["a.local"], None, ("nonsense", "name"), "begins with no key that can sign"),
    ],
)
def test_certificate_that_cannot_be(
    names: list[str], key: str | None, authority: tuple[str, str] | None, words: str
) -> None:
    with pytest.raises(ValueError, match=words) as failure:
        _core.issue_certificate(names, PERIOD, key, authority)
    assert "nonsense" not in str(failure.value)


def test_certificate_of_its_own() -> None:
    pem = _core.issue_certificate(["a.local", "10.0.0.1"], PERIOD)
    key = pem.decode().partition("-----BEGIN CERT")[0]
    again = _core.issue_certificate(["b.local"], PERIOD, key)
    assert _core.certificate_fingerprint(again) == _core.certificate_fingerprint(pem)
