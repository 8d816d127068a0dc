"""Paths and parameters of MAIL and RCPT."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socketkit.uses.mail.smtp_syntax import PathError, mail_path, recipient_path


@pytest.mark.parametrize(
    ("text", "address", "size"),
    [
        ("FROM:<ann@example.org>", "ann@example.org", None),
        ("from:<ann@example.org> size=12", "ann@example.org", 12),
        ("FROM: <ann@example.org> BODY=8BITMIME SIZE=7", "ann@example.org", 7),
        ("FROM:<>", "", None),
        ("FROM:<@a.example,@b.example:ann@example.org>", "ann@example.org", None),
        ('FROM:<"a >b"@example.org>', '"a >b"@example.org', None),
        (r'FROM:<"a\"b"@example.org>', r'"a\"b"@example.org', None),
        ("FROM:<ann@[192.0.2.1]>", "ann@[192.0.2.1]", None),
        ("FROM:<ann@[IPv6:2001:db8::1]>", "ann@[IPv6:2001:db8::1]", None),
        ("FROM:<ann@example.org> AUTH=<>", "ann@example.org", None),
        ("FROM:<änn@example.org> SMTPUTF8", "änn@example.org", None),
    ],
)
def test_mail(text: str, address: str, size: int | None) -> None:
    path, announced = mail_path(text)
    assert (path.address, announced) == (address, size)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("TO:<ann@example.org>", "501"),
        ("FROM:ann@example.org", "501"),
        ("FROM:<ann@example.org", "501"),
        ("FROM:<ann>", "501"),
        ("FROM:<@example.org>", "501"),
        ("FROM:<ann@>", "501"),
        ("FROM:<an n@example.org>", "501"),
        ("FROM:<ann@exa mple.org>", "501"),
        ("FROM:<a@b@example.org>", "501"),
        ("FROM:<ann\x07@example.org>", "501"),
        (f"FROM:<{'a' * 320}@example.org>", "501"),
        ("FROM:<ann@example.org>SIZE=1", "501"),
        ("FROM:<ann@example.org> SIZE=x", "501"),
        ("FROM:<ann@example.org> SIZE", "501"),
        ("FROM:<ann@example.org> SIZE=1 SIZE=2", "501"),
        ("FROM:<ann@example.org> BODY=BINARYMIME", "501"),
        ("FROM:<ann@example.org> SMTPUTF8=yes", "501"),
        ("FROM:<ann@example.org> =x", "501"),
        ("FROM:<ann@example.org> RET=FULL", "555"),
        ("FROM:<änn@example.org>", "553"),
    ],
)
def test_mail_refused(text: str, code: str) -> None:
    with pytest.raises(PathError) as refusal:
        mail_path(text)
    assert str(refusal.value).startswith(code)
    assert str(refusal.value).isascii()


def test_recipients() -> None:
    assert recipient_path("TO:<bob@example.org>", utf8=False) == "bob@example.org"
    assert recipient_path("TO: <Postmaster>", utf8=False) == "Postmaster"
    assert recipient_path("TO:<bøb@example.org>", utf8=True) == "bøb@example.org"
    for text in ("TO:<>", "TO:<bob@example.org> NOTIFY=NEVER", "TO:<bøb@example.org>", "FROM:<bob@example.org>"):
        with pytest.raises(PathError):
            recipient_path(text, utf8=False)


WORDS = st.text('ab.<>@"\\: =[]', max_size=12)


@given(WORDS, WORDS)
def test_both_ways_to_read_agree(local: str, domain: str) -> None:
    """The short way is an optimisation: a space behind the colon takes the long one."""
    for text in (f"<{local}@{domain}>", f"<{local}@{domain}> SIZE=3"):
        try:
            slow: object = mail_path(f"FROM: {text}")[0].address
        except PathError as failure:
            slow = str(failure)
        try:
            fast: object = mail_path(f"FROM:{text}")[0].address
        except PathError as failure:
            fast = str(failure)
        assert fast == slow


@given(st.text(max_size=60))
def test_nothing_else_is_raised(text: str) -> None:
    for read in (mail_path, lambda text: recipient_path(text, utf8=True)):
        try:
            read(f"FROM:<{text}")
            read(f"TO:<{text}")
        except PathError:
            pass
