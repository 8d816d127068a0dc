"""Numbers and ids of a mailbox that changes."""

from __future__ import annotations

from socketkit.uses.mail.imap_mailbox import Mailbox
from tests.uses.mail.boxes import SECOND, Box


def test_update() -> None:
    mails = list(Box(*[SECOND] * 5).mails.values())
    mailbox = Mailbox(mails[:4], read_only=False)
    assert mailbox.update(mails[:4]) == []
    # From behind: a number still means what it meant when it is said.
    assert mailbox.update([mails[1], mails[3], mails[4]]) == [b"* 3 EXPUNGE\r\n", b"* 1 EXPUNGE\r\n", b"* 3 EXISTS\r\n"]
    assert mailbox.update([]) == [b"* 3 EXPUNGE\r\n", b"* 2 EXPUNGE\r\n", b"* 1 EXPUNGE\r\n"]
