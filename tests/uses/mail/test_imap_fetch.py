"""What FETCH says of a mail."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socketkit.uses.mail.imap_fetch import date_of, envelope, internal_date, items, said, section, structure
from socketkit.uses.mail.imap_syntax import Atom, SyntaxFault, parse
from socketkit.uses.mail.mime import Entity
from tests.uses.mail.boxes import SECOND, Box, whole


def told(words: str, raw: bytes = SECOND) -> bytes:
    (mail,) = Box(raw).mails.values()
    asked = items(parse(f"a FETCH {words}".encode()).arguments)
    return b" ".join(said(item, mail, Entity(raw)) for item in asked)


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("UID", b"UID 1"),
        ("(FLAGS RFC822.SIZE)", b"FLAGS () RFC822.SIZE 56"),
        ("INTERNALDATE", b'INTERNALDATE "02-Jan-2026 12:00:01 +0000"'),
        ("BODY.PEEK[TEXT]<1.4>", b"BODY[TEXT]<1> {4}\r\ntext"),
        ("RFC822.HEADER", b"RFC822.HEADER {39}\r\nSubject: two\r\nFrom: eve@example.org\r\n\r\n"),
        ("BODY[1]", b"BODY[1] {17}\r\n.text two\r\nlast\r\n"),
        ("BODY[2]", b"BODY[2] NIL"),
        ("BODY[HEADER.FIELDS (to subject)]", b"BODY[HEADER.FIELDS (TO SUBJECT)] {16}\r\nSubject: two\r\n\r\n"),
        ("BODY[HEADER.FIELDS.NOT (from)]", b"BODY[HEADER.FIELDS.NOT (FROM)] {16}\r\nSubject: two\r\n\r\n"),
    ],
)
def test_items(words: str, answer: bytes) -> None:
    assert told(words) == answer


def test_macros_and_marks() -> None:
    assert [item.label for item in items([Atom("all")])] == ["FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE"]
    assert [item.peek for item in items([[Atom("BODY[]"), Atom("BODY.PEEK[]"), Atom("RFC822")]])] == [
        False,
        True,
        False,
    ]
    assert [item.needs_content for item in items([Atom("FAST")])] == [False] * 3


FAULTS = ["", "X", "BODY[", "BODY[0]", "BODY[X]", "BODY[1.X]", "BODY[]<0>", '"FLAGS"', "(FLAGS) x"]


@pytest.mark.parametrize("words", FAULTS)
def test_faults(words: str) -> None:
    with pytest.raises(SyntaxFault):
        items(parse(f"a FETCH {words}".encode()).arguments)


def test_envelope() -> None:
    ann = b'(("Ann" NIL "ann" "example.org"))'
    to = b'((NIL NIL "bob" "example.org")("C, D" NIL "c" "d.example"))'
    assert envelope(Entity(whole())) == (
        b'("Mon, 02 Nov 2026 12:00:00 +0000" "=?utf-8?q?Gr=C3=B6=C3=9Fe?=" '
        + b" ".join([ann, ann, ann, to, b"NIL NIL NIL"])
        + b' "<1@example.org>")'
    )
    assert envelope(Entity(b"\r\n")) == b"(" + b" ".join([b"NIL"] * 10) + b")"


def test_structure() -> None:
    told = structure(Entity(whole()), extended=True)
    assert told.startswith(b'((("TEXT" "PLAIN" ("CHARSET" "utf-8") NIL NIL "7BIT" 19 2 NIL NIL NIL NIL)("TEXT" "HTML"')
    assert b'("ATTACHMENT" ("FILENAME" {11}\r\nbild \xc3\xa4.png))' in told
    assert b'("MESSAGE" "RFC822" NIL NIL NIL "8BIT" ' in told
    assert told.count(b"(") == told.count(b")")
    assert b"ATTACHMENT" not in structure(Entity(whole()), extended=False)


def test_sections_of_parts() -> None:
    mail = Entity(whole())
    assert section(mail, "1.1") == b"hello world\r\n.dot\r\n"
    assert (section(mail, "2.MIME") or b"").startswith(b"Content-Type: image/png")
    assert (section(mail, "3.HEADER") or b"").startswith(b"Subject: inner")
    assert section(mail, "3.TEXT") == b"inner text\r\n"
    assert section(mail, "1.1.HEADER") is None
    assert section(mail, "") == whole()


def test_dates() -> None:
    assert internal_date(0) == "01-Jan-1970 00:00:00 +0000"
    assert date_of(b"2-nov-2026") == datetime(2026, 11, 2, tzinfo=UTC)
    for text in (b"2-XXX-2026", b"31-Feb-2026", b"soon"):
        with pytest.raises(SyntaxFault):
            date_of(text)


@given(st.binary(max_size=200))
def test_any_mail_can_be_told(raw: bytes) -> None:
    for mail in (Entity(raw), Entity(b"Content-Type: message/rfc822\r\n\r\n" + raw)):
        answer = b"a X " + structure(mail, extended=True) + b" " + envelope(mail)
        parse(answer)  # what we write, we can read
