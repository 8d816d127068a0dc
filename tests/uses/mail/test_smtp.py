"""The state machine of SMTP: what is said, what is told, and that chunks make no difference."""

from __future__ import annotations

import base64
import gc
import weakref
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from socketkit.uses.mail.smtp import Session
from socketkit.uses.mail.smtp_events import Bounds, Envelope, Event, Hello, Login, Mail, Message, Recipient, StartTls

MAIL = b"MAIL FROM:<ann@example.org>\r\nRCPT TO:<bob@example.org>\r\n"
SMALL = Bounds(message_bytes=200, recipients=2, mistakes=5)


def drive(session: Session, chunks: Iterable[bytes], *, shake: bool = True) -> tuple[list[Event], bytes]:
    """Accepts everything; a handshake succeeds at once, if it is to be one."""
    events: list[Event] = []
    out = b""
    for chunk in chunks:
        session.receive(chunk)
        while (event := session.next_event()) is not None:
            events.append(event)
            if not isinstance(event, StartTls):
                session.accept()
            elif shake:
                session.tls_started()
        out += session.output()
    return events, out


def codes(out: bytes) -> list[int]:
    return [int(line[:3]) for line in out.split(b"\r\n") if line and line[3:4] == b" "]


def said(data: bytes, bounds: Bounds = SMALL) -> list[int]:
    session = Session(bounds=bounds, tls=True)
    return codes(drive(session, [data])[1])


def test_a_mail() -> None:
    session = Session("mail.example", tls=True)
    session.greet()
    assert session.output() == b"220 mail.example ESMTP socketkit\r\n"
    events, out = drive(session, [b"EHLO client\r\n", MAIL, b"DATA\r\nSubject: x\r\n\r\n..dot\r\n.\r\nQUIT\r\n"])
    envelope = Envelope("ann@example.org", ("bob@example.org",))
    assert events == [
        Hello("client", True),
        Mail("ann@example.org", None),
        Recipient("bob@example.org"),
        Message(envelope, b"Subject: x\r\n\r\n.dot\r\n"),
    ]
    assert codes(out) == [250, 250, 250, 354, 250, 221]
    assert session.closed


def test_who_is_not_asking_hears_of_whole_mails_alone() -> None:
    session = Session("mail.example", asking=False)
    data = [b"EHLO client\r\n", MAIL, b"DATA\r\nx\r\n.\r\n", b"MAIL FROM:<>\r\nRCPT TO:<nobody>\r\nQUIT\r\n"]
    events, out = drive(session, data)
    message = Message(Envelope("ann@example.org", ("bob@example.org",)), b"x\r\n")
    assert (events, session.hello) == ([message], "client")
    assert codes(out) == [250, 250, 250, 354, 250, 250, 501, 221]


def test_a_session_is_freed_at_once() -> None:
    session = Session()
    drive(session, [b"EHLO client\r\n", MAIL, b"DATA\r\nx\r\n.\r\nQUIT\r\n"])
    alive = weakref.ref(session)
    gc.disable()
    try:
        del session
        assert alive() is None
    finally:
        gc.enable()


def test_extensions() -> None:
    plain, encrypted = Session(tls=True), Session(tls=True, encrypted=True)
    offered = drive(plain, [b"EHLO c\r\n"])[1].decode()
    for word in ("PIPELINING", "SIZE 26214400", "8BITMIME", "SMTPUTF8", "CHUNKING", "AUTH PLAIN LOGIN", "STARTTLS"):
        assert f"-{word}\r\n" in offered
    assert "STARTTLS" not in drive(encrypted, [b"EHLO c\r\n"])[1].decode()
    assert drive(Session(), [b"HELO c\r\n"])[1] == b"250 localhost\r\n"


def test_everything_forgotten_behind_rset_and_ehlo() -> None:
    for word in (b"RSET\r\n", b"EHLO c\r\n", b"HELO c\r\n"):
        assert said(b"EHLO c\r\n" + MAIL + word + b"DATA\r\n")[-1] == 503


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"WHAT\r\n", 500),
        (b"EHLO\r\n", 501),
        (b"MAIL FROM:<a@b.example>\r\n", 503),
        (b"EHLO c\r\nRCPT TO:<a@b.example>\r\n", 503),
        (b"EHLO c\r\nDATA\r\n", 503),
        (b"EHLO c\r\nMAIL FROM:<>\r\nDATA\r\n", 554),
        (b"EHLO c\r\nMAIL FROM:<>\r\nMAIL FROM:<>\r\n", 503),
        (b"EHLO c\r\nMAIL FROM:<> SIZE=201\r\n", 552),
        (b"EHLO c\r\nMAIL FROM:<> SIZE=200\r\n", 250),
        (b"EHLO c\r\n" + MAIL + b"RCPT TO:<c@d.example>\r\nRCPT TO:<e@f.example>\r\n", 452),
        (b"EHLO c\r\nNOOP\nNOOP\r\n", 250),
        (b"EHLO c\n", 500),
        (b"EHLO a\rb\r\n", 500),
        (b"EHLO a\0b\r\n", 500),
        (b"EHLO \xff\r\n", 501),
        (b"VRFY ann\r\n", 252),
        (b"HELP\r\n", 214),
        (b"STARTTLS now\r\n", 501),
        (b"AUTH PLAIN\r\n", 503),
        (b"EHLO c\r\nAUTH CRAM-MD5\r\n", 504),
        (b"EHLO c\r\nAUTH PLAIN !\r\n", 501),
        (b"EHLO c\r\nAUTH PLAIN\r\n*\r\n", 501),
        (b"EHLO c\r\nBDAT x\r\n", 501),
        (b"EHLO c\r\nBDAT 4\r\nQUIT", 503),
        (b"EHLO c\r\n" + MAIL + b"BDAT 3 LAST\r\nabc", 250),
        (b"EHLO c\r\n" + MAIL + b"BDAT 0 LAST\r\n", 250),
        (b"EHLO c\r\n" + MAIL + b"BDAT 3\r\nabcBDAT 0 LAST\r\n", 250),
        (b"EHLO c\r\n" + MAIL + b"BDAT 3\r\nabcDATA\r\n", 503),
        (b"EHLO c\r\n" + MAIL + b"BDAT 3\r\nabcRCPT TO:<c@d.example>\r\n", 503),
    ],
)
def test_answers(data: bytes, code: int) -> None:
    assert said(data)[-1] == code


def test_smuggling_is_refused() -> None:
    """CVE-2023-51764: an end that other servers see is none here, and the mail with it is not taken."""
    session = Session()
    smuggled = b"one\r\n\n.\r\nMAIL FROM:<admin@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\ntwo\r\n.\r\n"
    events, out = drive(session, [b"EHLO c\r\n", MAIL, b"DATA\r\n", smuggled])
    assert [event for event in events if isinstance(event, Message)] == []
    assert codes(out)[-1] == 550
    assert session.faults == {"bare_newline"}


def test_injection_before_tls_is_dropped() -> None:
    """CVE-2011-0411: what was sent in the clear is never taken for words of the encrypted client."""
    for chunks in ([b"EHLO c\r\nSTARTTLS\r\nMAIL FROM:<evil@example.org>\r\n"], [b"STARTTLS\r\n", b"RSET\r\n"]):
        session = Session(tls=True)
        events, _ = drive(session, chunks, shake=False)
        assert isinstance(events[-1], StartTls)
        session.tls_started()
        assert session.faults == {"injection"}
        assert drive(session, [b"NOOP\r\n"]) == ([], b"250 2.0.0 OK\r\n")
        assert codes(drive(session, [b"MAIL FROM:<>\r\n", b"STARTTLS\r\n"])[1]) == [503, 503]


def test_starttls_forgets_the_client() -> None:
    session = Session(tls=True)
    drive(session, [b"EHLO c\r\n", b"STARTTLS\r\n"])
    assert session.encrypted
    assert codes(drive(session, [b"MAIL FROM:<>\r\n"])[1]) == [503]


def test_login() -> None:
    plain = base64.b64encode(b"\0ann\0secret")
    for chunks in ([b"AUTH PLAIN " + plain + b"\r\n"], [b"AUTH PLAIN\r\n", plain + b"\r\n"]):
        events, out = drive(Session(), [b"EHLO c\r\n", *chunks])
        (login,) = (event.login for event in events if isinstance(event, Login))
        assert (login.mechanism, login.user) == ("PLAIN", "ann")
        assert codes(out)[-1] == 235
    session = Session()
    answers = [base64.b64encode(word) + b"\r\n" for word in (b"ann", b"secret")]
    assert codes(drive(session, [b"EHLO c\r\nAUTH LOGIN\r\n", *answers, b"AUTH PLAIN\r\n"])[1])[-2:] == [235, 503]


def test_refusals_of_the_driver() -> None:
    session = Session()
    session.receive(b"EHLO c\r\n" + MAIL + b"RCPT TO:<c@d.example>\r\nDATA\r\n")
    seen = []
    while (event := session.next_event()) is not None:
        seen.append(event)
        if event == Recipient("bob@example.org"):
            session.refuse(451, "4.3.0 Later")
        elif isinstance(event, Recipient):
            session.refuse(421, "4.3.2 Gone")
        else:
            session.accept()
    assert codes(session.output()) == [250, 250, 451, 421]
    assert session.closed


def test_an_unanswered_question_stops_everything() -> None:
    session = Session()
    session.receive(b"EHLO c\r\nNOOP\r\n")
    assert session.next_event() == Hello("c", True)
    assert session.next_event() is None
    assert session.output() == b""
    session.accept()
    assert session.next_event() is None
    assert codes(session.output()) == [250, 250]


def test_a_message_in_counted_chunks() -> None:
    for end in (b"BDAT 2 LAST\r\n\nd", b"BDAT 2\r\n\ndBDAT 0 LAST\r\n"):
        events, _ = drive(Session(), [b"EHLO c\r\n", MAIL, b"BDAT 4\r\nabc\r", end])
        assert isinstance(events[-1], Message)
        assert events[-1].content == b"abc\r\nd"


def test_too_large() -> None:
    session = Session(bounds=SMALL)
    _, out = drive(session, [b"EHLO c\r\n", MAIL, b"DATA\r\n", b"a" * 300 + b"\r\n.\r\n", MAIL])
    assert codes(out) == [250, 250, 250, 354, 552, 250, 250]
    assert session.faults == {"too_large"}
    drive(session, [b"DATA\r\n", *[b"a" * 100] * 10])
    assert session.closed


def test_bounds_of_lines_and_mistakes() -> None:
    session = Session(bounds=SMALL)
    assert codes(drive(session, [b"a" * 5_000])[1]) == [500]
    assert session.closed
    session = Session(bounds=SMALL)
    assert codes(drive(session, [b"X\r\n" * 9])[1]) == [500] * 4 + [421]
    assert session.closed


def test_close_says_why() -> None:
    session = Session()
    session.close("4.4.2 Too slow")
    session.close("again")
    assert session.output() == b"421 4.4.2 Too slow\r\n"


def test_inside() -> None:
    session = Session()
    assert not session.inside
    drive(session, [b"EH"])
    assert session.inside
    drive(session, [b"LO c\r\n"])
    assert not session.inside
    drive(session, [MAIL + b"DATA\r\n"])
    assert not session.inside
    drive(session, [b"a"])
    assert session.inside
    drive(session, [b"\r\n.\r\n"])
    assert not session.inside
    drive(session, [MAIL + b"BDAT 2\r\na"])
    assert session.inside


TALK = st.lists(
    st.sampled_from(
        [
            b"EHLO c\r\n",
            b"MAIL FROM:<ann@example.org>\r\n",
            b"MAIL FROM:<ann@example.org> SIZE=300\r\n",
            b"RCPT TO:<bob@example.org>\r\n",
            b"DATA\r\n",
            b"DATA\r\nSubject: a\r\n\r\n..b\r\n.\r\n",
            b"text\r\n.\r\n",
            b".\r\n",
            b"\r\n.\r\n",
            b"\n.\r\n",
            b"BDAT 5\r\nab\r\nc",
            b"BDAT 3 LAST\r\nabc",
            b"BDAT 0 LAST\r\n",
            b"BDAT 900\r\n",
            b"AUTH LOGIN\r\n",
            b"AUTH PLAIN AGEAYg==\r\n",
            b"YQ==\r\n",
            b"RSET\r\n",
            b"STARTTLS\r\n",
            b"bad\n",
            b"QUIT\r\n",
            b"a" * 300,
        ]
    ),
    max_size=14,
).map(b"".join)


@settings(max_examples=300, deadline=None)
@given(TALK, st.lists(st.integers(1, 40)))
def test_chunks_make_no_difference(talk: bytes, sizes: list[int]) -> None:
    whole = Session(bounds=SMALL, tls=True)
    cut = Session(bounds=SMALL, tls=True)
    chunks, rest = [], talk
    while rest:
        size = sizes.pop() if sizes else 3
        chunks.append(rest[:size])
        rest = rest[size:]
    # No handshake: what is behind STARTTLS is dropped wherever the cut was.
    assert drive(cut, chunks, shake=False) == drive(whole, [talk], shake=False)
    assert (cut.faults, cut.closed, cut.inside) == (whole.faults, whole.closed, whole.inside)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=60) | TALK, max_size=8))
def test_any_bytes_are_survived(chunks: list[bytes]) -> None:
    session = Session(bounds=SMALL, tls=True)
    events, out = drive(session, chunks)
    assert all(len(code) == 3 and code.isdigit() for code in (line[:3] for line in out.split(b"\r\n") if line))
    for event in events:
        if isinstance(event, Message):
            assert event.envelope.recipients
            assert len(event.content) <= SMALL.message_bytes
    assert len(session._buffer) <= SMALL.line_bytes
