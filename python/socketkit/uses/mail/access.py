"""What the sessions of IMAP and POP3 tell whoever drives them: questions, each of which waits for its answer."""

from __future__ import annotations

from typing import NamedTuple

from .sasl import Login as SaslLogin


class Login(NamedTuple):
    """The client has logged in. Any answer lets him."""

    login: SaslLogin


class StartTls(NamedTuple):
    """Send the output, shake hands, then say `tls_started`."""


class Snapshot(NamedTuple):
    """All mails there are, the oldest first: the answer is a list of `Caught`."""


class Content(NamedTuple):
    """The mail with this id as it was sent: the answer is bytes, or None if it is gone."""

    id: int


class Flag(NamedTuple):
    """Give the mail just these flags: the answer is the `Caught`, or None if it is gone."""

    id: int
    flags: frozenset[str]


class Delete(NamedTuple):
    """Delete these mails: the answer is not looked at."""

    ids: tuple[int, ...]


Question = Login | StartTls | Snapshot | Content | Flag | Delete
