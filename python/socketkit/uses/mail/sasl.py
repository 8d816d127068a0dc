"""Who logs in: the mechanisms PLAIN (RFC 4616) and LOGIN of SASL, without I/O, for SMTP, IMAP and POP3.

A catcher of mail takes every name and every password: what matters is that one was sent, and whether everybody on the
way could read it. So the password is looked at for its presence only, and is kept nowhere.
"""

from __future__ import annotations

import binascii
from typing import NamedTuple

MECHANISMS = ("PLAIN", "LOGIN")


class Login(NamedTuple):
    """Who logged in, and how. Never the password."""

    mechanism: str
    user: str


class SaslError(ValueError):
    """What the client sent is no answer to what it was asked; the text is for him."""


class Exchange:
    """One login. `first` asks, `answer` takes a line and gives the next question (base64), or the `Login`."""

    def __init__(self, mechanism: str) -> None:
        """Raises SaslError for a mechanism that is none of `MECHANISMS`."""
        self.mechanism = mechanism.upper()
        if self.mechanism not in MECHANISMS:
            raise SaslError(f"there are {' and '.join(MECHANISMS)}")
        self._user: str | None = None

    @property
    def first(self) -> str:
        """The first question, for a client that sent no answer with his command."""
        return "" if self.mechanism == "PLAIN" else USER_NAME

    def answer(self, line: str) -> str | Login:
        """Raises SaslError for what is no base64, cancels, or lacks a part."""
        if line == "*":
            raise SaslError("cancelled")
        said = _decoded(line)
        if self.mechanism == "PLAIN":
            return self._plain(said)
        if self._user is None:
            self._user = _text(said)
            return PASSWORD
        return Login(self.mechanism, self._user)

    def _plain(self, said: bytes) -> Login:
        parts = said.split(b"\0")
        if len(parts) != 3 or not parts[1]:
            raise SaslError("PLAIN is: authorized NUL user NUL password")
        return Login(self.mechanism, _text(parts[1]))


def _decoded(line: str) -> bytes:
    if line == "=":  # an empty initial answer, RFC 4954 §4
        return b""
    try:
        return binascii.a2b_base64(line.encode("ascii"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError):
        raise SaslError("that is no base64") from None


def _text(said: bytes) -> str:
    """As it may be shown: a name that cannot be read is a name all the same."""
    text = said.decode("utf-8", "replace")[:MOST_NAME]
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


USER_NAME = "VXNlcm5hbWU6"  # Username:
PASSWORD = "UGFzc3dvcmQ6"  # Password:
MOST_NAME = 255
