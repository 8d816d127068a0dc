"""What a person types, as a query."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socketkit.uses.mail.search import SearchError, Wanted, parse


@pytest.mark.parametrize(
    ("text", "match", "seen"),
    [
        ("", "", None),
        ("invoice", '"invoice"*', None),
        ('from:ann to:bob "two words"', 'author : "ann"* AND receiver : "bob"* AND "two words"', None),
        ("is:unseen subject:x", 'subject : "x"*', False),
        ("is:seen", "", True),
        ("a@b.example OR -", '"a@b.example"* AND "OR"*', None),
    ],
)
def test_query(text: str, match: str, seen: bool | None) -> None:
    assert parse(text) == Wanted(match, seen)


def test_faults_have_a_caret() -> None:
    with pytest.raises(SearchError) as fault:
        parse('from:ann "open')
    assert str(fault.value).endswith(f'from:ann "open\n  {" " * 9}^')
    with pytest.raises(SearchError, match="is:unseen"):
        parse("is:old")


def test_length_is_bounded() -> None:
    with pytest.raises(SearchError, match="1,000"):
        parse("x" * 1_001)


@given(st.text(max_size=30))
def test_no_text_is_a_fault_of_fts5(text: str) -> None:
    try:
        wanted = parse(text)
    except SearchError:
        return
    with closing(sqlite3.connect(":memory:")) as sql:
        sql.execute("CREATE VIRTUAL TABLE words USING fts5 (subject, author, receiver, body)")
        if wanted.match:
            sql.execute("SELECT 1 FROM words WHERE words MATCH ?", (wanted.match,)).fetchall()
