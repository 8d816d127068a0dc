"""The fixture, as a program's own tests use it."""

from __future__ import annotations

import smtplib
import ssl
from email.message import EmailMessage

import pytest

from socketkit.uses.mail.testing import Mail
from socketkit.uses.mail.testing import mail as mail  # the fixture, for this module
from tests.conftest import Run

pytestmark = pytest.mark.slow


def register(address: str, port: int, subject: str = "Welcome") -> None:
    """A program under test, which blocks."""
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = subject, "app@example.org", address
    message.set_content("Please visit https://example.org/confirm/1\n")
    with smtplib.SMTP("localhost", port, timeout=20) as client:
        client.send_message(message)


def test_in_a_loop(run: Run, mail: Mail) -> None:
    async def main() -> None:
        register("ann@example.org", mail.port)  # blocks this loop: the catcher is in another one
        message = await mail.wait(to="ann@example.org")
        assert (message.subject, message.sender, message.recipients) == (
            "Welcome",
            "app@example.org",
            ("ann@example.org",),
        )
        assert message.links == ["https://example.org/confirm/1"]
        assert not message.encrypted

    run(main())


def test_without_a_loop_and_each_mail_once(mail: Mail) -> None:
    for number in range(3):
        register(f"user{number % 2}@example.org", mail.port, f"number {number}")
    assert mail.wait_blocking("user0@*").subject == "number 0"
    assert mail.wait_blocking("user0@*").subject == "number 2"
    assert mail.wait_blocking(subject="1").subject == "number 1"
    assert [message.subject for message in mail.messages()] == ["number 0", "number 1", "number 2"]
    with pytest.raises(AssertionError, match=r"no mail to user0@\*.*\n.*number 0"):
        mail.wait_blocking("user0@*", seconds=0.05)


def test_failures_and_tls(mail: Mail) -> None:
    mail.fail("rcpt:bob@*=550")
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        register("bob@example.org", mail.port)
    mail.fail()
    context = ssl.create_default_context(cadata=mail.certificate)
    with smtplib.SMTP_SSL("localhost", mail.tls_port, timeout=20, context=context) as client:
        client.sendmail("a@example.org", ["bob@example.org"], "Subject: x\r\n\r\ny\r\n")
    assert mail.wait_blocking("bob@*").encrypted


def test_clients(mail: Mail) -> None:
    with smtplib.SMTP("localhost", mail.port, timeout=20) as client:
        client.login("ann", "secret")
        client.sendmail("a@example.org", ["bob@example.org"], "Subject: x\r\n\r\ny\r\n")
    assert mail.wait_blocking().caught.client["password_in_clear"]


def test_each_test_has_its_own(mail: Mail) -> None:
    assert mail.messages() == []
