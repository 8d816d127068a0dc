"""Mails taken apart, whatever was sent."""

from __future__ import annotations

from email.message import EmailMessage

from hypothesis import given
from hypothesis import strategies as st

from socketkit.uses.mail.parsed import Parsed, without_tags


def whole() -> bytes:
    message = EmailMessage()
    message["Subject"] = "Größe"
    message["From"] = "Ann <ann@example.org>"
    message.set_content("see https://example.org/reset?token=1.\n")
    message.add_alternative(
        '<style>x{}</style><p>Hello <a href="https://example.org/a?b=1&amp;c=2">you</a></p><a href="script:x">x</a>',
        subtype="html",
    )
    message.add_attachment(b"\x89PNG", maintype="image", subtype="png", filename="../../bild ä.png")
    return message.as_bytes()


def test_whole() -> None:
    parsed = Parsed(whole())
    assert parsed.header("subject") == "Größe"
    assert parsed.text.startswith("see https://")
    assert "<p>Hello" in parsed.html
    assert parsed.links == ["https://example.org/reset?token=1", "https://example.org/a?b=1&c=2"]
    assert [part.type for part in parsed.parts] == ["text/plain", "text/html", "image/png"]
    (picture,) = parsed.attachments
    assert (picture.name, picture.size, parsed.content(picture.number)) == ("bild ä.png", 4, b"\x89PNG")
    assert parsed.email["subject"] == "Größe"


def test_html_alone_is_readable() -> None:
    parsed = Parsed(b"Content-Type: text/html\r\n\r\n<script>evil()</script><b>Hi</b> there")
    assert (parsed.text, parsed.readable) == ("", "Hi there")
    assert without_tags("<p>a<p>b") == "a b"


def test_faults_are_survived() -> None:
    parsed = Parsed(b'Content-Type: text/plain; charset="no-such"\r\nSubject: \xff\r\n\r\ntext \xff\r\n')
    assert parsed.text == "text \N{REPLACEMENT CHARACTER}\r\n"
    assert parsed.header("Subject") == "\N{REPLACEMENT CHARACTER}"
    assert Parsed(b"").parts[0].size == 0
    assert isinstance(Parsed(b"Content-Transfer-Encoding: base64\r\n\r\n!!").content(0), bytes)


def test_a_mail_in_a_mail_is_a_part() -> None:
    outer = EmailMessage()
    outer.set_content("outer")
    inner = EmailMessage()
    inner["Subject"] = "inner"
    outer.add_attachment(inner)
    parsed = Parsed(outer.as_bytes())
    assert [part.type for part in parsed.parts] == ["text/plain", "message/rfc822"]
    assert b"Subject: inner" in parsed.content(1)


def test_too_deep_for_the_parser() -> None:
    raw = b"Subject: deep\r\n" + b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(5_000)
    )
    parsed = Parsed(raw)
    assert parsed.header("Subject") == "deep"
    assert parsed.readable
    assert len(parsed.parts) == 1


def test_depth_is_bounded() -> None:
    raw = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(300))
    assert len(Parsed(raw).parts) <= 1_000


@given(st.binary(max_size=300), st.sampled_from([b"text/plain", b"text/html", b"multipart/mixed; boundary=x", b"x"]))
def test_any_bytes(body: bytes, kind: bytes) -> None:
    parsed = Parsed(b"Content-Type: " + kind + b"\r\n" + body)
    assert isinstance(parsed.readable, str)
    assert parsed.headers is not None
    assert all(part.size == len(parsed.content(part.number)) for part in parsed.parts)
    assert isinstance(parsed.links, list)
