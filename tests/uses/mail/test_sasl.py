"""Logins: what the mechanisms ask, take and refuse; never a password in what is kept."""

from __future__ import annotations

import base64

import pytest

from socketkit.uses.mail.sasl import Exchange, Login, SaslError


def b64(text: bytes) -> str:
    return base64.b64encode(text).decode()


def test_plain() -> None:
    exchange = Exchange("plain")
    assert exchange.first == ""
    assert exchange.answer(b64(b"\0ann\0secret")) == Login("PLAIN", "ann")


def test_login_asks_twice() -> None:
    exchange = Exchange("LOGIN")
    assert base64.b64decode(exchange.first) == b"Username:"
    password = exchange.answer(b64(b"ann"))
    assert isinstance(password, str)
    assert base64.b64decode(password) == b"Password:"
    assert exchange.answer(b64(b"secret")) == Login("LOGIN", "ann")


def test_no_password_is_kept() -> None:
    exchange = Exchange("PLAIN")
    exchange.answer(b64(b"\0ann\0marker-4711"))
    assert "marker-4711" not in repr(vars(exchange))


@pytest.mark.parametrize("line", ["*", "no base64!", "äöü", b64(b"ann"), b64(b"\0\0secret"), "="])
def test_refused(line: str) -> None:
    with pytest.raises(SaslError):
        Exchange("PLAIN").answer(line)


def test_unknown_mechanism() -> None:
    with pytest.raises(SaslError, match="PLAIN and LOGIN"):
        Exchange("CRAM-MD5")


def test_names_move_no_cursor() -> None:
    assert Exchange("PLAIN").answer(b64(b"\0a\x1b[2J\0x")) == Login("PLAIN", "a\N{REPLACEMENT CHARACTER}[2J")
