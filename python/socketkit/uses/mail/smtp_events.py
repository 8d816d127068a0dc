"""What a session of SMTP tells whoever drives it, and what it may cost: frozen values."""

from __future__ import annotations

from typing import NamedTuple

from .sasl import Login as SaslLogin


class Bounds(NamedTuple):
    """What one session may cost."""

    message_bytes: int = 26_214_400
    recipients: int = 1_000
    line_bytes: int = 4_096
    mistakes: int = 20
    """Commands that cannot be understood; then it is closed."""
    logins: int = 10
    """That fail, or are not finished; then it is closed."""
    idle_commands: int = 1_000
    """Commands between two mails that do nothing (NOOP, RSET, VRFY, HELP, EHLO); then it is closed."""
    under_way_bytes: int = 268_435_456
    """Of mails that have begun, of all sessions together; who asks for more must come again later."""


class Hello(NamedTuple):
    """The client has said its name."""

    name: str
    extended: bool


class Login(NamedTuple):
    """The client has logged in with a password."""

    login: SaslLogin


class Mail(NamedTuple):
    """A mail begins; `size` is what the client says of it."""

    sender: str
    size: int | None


class Recipient(NamedTuple):
    """One more recipient of it."""

    address: str


class Envelope(NamedTuple):
    """Who sends to whom, as the protocol says it: the headers may say something else."""

    sender: str
    recipients: tuple[str, ...]
    utf8: bool = False


class Message(NamedTuple):
    """A whole mail, as the client means it: dots unstuffed, lines end with CRLF."""

    envelope: Envelope
    content: bytes


class StartTls(NamedTuple):
    """Send the output, shake hands, then say `tls_started`."""


Event = Hello | Login | Mail | Recipient | Message | StartTls

BOUNDS = Bounds()
