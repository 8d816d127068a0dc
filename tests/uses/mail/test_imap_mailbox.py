"""Numbers and ids of a mailbox that changes."""

from __future__ import annotations

from socketkit.uses.mail.imap import ImapSession
from socketkit.uses.mail.imap_mailbox import SEARCHED_BYTES, Mailbox
from tests.uses.mail.boxes import SECOND, Box


def test_update() -> None:
    mails = list(Box(*[SECOND] * 5).mails.values())
    mailbox = Mailbox(mails[:4], read_only=False)
    assert mailbox.update(mails[:4]) == []
    # From behind: a number still means what it meant when it is said.
    assert mailbox.update([mails[1], mails[3], mails[4]]) == [b"* 3 EXPUNGE\r\n", b"* 1 EXPUNGE\r\n", b"* 3 EXISTS\r\n"]
    assert mailbox.update([]) == [b"* 3 EXPUNGE\r\n", b"* 2 EXPUNGE\r\n", b"* 1 EXPUNGE\r\n"]


def test_a_search_reads_so_much_of_a_mail() -> None:
    """It is read while all others wait."""
    head = b"Subject: x\r\n\r\n"
    fits = head + b"x" * (SEARCHED_BYTES - len(head) - len(b" needle")) + b" needle"
    words = [b"a LOGIN u p\r\nb SELECT INBOX\r\nc SEARCH BODY needle\r\n"]
    assert b"* SEARCH 1\r\n" in Box(fits).drive(ImapSession(), words)
    over = Box(fits.replace(b" needle", b"x needle"))
    assert b"* SEARCH\r\n" in over.drive(ImapSession(), words)
