"""A mail as a tree, with the exact bytes of each part."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from socketkit.uses.mail.mime import Entity
from tests.uses.mail.boxes import SECOND, whole


def test_tree() -> None:
    mail = Entity(whole())
    assert mail.head + mail.body == whole()
    assert [part.type for part in mail.parts] == ["multipart/alternative", "image/png", "message/rfc822"]
    first = mail.part(1)
    assert first is not None
    plain = first.part(1)
    assert plain is not None
    assert plain.body == b"hello world\r\n.dot\r\n"
    third = mail.part(3)
    assert third is not None
    assert third.inner is not None
    assert third.inner.header("subject") == "inner"
    inner = third.part(1)
    assert inner is not None
    assert inner.body == b"inner text\r\n"
    assert (mail.part(4), plain.inner) == (None, None)


def test_a_simple_mail_is_its_own_part() -> None:
    mail = Entity(SECOND)
    assert mail.part(1) is mail
    assert mail.part(2) is None
    assert mail.fields(frozenset(["from"])) == b"From: eve@example.org\r\n\r\n"
    assert mail.fields(frozenset(["from"]), without=True) == b"Subject: two\r\n\r\n"
    assert (mail.header("From"), mail.header("To")) == ("eve@example.org", None)


def test_badly_written() -> None:
    assert Entity(b"\r\nonly text").body == b"only text"
    assert Entity(b"Subject: x").head == b"Subject: x"
    assert Entity(b"Content-Type: multipart/mixed\r\n\r\n--x\r\n").parts == []
    unclosed = Entity(b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\na\r\n--x\r\n\r\nb")
    assert [part.body for part in unclosed.parts] == [b"a", b"b"]
    deep = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(100))
    depth, place = 0, Entity(deep)
    while place.parts:
        depth, place = depth + 1, place.parts[0]
    assert depth <= 21


def test_fields_of_a_line_without_an_end() -> None:
    long = b"x" * 2_000_000
    assert Entity(long).fields(frozenset(["to"])) == b"\r\n"
    assert Entity(b"To: a,\r\n b\r\nCc: c\r\n\r\n").fields(frozenset(["to"])) == b"To: a,\r\n b\r\n\r\n"


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    for raw in (data, b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n" + data):
        mail = Entity(raw)
        assert isinstance(mail.parts, list)
        assert mail.fields(frozenset(["to"])).endswith(b"\r\n")
