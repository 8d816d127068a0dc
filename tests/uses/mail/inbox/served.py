"""A catcher with its inbox, and mails to send to it."""

from __future__ import annotations

import asyncio
import smtplib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from struct import pack
from typing import NamedTuple
from zlib import compress, crc32

from socketkit.hosting import Wanted, host, place
from socketkit.hosting.web import web
from socketkit.uses.mail import Catcher, Store
from socketkit.uses.mail.inbox import Inbox
from socketkit.uses.mail.release import Outlet


class Served(NamedTuple):
    """`url` is the link with the token."""

    store: Store
    url: str
    smtp: int

    async def send(self, message: EmailMessage, *, password: bool = False) -> None:
        await asyncio.to_thread(_send, self.smtp, message, password)


@asynccontextmanager
async def served(outlet: Outlet | None = None) -> AsyncIterator[Served]:
    async with Store() as store, Catcher(store, smtps=None, imap=None, pop3=None) as catcher:
        assert catcher.smtp is not None and catcher.smtp.port is not None
        inbox = Inbox(store, addresses={"smtp": str(catcher.smtp)}, outlet=outlet)
        async with host(web(inbox, relative=True), place(Wanted())) as hosted:
            try:
                yield Served(store, hosted.link.url, catcher.smtp.port)
            finally:
                inbox.end()


def _send(port: int, message: EmailMessage, password: bool) -> None:
    with smtplib.SMTP("localhost", port, timeout=20) as client:
        if password:
            client.login("ann", "secret")
        client.send_message(message, "ann@example.org", ["bob@example.org"])


def mail(subject: str = "hello", text: str = "text\n", html: str = "") -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Ann <ann@example.org>"
    message["To"] = "bob@example.org"
    message["Subject"] = subject
    message.set_content(text)
    if html:
        message.add_alternative(html, subtype="html")
    return message


def picture(red: int, green: int, blue: int, width: int = 8, height: int = 8) -> bytes:
    """A PNG of one colour."""
    rows = (b"\0" + bytes((red, green, blue)) * width) * height
    chunks = ((b"IHDR", pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", compress(rows)), (b"IEND", b""))
    parts = (pack(">I", len(data)) + kind + data + pack(">I", crc32(kind + data)) for kind, data in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
