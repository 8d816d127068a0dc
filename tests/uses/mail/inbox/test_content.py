"""What is in a mail, as the API serves it."""

from __future__ import annotations

from email.message import EmailMessage

import pytest

from socketkit.http.exchange import Answer
from socketkit.uses.mail.inbox import content
from socketkit.uses.mail.inbox.content import document, part, pictures, saved
from socketkit.uses.mail.parsed import Parsed

PNG = bytes.fromhex("89504e470d0a1a0a")


def mail(html: str = '<img src="cid:logo@x">') -> bytes:
    message = EmailMessage()
    message.set_content("text")
    message.add_alternative(html, subtype="html")
    alternative = message.get_payload(1)
    assert isinstance(alternative, EmailMessage)
    alternative.add_related(PNG, "image", "png", cid="<logo@x>")
    message.add_attachment("<script>alert(1)</script>", subtype="html", filename="page.html")
    return message.as_bytes()


def headers(told: Answer | None) -> dict[str, str]:
    assert told is not None
    return dict(told.headers)


def test_a_document_is_in_a_sandbox_and_loads_nothing() -> None:
    told = document(mail(), remote=False)
    assert told is not None
    policy = headers(told)["content-security-policy"]
    assert "sandbox allow-popups" in policy
    assert "allow-scripts" not in policy
    assert "allow-same-origin" not in policy
    assert "default-src 'none'; img-src data:; " in policy
    assert b'<img src="data:image/png;base64,iVBORw0KGgo=">' in told.body
    wanted = document(mail(), remote=True)
    assert "img-src data: http: https:;" in headers(wanted)["content-security-policy"]
    assert document(b"Subject: x\r\n\r\ntext\r\n", remote=False) is None


def test_a_picture_that_is_named_often_fills_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "MOST_PICTURE_BYTES", 3 * len(PNG))
    picture = pictures(Parsed(mail()))
    assert [picture("logo@x") is not None for _ in range(5)] == [True, True, True, False, False]
    assert picture("other") is None


def test_a_part_is_saved_and_never_shown() -> None:
    found = [one.number for one in Parsed(mail()).parts if one.name == "page.html"]
    told = part(mail(), found[0])
    assert told is not None
    assert told.kind == "text/html"
    assert headers(told) == {
        "content-disposition": 'attachment; filename="page.html"',
        "content-security-policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
    }
    assert part(mail(), 99) is None


def test_a_kind_that_is_none_is_bytes() -> None:
    told = part(b"Content-Type: text/x\xc3\xa4y\r\nContent-Disposition: attachment\r\n\r\nbody", 0)
    assert told is not None
    assert told.kind in ("application/octet-stream", "text/plain")
    assert headers(saved("text/plain", "a\r\nb", b""))["content-disposition"] == 'attachment; filename="ab"'
