"""A name that others have chosen, in a header."""

from __future__ import annotations

from email.message import EmailMessage
from email.policy import HTTP

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socketkit.http.disposition import attachment


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("invoice.pdf", 'attachment; filename="invoice.pdf"'),
        ("", 'attachment; filename="attachment"'),
        ("Größe €.txt", "attachment; filename=\"Gr__e _.txt\"; filename*=UTF-8''Gr%C3%B6%C3%9Fe%20%E2%82%AC.txt"),
        ("../../etc/passwd", 'attachment; filename="passwd"'),
        ("..\\..\\boot.ini", 'attachment; filename="boot.ini"'),
        ("..", 'attachment; filename="attachment"'),
        (".bashrc", 'attachment; filename="bashrc"'),
        ('a"; filename="evil.exe', 'attachment; filename="a; filename=evil.exe"'),
        ("a\r\nSet-Cookie: x=1", 'attachment; filename="aSet-Cookie: x=1"'),
        ("a\u202egnp.exe", 'attachment; filename="agnp.exe"'),  # what turns the reading direction round
        ("100%41.txt", "attachment; filename=\"100_41.txt\"; filename*=UTF-8''100%2541.txt"),
    ],
)
def test_attachment(name: str, value: str) -> None:
    assert attachment(name) == value
    value.encode("ascii")


def test_a_long_name_keeps_its_ending() -> None:
    assert attachment("x" * 500 + ".pdf") == f'attachment; filename="{"x" * 56}.pdf"'
    assert attachment("x" * 500) == f'attachment; filename="{"x" * 60}"'


@given(st.text())
def test_any_name_is_one_line_and_one_file(name: str) -> None:
    value = attachment(name)
    assert value.isascii()
    assert value.isprintable()
    assert value.count('"') == 2
    told = EmailMessage(HTTP)
    told["Content-Disposition"] = value
    read = told.get_filename()
    assert read
    assert not {"/", "\\"} & set(read)
    assert read not in (".", "..")
