"""The state machine of IMAP."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from socketkit.uses.mail.imap import ImapSession
from tests.uses.mail.boxes import SECOND, Box, whole

LOGIN = b"l LOGIN ann secret\r\n"


def opened(box: Box, how: bytes = b"SELECT") -> ImapSession:
    session = ImapSession(made=7, tls=True)
    box.drive(session, [LOGIN, b"s " + how + b" INBOX\r\n"])
    return session


def test_greeting_and_capabilities() -> None:
    session = ImapSession(tls=True)
    session.greet()
    assert session.output().startswith(b"* OK [CAPABILITY IMAP4rev1 IDLE")
    assert b" STARTTLS\r\n" in Box().drive(session, [b"a CAPABILITY\r\n"])
    assert b"STARTTLS" not in Box().drive(ImapSession(tls=True, encrypted=True), [b"a CAPABILITY\r\n"])


def test_select() -> None:
    box, session = Box(whole(), SECOND), ImapSession(made=7)
    said = box.drive(session, [LOGIN, b"a SELECT inbox\r\n"])
    for line in (b"* 2 EXISTS", b"* OK [UNSEEN 1]", b"* OK [UIDVALIDITY 7]", b"* OK [UIDNEXT 3]", b"a OK [READ-WRITE]"):
        assert line in said
    assert b"[READ-ONLY]" in box.drive(session, [b"a EXAMINE INBOX\r\n"])
    assert box.drive(session, [b"a SELECT other\r\n"]) == b"a NO there is INBOX only\r\n"
    assert b"a BAD" in box.drive(session, [b"a FETCH 1 FLAGS\r\n"])
    assert b"* STATUS INBOX (MESSAGES 2 UNSEEN 2)" in box.drive(session, [b"a STATUS INBOX (MESSAGES UNSEEN)\r\n"])
    assert b'* LIST (\\HasNoChildren) "/" INBOX' in box.drive(session, [b'a LIST "" *\r\n'])
    assert b"a NO" in box.drive(session, [b"a CREATE x\r\n"])


def test_logins() -> None:
    plain = base64.b64encode(b"\0ann\0secret")
    for chunks in (
        [b"a LOGIN {3}\r\n", b"ann {6}\r\n", b"secret\r\n"],
        [b'a LOGIN "ann" "se cret"\r\n'],
        [b"a AUTHENTICATE PLAIN " + plain + b"\r\n"],
        [b"a AUTHENTICATE PLAIN\r\n", plain + b"\r\n"],
        [b"a AUTHENTICATE LOGIN\r\n", b"YW5u\r\n", b"eA==\r\n"],
    ):
        assert Box().drive(ImapSession(), chunks).endswith(b"a OK welcome\r\n")
    for wrong in (b"a LOGIN ann\r\n", b"a AUTHENTICATE X\r\n", b"a AUTHENTICATE PLAIN !\r\n", b"a SELECT INBOX\r\n"):
        assert b"welcome" not in Box().drive(ImapSession(), [wrong])


def test_fetch_marks_as_seen_unless_peeked_or_examined() -> None:
    box = Box(SECOND, SECOND)
    session = opened(box)
    assert b"FLAGS" not in box.drive(session, [b"a FETCH 1 BODY.PEEK[]\r\n"])
    assert box.drive(session, [b"a UID FETCH 2 BODY[TEXT]\r\n"]).startswith(b"* 2 FETCH (UID 2 BODY[TEXT] {17}\r\n")
    assert [sorted(mail.flags) for mail in box.mails.values()] == [[], ["\\Seen"]]
    reader = opened(box, b"EXAMINE")
    box.drive(reader, [b"a FETCH 1 RFC822\r\n"])
    assert not box.mails[1].seen
    assert b"a NO" in box.drive(reader, [b"a STORE 1 FLAGS (\\Seen)\r\n"])
    assert b"a NO" in box.drive(reader, [b"a EXPUNGE\r\n"])


def test_store_and_expunge() -> None:
    box = Box(SECOND, SECOND, SECOND)
    session = opened(box)
    assert box.drive(session, [b"a STORE 1:2 +FLAGS (\\Deleted)\r\n"]).count(b"FETCH (FLAGS (\\Deleted))") == 2
    assert b"FETCH" not in box.drive(session, [b"a STORE 3 +FLAGS.SILENT \\Seen\r\n"])
    assert b"a BAD" in box.drive(session, [b"a STORE 3 FLAGS (custom)\r\n"])
    assert box.drive(session, [b"a UID EXPUNGE 2\r\n"]) == b"* 2 EXPUNGE\r\na OK done\r\n"
    assert list(box.mails) == [1, 3]
    assert box.drive(session, [b"a CLOSE\r\n"]) == b"a OK done\r\n"
    assert list(box.mails) == [3]


def test_search() -> None:
    box = Box(whole(), SECOND)
    session = opened(box)
    assert box.drive(session, [b"a SEARCH SUBJECT two\r\n"]) == b"* SEARCH 2\r\na OK done\r\n"
    assert box.drive(session, [b"a UID SEARCH ALL\r\n"]) == b"* SEARCH 1 2\r\na OK done\r\n"
    assert b"a BAD" in box.drive(session, [b"a SEARCH WHAT\r\n"])


def test_idle() -> None:
    box = Box(SECOND)
    session = opened(box)
    assert box.drive(session, [b"i IDLE\r\n"]) == b"+ idling\r\n"
    assert session.idling
    box.mails[2] = box.mails[1]._replace(id=2)
    session.update(list(box.mails.values()))
    session.still_here()
    assert session.output() == b"* 2 EXISTS\r\n* OK Still here\r\n"
    assert box.drive(session, [b"DONE\r\n"]) == b"i OK done\r\n"
    assert not session.idling


def test_news_at_noop() -> None:
    box = Box(SECOND, SECOND)
    session = opened(box)
    del box.mails[1], box.raws[1]
    assert box.drive(session, [b"a FETCH 1 BODY[]\r\n"]) == b"a OK done\r\n"
    assert box.drive(session, [b"a NOOP\r\n"]) == b"* 1 EXPUNGE\r\na OK done\r\n"


def test_tls_and_what_was_sent_before_it() -> None:
    session = ImapSession(tls=True)
    said = Box().drive(session, [b"a STARTTLS\r\nb LOGIN evil x\r\n"])
    assert said == b"a OK begin TLS\r\n"
    assert (session.faults, session.encrypted) == ({"injection"}, True)
    assert b"a BAD" in Box().drive(session, [b"a STARTTLS\r\n"])


def test_bounds_and_the_end() -> None:
    session = ImapSession()
    assert b"BYE" in Box().drive(session, [b"a LOGIN {100000}\r\n"])
    assert session.closed
    session = ImapSession()
    Box().drive(session, [b"x\r\n" * 30])
    assert session.closed
    session = ImapSession()
    assert Box().drive(session, [b"a LOGOUT\r\n"]) == b"* BYE goodbye\r\na OK done\r\n"
    assert session.closed


TALK = st.lists(
    st.sampled_from(
        [
            LOGIN,
            b"a SELECT INBOX\r\n",
            b"a LOGIN {3}\r\nann x\r\n",
            b"a LOGIN {3+}\r\nann x\r\n",
            b"a FETCH 1:* (FLAGS BODY[HEADER])\r\n",
            b"a UID STORE * +FLAGS \\Deleted\r\n",
            b"a EXPUNGE\r\n",
            b"a SEARCH TEXT two\r\n",
            b"a IDLE\r\n",
            b"DONE\r\n",
            b"a CLOSE\r\n",
            b"a NOOP\r\n",
            b"(\r\n",
        ]
    ),
    max_size=10,
).map(b"".join)


@settings(deadline=None)
@given(TALK, st.integers(1, 30))
def test_chunks_make_no_difference(talk: bytes, size: int) -> None:
    cut = [talk[at : at + size] for at in range(0, len(talk), size)]
    assert Box(SECOND, SECOND).drive(ImapSession(), cut) == Box(SECOND, SECOND).drive(ImapSession(), [talk])


@settings(deadline=None)
@given(st.lists(st.binary(max_size=60) | TALK, max_size=6))
def test_any_bytes(chunks: list[bytes]) -> None:
    Box(SECOND).drive(ImapSession(tls=True), [LOGIN, b"a SELECT INBOX\r\n", *chunks, b"\r\n"])


@pytest.mark.parametrize("words", ["UID", "UID COPY 1 x", "FETCH x FLAGS", "STORE 1", "STATUS INBOX (X)"])
def test_faults(words: str) -> None:
    box = Box(SECOND)
    assert b"a BAD" in box.drive(opened(box), [f"a {words}\r\n".encode()])
