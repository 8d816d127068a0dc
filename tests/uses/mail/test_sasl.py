"""Logins: what the mechanisms ask, take and refuse; never a password in what is kept."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


NAMES = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=255)


@given(st.text(max_size=20), NAMES, st.text(max_size=20), st.sampled_from(["PLAIN", "LOGIN"]))
def test_round_trip(authorized: str, user: str, password: str, mechanism: str) -> None:
    authorized, password = (text.replace("\0", "") for text in (authorized, password))
    exchange = Exchange(mechanism)
    if mechanism == "LOGIN":
        assert isinstance(exchange.answer(b64(user.encode())), str)
        assert exchange.answer(b64(password.encode())) == Login("LOGIN", user)
    else:
        assert exchange.answer(b64(f"{authorized}\0{user}\0{password}".encode())) == Login("PLAIN", user)


@given(st.lists(st.one_of(st.text(), st.binary().map(b64)), max_size=3), st.sampled_from(["PLAIN", "LOGIN"]))
def test_any_lines(lines: list[str], mechanism: str) -> None:
    exchange = Exchange(mechanism)
    for line in lines:
        try:
            told = exchange.answer(line)
        except SaslError:
            return
        if isinstance(told, Login):
            assert told.user.isprintable()
            assert len(told.user) <= 255
            return
