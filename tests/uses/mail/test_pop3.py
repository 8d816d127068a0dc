"""The state machine of POP3."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from socketkit.uses.mail.pop3 import Pop3Session
from tests.uses.mail.boxes import SECOND, Box, whole

LOGIN = b"USER ann\r\nPASS secret\r\n"


def opened(box: Box) -> Pop3Session:
    session = Pop3Session(tls=True)
    session.greet()
    box.drive(session, [LOGIN])
    return session


def test_reading() -> None:
    box = Box(whole(), SECOND)
    session = opened(box)
    assert box.drive(session, [b"STAT\r\n"]) == b"+OK 2 %d\r\n" % (len(whole()) + len(SECOND))
    assert box.drive(session, [b"LIST\r\n"]) == b"+OK these\r\n1 %d\r\n2 %d\r\n.\r\n" % (len(whole()), len(SECOND))
    assert box.drive(session, [b"UIDL 2\r\n"]) == b"+OK 2 2\r\n"
    said = box.drive(session, [b"RETR 2\r\n"])
    assert said == b"+OK 56 bytes\r\nSubject: two\r\nFrom: eve@example.org\r\n\r\n..text two\r\nlast\r\n.\r\n"
    assert box.drive(session, [b"TOP 2 1\r\n"]).endswith(b"\r\n\r\n..text two\r\n.\r\n")
    assert box.drive(session, [b"TOP 2 0\r\n"]).endswith(b"example.org\r\n\r\n.\r\n")


def test_deleting_at_the_end_only() -> None:
    box = Box(whole(), SECOND)
    session = opened(box)
    assert box.drive(session, [b"DELE 1\r\nSTAT\r\n"]).endswith(b"+OK 1 %d\r\n" % len(SECOND))
    assert box.drive(session, [b"RETR 1\r\nLIST 1\r\n"]).count(b"-ERR") == 2
    assert list(box.mails) == [1, 2]
    assert box.drive(session, [b"RSET\r\nDELE 2\r\nQUIT\r\n"]).count(b"+OK") == 3
    assert (list(box.mails), session.closed) == ([1], True)
    vanished = opened(box)
    box.drive(vanished, [b"DELE 1\r\n"])
    assert list(box.mails) == [1]


def test_logins() -> None:
    plain = base64.b64encode(b"\0ann\0secret")
    box = Box()
    for chunks in ([b"AUTH PLAIN " + plain + b"\r\n"], [b"AUTH PLAIN\r\n", plain + b"\r\n"]):
        assert box.drive(Pop3Session(), chunks).endswith(b"+OK 0 mails\r\n")
    words = [base64.b64encode(word) + b"\r\n" for word in (b"ann", b"secret")]
    assert box.drive(Pop3Session(), [b"AUTH LOGIN\r\n", *words]).endswith(b"+OK 0 mails\r\n")
    assert box.drive(Pop3Session(), [b"AUTH\r\n"]) == b"+OK these\r\nPLAIN\r\nLOGIN\r\n.\r\n"
    for wrong in (b"AUTH CRAM-MD5\r\n", b"AUTH PLAIN !\r\n", b"PASS x\r\n", b"STAT\r\n"):
        assert box.drive(Pop3Session(), [wrong]).startswith(b"-ERR")


def test_tls_and_what_was_sent_before_it() -> None:
    box, session = Box(), Pop3Session(tls=True)
    assert b"STLS\r\n" in box.drive(session, [b"CAPA\r\n"])
    assert box.drive(session, [b"STLS\r\nUSER evil\r\n"]) == b"+OK begin TLS\r\n"
    assert session.faults == {"injection"}
    assert session.encrypted
    assert box.drive(session, [b"PASS x\r\n", b"STLS\r\n"]).count(b"-ERR") == 2
    assert b"STLS" not in box.drive(session, [b"CAPA\r\n"])


def test_bounds() -> None:
    session = Pop3Session()
    assert Box().drive(session, [b"x" * 5_000]) == b"-ERR the line is too long\r\n"
    assert session.closed
    session = Pop3Session()
    Box().drive(session, [b"X\r\n" * 30])
    assert session.closed


def test_a_mail_that_is_gone() -> None:
    box = Box(SECOND)
    session = opened(box)
    box.raws.clear()
    assert box.drive(session, [b"RETR 1\r\n"]) == b"-ERR it is gone\r\n"


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([LOGIN, b"STAT\r\n", b"RETR 1\r\n", b"TOP 1 x\r\n", b"DELE 1\r\n", b"X\r\n"]), max_size=8),
    st.integers(1, 20),
)
def test_chunks_make_no_difference(talk: list[bytes], size: int) -> None:
    data = b"".join(talk)
    one, other = Pop3Session(), Pop3Session()
    cut = [data[at : at + size] for at in range(0, len(data), size)]
    assert Box(SECOND).drive(one, [data]) == Box(SECOND).drive(other, cut)


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    Box(SECOND).drive(Pop3Session(), [LOGIN, data, b"\r\n"])


@pytest.mark.parametrize("line", [b"RETR 0\r\n", b"RETR -1\r\n", b"RETR 99999999999\r\n", b"DELE\r\n"])
def test_numbers(line: bytes) -> None:
    box = Box(SECOND)
    assert box.drive(opened(box), [line]).startswith(b"-ERR")
