"""What tests of IMAP and POP3 share: mails, and a driver that answers a session's questions."""

from __future__ import annotations

from collections.abc import Iterable
from email.message import EmailMessage
from functools import cache

from socketkit.uses.mail.access import Content, Delete, Flag, Question, Snapshot, StartTls
from socketkit.uses.mail.database import Caught
from socketkit.uses.mail.headers import summary
from socketkit.uses.mail.imap import ImapSession
from socketkit.uses.mail.pop3 import Pop3Session


@cache
def whole() -> bytes:
    """A mail with everything: alternatives, an attachment, a mail inside."""
    message = EmailMessage()
    message["Date"] = "Mon, 2 Nov 2026 12:00:00 +0000"
    message["Subject"] = "Größe"
    message["From"] = "Ann <ann@example.org>"
    message["To"] = 'bob@example.org, "C, D" <c@d.example>'
    message["Message-ID"] = "<1@example.org>"
    message.set_content("hello world\n.dot\n")
    message.add_alternative("<b>hello</b>", subtype="html")
    message.add_attachment(b"PNG", maintype="image", subtype="png", filename="bild ä.png")
    inner = EmailMessage()
    inner["Subject"] = "inner"
    inner.set_content("inner text")
    message.add_attachment(inner)
    return message.as_bytes().replace(b"\n", b"\r\n")


SECOND = b"Subject: two\r\nFrom: eve@example.org\r\n\r\n.text two\r\nlast\r\n"


class Box:
    """A store in the test's own hands."""

    def __init__(self, *raws: bytes) -> None:
        self.raws = dict(enumerate(raws, 1))
        self.mails = {
            number: Caught(number, 1_767_355_201.0, "s@x.org", ("r@x.org",), len(raw), summary(raw), {}, frozenset())
            for number, raw in self.raws.items()
        }

    def answer(self, question: Question) -> object:
        match question:
            case Snapshot():
                return list(self.mails.values())
            case Content(number):
                return self.raws.get(number)
            case Flag(number, flags):
                if number not in self.mails:
                    return None
                self.mails[number] = self.mails[number]._replace(flags=flags)
                return self.mails[number]
            case Delete(ids):
                for number in ids:
                    self.mails.pop(number, None)
                    self.raws.pop(number, None)
        return None

    def drive(self, session: ImapSession | Pop3Session, chunks: Iterable[bytes], *, shake: bool = True) -> bytes:
        out = b""
        for chunk in chunks:
            session.receive(chunk)
            question = session.next_event()
            while question is not None:
                if isinstance(question, StartTls):
                    if not shake:
                        break
                    session.tls_started()
                    question = None
                else:
                    question = session.answer(self.answer(question))
                if question is None:
                    question = session.next_event()
            out += session.output()
        return out
