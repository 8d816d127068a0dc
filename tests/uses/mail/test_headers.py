"""The headers that a list shows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socketkit.uses.mail.headers import Summary, decoded, summary


def test_summary() -> None:
    raw = (
        b"Received: from x\r\n\tby y\r\nSUBJECT: =?utf-8?q?caf=C3=A9?=\r\n =?utf-8?q?_au_lait?=\r\n"
        b"From: Ann <ann@example.org>\r\nTo: bob@example.org,\r\n carl@example.org\r\nMessage-ID: <1@x>\r\n"
        b"Subject: second\r\n\r\nTo: not a header\r\n"
    )
    to = "bob@example.org, carl@example.org"
    assert summary(raw) == Summary("café au lait", "Ann <ann@example.org>", to, "<1@x>")


def test_nothing_there() -> None:
    assert summary(b"") == Summary()
    assert summary(b"no headers at all") == Summary()
    assert summary(b"\r\nSubject: body\r\n") == Summary()
    assert summary(b"Subject\r\nSubject : x\r\n \r\nFrom") == Summary()


def test_a_header_that_never_ends_costs_little() -> None:
    raw = b"Subject: x\r\n" + b" y\r\n" * 10_000 + b"From: ann@example.org\r\n"
    assert len(summary(raw).subject) <= 2_000
    assert summary(raw).author == "ann@example.org"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"plain", "plain"),
        (b" two  spaces\tand a tab ", "two spaces and a tab"),
        ("no\N{NO-BREAK SPACE}break".encode(), "no break"),
        (b"r\xc3\xa4w utf-8", "räw utf-8"),
        (b"latin \xe4", "latin \N{REPLACEMENT CHARACTER}"),
        (b"=?klingon?q?x?=", "=?klingon?q?x?="),
        (b"bell\x07 and \x1b[2J", "bell\N{REPLACEMENT CHARACTER} and \N{REPLACEMENT CHARACTER}[2J"),
    ],
)
def test_decoded(value: bytes, text: str) -> None:
    assert decoded(value) == text


@given(st.binary(max_size=200))
def test_any_bytes(raw: bytes) -> None:
    found = summary(b"Subject: " + raw)
    assert all(text.isprintable() for text in found)
