"""What the server says."""

from __future__ import annotations

from socketkit.uses.mail import smtp_replies
from socketkit.uses.mail.smtp_replies import extensions, greeting


def test_every_reply_is_whole_lines() -> None:
    fixed = [value for value in vars(smtp_replies).values() if isinstance(value, bytes)]
    assert len(fixed) > 3
    for reply in [*fixed, greeting("mail.example"), extensions("mail.example", 1_000, True)]:
        *lines, end = reply.split(b"\r\n")
        assert end == b""
        assert [line[3:4] for line in lines] == [b"-"] * (len(lines) - 1) + [b" "]
        assert len({line[:3] for line in lines}) == 1


def test_only_who_can_begin_tls_offers_it() -> None:
    assert b"250-STARTTLS\r\n" in extensions("mail.example", 1_000, True)
    assert b"STARTTLS" not in extensions("mail.example", 1_000, False)
    assert b"250-SIZE 1000\r\n" in extensions("mail.example", 1_000, False)
