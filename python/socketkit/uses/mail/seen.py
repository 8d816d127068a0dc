"""What a client of the catcher did: was it encrypted, was a password sent for all to read, what did it do wrong.

So a program under test is audited by the way. Nothing here holds a password.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any

from ...hosting.peers import About
from ...threats.finding import Check, Finding

if TYPE_CHECKING:
    from .sasl import Login


@dataclass(slots=True)
class Client:
    """One connection of a client, from `protocol` smtp, imap or pop3."""

    peer: str
    protocol: str = "smtp"
    hello: str = ""
    tls: str | None = None
    """The version of TLS; None while there is none."""
    cipher: str | None = None
    user: str | None = None
    mechanism: str | None = None
    password_in_clear: bool = False
    mails: int = 0
    faults: set[str] = field(default_factory=set)
    """Of the state machine: `bare_newline`, `injection`, `mistake` ..."""

    def encrypted_with(self, ciphers: tuple[str, str] | None) -> None:
        """The engine speaks TLS 1.3 and no other version."""
        self.tls = "TLSv1.3"
        self.cipher = ciphers[0] if ciphers else None

    def logged_in(self, login: Login) -> None:
        self.user, self.mechanism = login.user, login.mechanism
        self.password_in_clear |= self.tls is None

    def as_json(self) -> dict[str, Any]:
        return {
            "peer": self.peer,
            "protocol": self.protocol,
            "hello": self.hello,
            "tls": self.tls,
            "cipher": self.cipher,
            "user": self.user,
            "mechanism": self.mechanism,
            "password_in_clear": self.password_in_clear,
            "faults": sorted(self.faults),
        }

    def as_text(self) -> str:
        """`as_json` as JSON. Written here: an encoder takes longer than all else that storing a mail does in Python."""
        return (
            f'{{"peer": {_text(self.peer)}, "protocol": {_text(self.protocol)}, "hello": {_text(self.hello)}, '
            f'"tls": {_text(self.tls)}, "cipher": {_text(self.cipher)}, "user": {_text(self.user)}, '
            f'"mechanism": {_text(self.mechanism)}, '
            f'"password_in_clear": {"true" if self.password_in_clear else "false"}, '
            f'"faults": [{", ".join(map(_text, sorted(self.faults)))}]}}'
        )

    def about(self) -> About:
        """What a list of those who are there says of it: `smtp, TLS 1.3, as ann, 3 mails`."""
        words = [self.protocol, self.tls.replace("v", " ") if self.tls else "plain text"]
        if self.user:
            words.append(f"as {self.user}")
        if self.protocol == "smtp":
            words.append(f"{self.mails:,} mail{'' if self.mails == 1 else 's'}")
        findings = [finding.as_json() for finding in self.findings()]
        facts = {"client": self.as_json(), "mails": self.mails, "findings": findings}
        return About(", ".join(words), "PASSWORD SEEN" if self.password_in_clear else "", facts)

    def findings(self) -> list[Finding]:
        """What is wrong with it, the worst first; as `socketkit audit` would say it."""
        who = self.hello or self.peer
        found = []
        if self.password_in_clear:
            evidence = f"{self.mechanism} as {self.user} before TLS, over {self.protocol}"
            found.append(Finding(CHECKS["password"], who, evidence, ENCRYPT, socket=self.peer))
        if "injection" in self.faults:
            evidence = "bytes between STARTTLS and the handshake; they were dropped"
            remedy = "let the client wait for the answer to STARTTLS, and discard what it had read"
            found.append(Finding(CHECKS["injection"], who, evidence, remedy, socket=self.peer))
        if "bare_newline" in self.faults:
            evidence = "a CR or an LF that stands alone; such a mail is refused here, as by many servers"
            remedy = "end every line with CR LF: most libraries do when they are given text"
            found.append(Finding(CHECKS["bare_newline"], who, evidence, remedy, socket=self.peer))
        if self.mails and self.tls is None:
            count = f"{self.mails} mail{'' if self.mails == 1 else 's'}"
            found.append(Finding(CHECKS["plain"], who, f"{count} without TLS", ENCRYPT, socket=self.peer))
        return found


def _text(value: str | None) -> str:
    return "null" if value is None else encode_basestring_ascii(value)


ENCRYPT = "turn on STARTTLS or TLS in the program's settings, and make it required: optional STARTTLS is no help"
CHECKS = {
    "password": Check("ML1", "high", "A mail program sent a password in plain text", "unencrypted"),
    "injection": Check("ML2", "medium", "A mail program spoke on before its TLS handshake", "man-in-the-middle"),
    "bare_newline": Check("ML3", "medium", "A mail program sends line ends that servers read differently", "hijacking"),
    "plain": Check("ML4", "low", "A mail program sent mail in plain text", "unencrypted"),
}
