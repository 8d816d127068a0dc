"""Certificates as they are shown."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socketkit import _core
from socketkit.inspect.certificates import Certificate, read

Openssl = Callable[..., str]


@pytest.fixture
def made(openssl: Openssl, tmp_path: Path) -> bytes:
    certificate = tmp_path / "certificate"
    openssl(
        *("req", "-x509", "-newkey", "ed25519", "-nodes", "-keyout", str(tmp_path / "key"), "-out", str(certificate)),
        *("-subj", "/O=Example/CN=nas.example", "-days", "30"),
        *("-addext", "subjectAltName=DNS:nas.example,DNS:b.example,IP:192.0.2.7,IP:2001:db8::7"),
    )
    return ssl.PEM_cert_to_DER_cert(certificate.read_text())


def test_reads_what_openssl_writes(made: bytes) -> None:
    certificate = read(made)
    assert (certificate.subject, certificate.issuer) == ("nas.example", "nas.example")
    assert certificate.names == ("nas.example", "b.example", "192.0.2.7", "2001:db8::7")
    assert certificate.expires is not None
    assert 28 <= (certificate.expires - datetime.now(UTC)).days <= 30


def test_reads_what_we_write() -> None:
    pem = _core.make_identity(["nas.example"]).decode()
    der = ssl.PEM_cert_to_DER_cert(pem[pem.index("-----BEGIN CERTIFICATE") :])
    assert read(der).names == ("nas.example",)


def test_broken_ones_say_nothing(made: bytes) -> None:
    nothing = Certificate("", "", (), None)
    assert read(b"") == nothing
    assert all(read(made[:end]) == nothing for end in range(0, len(made), 7))


@given(st.data())
def test_changed_ones_do_no_harm(data: st.DataObject) -> None:
    pem = KEPT.decode()
    der = bytearray(ssl.PEM_cert_to_DER_cert(pem[pem.index("-----BEGIN CERTIFICATE") :]))
    der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    certificate = read(bytes(der))
    assert (certificate.subject + certificate.issuer + "".join(certificate.names)).isprintable()


KEPT = _core.make_identity(["a.example", "192.0.2.1"])
