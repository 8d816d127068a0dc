"""POP3's server side without I/O (RFC 1939, RFC 2595, RFC 2449, RFC 5034): lines in, questions and bytes out.

A mail's UIDL is its id. What DELE marks is deleted at QUIT. Every name and password is taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from . import sasl
from .access import Content, Delete, Login, Snapshot, StartTls
from .access_session import AccessSession

if TYPE_CHECKING:
    from collections.abc import Callable

    from .access import Question
    from .access_session import Asking
    from .database import Caught


class Pop3Session(AccessSession):
    """One connection. What its handlers can say at once they say without a generator."""

    def __init__(self, *, tls: bool = False, encrypted: bool = False) -> None:
        self._buffer = bytearray()
        super().__init__(self._buffer, tls=tls, encrypted=encrypted)
        self._user = ""
        self._mails: list[Caught] | None = None
        self._deleted: set[int] = set()

    # ---- for the driver ----

    def greet(self) -> None:
        self._ok("socketkit")

    def tls_started(self) -> None:
        """The handshake is done; what was known of the client counts no more."""
        super().tls_started()
        self._user = ""

    def close(self, text: str) -> None:
        """End the session with a word to the client; what is marked is not deleted (RFC 1939 §6)."""
        self._error(text)
        self.closed = True

    # ---- commands ----

    def _line(self) -> bytes | None:
        end = self._buffer.find(b"\n") + 1
        if (end or len(self._buffer)) > LINE_BYTES:
            self.faults.add("long_line")
            self._error("the line is too long")
            self.closed = True
            return None
        if not end:
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[:end]
        return line.removesuffix(b"\n").removesuffix(b"\r")

    def _take(self, line: bytes) -> Question | None:
        asking = self._command(line.decode("utf-8", "replace"))
        return None if asking is None else self._go(asking)

    def _command(self, line: str) -> Asking | None:
        if self._exchange is not None:
            return self._authenticated(line)
        word, _, rest = line.partition(" ")
        verbs = OPENED if self._mails is not None else CLOSED
        verb = verbs.get(word.upper())
        if verb is None:
            self._mistake("no such command, or not now")
            return None
        return verb(self, rest)

    def _capa(self, rest: str) -> None:
        known = ["USER", "UIDL", "TOP", "PIPELINING", "RESP-CODES", f"SASL {' '.join(sasl.MECHANISMS)}"]
        if self._tls and not self.encrypted:
            known.append("STLS")
        self._ok("these")
        self._many("".join(f"{name}\r\n" for name in known).encode())

    def _stls(self, rest: str) -> Asking:
        if self.encrypted or not self._tls:
            self._mistake("TLS is there, or cannot be")
            return
        self._ok("begin TLS")
        yield StartTls()

    def _user_(self, rest: str) -> None:
        self._user = rest.strip()[:255]
        self._ok("and the password")

    def _pass(self, rest: str) -> Asking:
        if not self._user:
            self._mistake("USER comes first")
            return
        yield from self._opened(sasl.Login("USER", self._user))

    def _auth(self, rest: str) -> Asking | None:
        words = rest.split()
        if not words:
            self._ok("these")
            self._many("".join(f"{name}\r\n" for name in sasl.MECHANISMS).encode())
            return None
        try:
            self._exchange = sasl.Exchange(words[0])
        except sasl.SaslError as failure:
            self._mistake(str(failure))
            return None
        if len(words) > 1:
            return self._authenticated(words[1])
        self._say(f"+ {self._exchange.first}")
        return None

    def _authenticated(self, line: str) -> Asking | None:
        try:
            login = self._credentials(line)
        except sasl.SaslError as failure:
            self._mistake(str(failure))
            return None
        return None if login is None else self._opened(login)

    def _opened(self, login: sasl.Login) -> Asking:
        yield Login(login)
        self._mails = cast("list[Caught]", (yield Snapshot()))
        self._ok(f"{len(self._mails)} mails")

    def _stat(self, rest: str) -> None:
        there = [mail for _, mail in self._there()]
        self._ok(f"{len(there)} {sum(mail.size for mail in there)}")

    def _list(self, rest: str) -> None:
        self._listed(rest, lambda mail: mail.size)

    def _uidl(self, rest: str) -> None:
        self._listed(rest, lambda mail: mail.id)

    def _listed(self, rest: str, what: Callable[[Caught], int]) -> None:
        if rest.strip():
            mail = self._mail(rest)
            if mail is not None:
                self._ok(f"{int(rest)} {what(mail)}")
            return
        self._ok("these")
        self._many("".join(f"{number} {what(mail)}\r\n" for number, mail in self._there()).encode())

    def _retr(self, rest: str) -> Asking:
        yield from self._content(rest, None)

    def _top(self, rest: str) -> Asking:
        number, _, lines = rest.strip().partition(" ")
        if not _is_number(lines.strip()):
            self._mistake("TOP takes a mail and a number of lines")
            return
        yield from self._content(number, int(lines))

    def _content(self, rest: str, lines: int | None) -> Asking:
        mail = self._mail(rest)
        if mail is None:
            return
        raw = cast("bytes | None", (yield Content(mail.id)))
        if raw is None:
            self._error("it is gone")
            return
        if lines is not None:
            head, blank, body = raw.partition(b"\r\n\r\n")
            raw = head + blank + b"".join(line + b"\r\n" for line in body.split(b"\r\n")[:lines])
        self._ok(f"{len(raw)} bytes")
        self._many(raw)

    def _dele(self, rest: str) -> None:
        mail = self._mail(rest)
        if mail is not None:
            self._deleted.add(mail.id)
            self._ok("at QUIT")

    def _rset(self, rest: str) -> None:
        self._deleted.clear()
        self._ok("none is deleted")

    def _noop(self, rest: str) -> None:
        self._ok("here")

    def _quit(self, rest: str) -> Asking:
        if self._deleted:
            yield Delete(tuple(sorted(self._deleted)))
        self._ok("goodbye")
        self.closed = True

    # ---- mails, and what is said ----

    def _there(self) -> list[tuple[int, Caught]]:
        return [(number, mail) for number, mail in enumerate(self._mails or (), 1) if mail.id not in self._deleted]

    def _mail(self, rest: str) -> Caught | None:
        text = rest.strip()
        mails = self._mails or []
        if _is_number(text) and 1 <= int(text) <= len(mails) and mails[int(text) - 1].id not in self._deleted:
            return mails[int(text) - 1]
        self._mistake("no such mail")
        return None

    def _ok(self, text: str) -> None:
        self._say(f"+OK {text}")

    def _error(self, text: str) -> None:
        self._say(f"-ERR {text}")

    def _mistake(self, text: str) -> None:
        self._error(text)
        self._mistaken()

    def _many(self, lines: bytes) -> None:
        """Lines and their end: a dot at the start of one is doubled."""
        if lines.startswith(b"."):
            lines = b"." + lines
        lines = lines.replace(b"\r\n.", b"\r\n..")
        self._out.append(lines if lines.endswith(b"\r\n") or not lines else lines + b"\r\n")
        self._out.append(b".\r\n")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10


CLOSED: dict[str, Callable[[Pop3Session, str], Asking | None]] = {
    "CAPA": Pop3Session._capa,
    "STLS": Pop3Session._stls,
    "USER": Pop3Session._user_,
    "PASS": Pop3Session._pass,
    "AUTH": Pop3Session._auth,
    "QUIT": Pop3Session._quit,
}
OPENED: dict[str, Callable[[Pop3Session, str], Asking | None]] = {
    "CAPA": Pop3Session._capa,
    "STAT": Pop3Session._stat,
    "LIST": Pop3Session._list,
    "UIDL": Pop3Session._uidl,
    "RETR": Pop3Session._retr,
    "TOP": Pop3Session._top,
    "DELE": Pop3Session._dele,
    "RSET": Pop3Session._rset,
    "NOOP": Pop3Session._noop,
    "QUIT": Pop3Session._quit,
}
LINE_BYTES = 4_096
