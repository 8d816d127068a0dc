"""SMTP's server side without I/O (RFC 5321): bytes in, events and bytes out.

`receive` takes what came, `next_event` says what it means, `output` is what must be sent. An event that asks (all
but `StartTls`) waits for its answer by `accept` or `refuse`, and nothing behind it is looked at before: so whoever
drives this may wait, store or fail as he likes, and pipelined commands keep their order (RFC 2920). How the bytes were
cut into chunks makes no difference. Who would accept every name, sender and recipient is not `asking`: they are no
events then, and the whole mail is the first he hears of them.

What it refuses, and why:

- A message with a bare CR or LF in it (550), and it ends with CRLF . CRLF only: another server may see an end where we
  see none, and what follows as commands of their own (SMTP smuggling, CVE-2023-51764).
- What came behind STARTTLS and before the handshake is dropped: somebody on the way may have put it there, to be taken
  for words of the encrypted client (CVE-2011-0411, RFC 3207 §5).
- Lines, messages, recipients and mistakes are bounded; SIZE (RFC 1870) is refused before one byte is stored.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from . import sasl
from .smtp_content import Counted, Dotted, has_bare_newline
from .smtp_events import BOUNDS, Bounds, Envelope, Event, Hello, Login, Mail, Message, Recipient, StartTls
from .smtp_replies import BEGIN, CLOSING, GO_ON, MISTAKES, OK, RECIPIENT_OK, SENDER_OK, TAKEN, extensions, greeting
from .smtp_syntax import PathError, mail_path, recipient_path

if TYPE_CHECKING:
    from collections.abc import Callable


class Session:
    """One connection. `host` is this server's name; `tls`: whether it can begin TLS, `encrypted`: whether it has."""

    def __init__(
        self,
        host: str = "localhost",
        bounds: Bounds = BOUNDS,
        *,
        tls: bool = False,
        encrypted: bool = False,
        asking: bool = True,
    ) -> None:
        self.host = host
        self.bounds = bounds
        self.encrypted = encrypted
        self.closed = False
        """Nothing more is read: send the output, then close."""
        self.faults: set[str] = set()
        """What the client did that no client should: `bare_newline`, `injection`, `mistake`, `long_line`, `too_large`,
        `recipients`, `logins`, `idle_commands`."""
        self.hello = ""
        """What the client has called itself last."""
        self._tls = tls
        self._asking = asking
        self._buffer = bytearray()
        self._searched = 0
        self._starved = True
        self._out: list[bytes] = []
        self._pending: Callable[[], bytes] | None = None
        self._injecting = False
        self._mistakes = 0
        self._logins = 0
        self._idle = 0
        self._name: str | None = None
        self._login: sasl.Login | None = None
        self._exchange: sasl.Exchange | None = None
        # A function and no bound method: a session that holds itself is freed late, by the collector only.
        self._read: Callable[[Session], Event | bytes | str | None] = Session._command
        self._mail: str | None = None
        self._recipients: list[str] = []
        self._utf8 = False
        self._dotted: Dotted | None = None
        self._counted: Counted | None = None
        self._last = False

    # ---- for the driver ----

    def greet(self) -> None:
        """The first line that a client sees."""
        self._out.append(greeting(self.host))

    def receive(self, data: bytes) -> None:
        if self._injecting:
            self.faults.add("injection")
        elif not self.closed:
            self._buffer += data

    def next_event(self) -> Event | None:
        """The next thing to decide; None: send `output()`, and `receive` more unless it is `closed`."""
        while self._pending is None and not self._injecting and not self.closed:
            if not self._buffer and self._counted is None:
                return None
            found = self._read(self)
            if isinstance(found, bytes):
                self._out.append(found)
            elif isinstance(found, str):
                self._reply(found)
            elif found is not None or self._starved:
                return found
        return None

    def accept(self) -> None:
        """Say yes to what the last event asks."""
        assert self._pending is not None, "no event waits for an answer"
        pending, self._pending = self._pending, None
        self._out.append(pending())

    def refuse(self, code: int, text: str) -> None:
        """Say no, with this reply; the session goes on, unless the code is 421."""
        assert self._pending is not None, "no event waits for an answer"
        self._pending = None
        self._say(f"{code} {text}")
        self.closed |= code == CLOSING

    def output(self) -> bytes:
        """What must be sent now; it is given once."""
        out = self._out
        if len(out) == 1:
            return out.pop()
        whole = b"".join(out)
        out.clear()
        return whole

    def close(self, text: str) -> None:
        """End the session with a word to the client (421)."""
        if not self.closed:
            self._pending = None
            self._end(f"{CLOSING} {text}")

    def tls_started(self) -> None:
        """The handshake is done: nothing that was known of the client counts any more (RFC 3207 §4.2)."""
        assert self._injecting, "the client has not asked for TLS"
        self._injecting = False
        self.encrypted = True
        self._name = self._login = None
        self._forget_mail()

    @property
    def inside(self) -> bool:
        """Whether something has begun to come and is not whole: the client must go on, and not too slowly.

        Behind DATA nothing has begun before its first byte: until then a client may think.
        """
        if self._buffer:
            return not self.closed
        return self._counted is not None and self._counted.remaining > 0 and not self.closed

    @property
    def begun(self) -> bool:
        """Whether a mail, or a login, has begun and not ended."""
        return self._mail is not None or self._read is not Session._command

    @property
    def held_bytes(self) -> int:
        """Of what has come and is not whole yet."""
        return len(self._buffer) + (self._counted.held_bytes if self._counted is not None else 0)

    # ---- lines ----

    def _line(self) -> bytes | str | None:
        """The next line without its end; None if it is not whole; what is said of it if it is refused."""
        buffer = self._buffer
        end = buffer.find(b"\n", self._searched) + 1
        self._starved = end == 0
        if (end or len(buffer)) > self.bounds.line_bytes:
            self.faults.add("long_line")
            self.closed = True
            return "500 5.5.2 The line is too long"
        if self._starved:
            self._searched = len(buffer)
            return None
        self._searched = 0
        line = bytes(buffer[:end])
        del buffer[:end]
        if not line.endswith(b"\r\n") or line.count(b"\r") != 1 or b"\0" in line:
            self.faults.add("bare_newline")
            return "500 5.5.2 A line ends with CR LF, and has neither inside (RFC 5321 2.3.8)"
        return line[:-2]

    def _command(self) -> Event | bytes | str | None:
        buffer = self._buffer
        usual = USUAL_COMMAND.match(buffer)
        if usual and (end := usual.end()) <= self.bounds.line_bytes:
            word, rest = usual.groups(b"")
            if end == len(buffer):
                buffer.clear()
            else:
                del buffer[:end]
            self._starved = False
            self._searched = 0
        else:
            line = self._line()
            if not isinstance(line, bytes):
                return line
            word, _, rest = line.partition(b" ")
        verb = COMMANDS.get(word) or COMMANDS.get(word.upper())
        if verb is None:
            return "500 5.5.1 No such command"
        try:
            return verb(self, rest.decode())
        except UnicodeDecodeError:
            return "501 5.5.2 That is no UTF-8 (RFC 6531)"

    # ---- who is there ----

    def _helo(self, rest: str) -> Event | bytes | str:
        return self._greeted(rest, extended=False)

    def _ehlo(self, rest: str) -> Event | bytes | str:
        return self._greeted(rest, extended=True)

    def _greeted(self, rest: str, *, extended: bool) -> Event | bytes | str:
        if self._is_idle():
            return TOO_IDLE
        name = rest.strip()
        if not name or not name.isprintable() or len(name) > MOST_NAME:
            return "501 5.5.4 Say your name behind it"
        self.hello = name

        def agree() -> bytes:
            self._name = name
            self._forget_mail()
            if not extended:
                return f"250 {self.host}\r\n".encode()
            return extensions(self.host, self.bounds.message_bytes, self._tls and not self.encrypted)

        if not self._asking:
            return agree()
        self._pending = agree
        return Hello(name, extended)

    def _starttls(self, rest: str) -> Event | str:
        if rest.strip():
            return "501 5.5.4 STARTTLS stands alone"
        if self.encrypted or not self._tls:
            return "503 5.5.1 TLS is already there" if self.encrypted else "502 5.5.1 No TLS here"
        if self._mail is not None:
            return "503 5.5.1 Not inside a mail"
        if self._buffer:
            self.faults.add("injection")
            self._buffer.clear()
        self._injecting = True
        self._say("220 2.0.0 Begin TLS")
        return StartTls()

    def _auth(self, rest: str) -> Event | str:
        if self._mail is not None or self._name is None or self._login is not None:
            return "503 5.5.1 AUTH comes once, behind EHLO and before MAIL"
        self._logins += 1
        if self._logins > self.bounds.logins:
            self.faults.add("logins")
            self.closed = True
            return f"{CLOSING} 4.7.0 Too many logins that came to nothing"
        mechanism, _, initial = rest.strip().partition(" ")
        try:
            self._exchange = sasl.Exchange(mechanism)
        except sasl.SaslError as failure:
            return f"504 5.5.4 {failure}"
        if initial:
            return self._credentials(initial)
        self._read = Session._answer
        return f"334 {self._exchange.first}"

    def _answer(self) -> Event | str | None:
        """A line that answers what AUTH asked."""
        line = self._line()
        if isinstance(line, bytes):
            return self._credentials(line.decode("ascii", "replace"))
        if line is not None:
            self._read = Session._command
        return line

    def _credentials(self, line: str) -> Event | str:
        assert self._exchange is not None
        self._read = Session._command
        try:
            step = self._exchange.answer(line)
        except sasl.SaslError as failure:
            return f"501 5.5.2 {failure}"
        if isinstance(step, str):
            self._read = Session._answer
            return f"334 {step}"
        login = step

        def agree() -> bytes:
            self._login = login
            return b"235 2.7.0 Welcome\r\n"

        self._pending = agree
        return Login(login)

    # ---- a mail ----

    def _from(self, rest: str) -> Event | bytes | str:
        if self._name is None:
            return "503 5.5.1 EHLO comes first"
        if self._mail is not None:
            return "503 5.5.1 A mail has begun: RSET ends it"
        try:
            path, size = mail_path(rest)
        except PathError as failure:
            return str(failure)
        if size is not None and size > self.bounds.message_bytes:
            return self._too_large()

        def agree() -> bytes:
            self._mail, self._utf8 = path.address, "SMTPUTF8" in path.parameters
            return SENDER_OK

        if not self._asking:
            return agree()
        self._pending = agree
        return Mail(path.address, size)

    def _to(self, rest: str) -> Event | bytes | str:
        if self._mail is None or self._counted is not None:
            return "503 5.5.1 MAIL comes first, and RCPT before the message"
        try:
            address = recipient_path(rest, utf8=self._utf8)
        except PathError as failure:
            return str(failure)
        if len(self._recipients) >= self.bounds.recipients:
            self.faults.add("recipients")
            return "452 4.5.3 Too many recipients: send the others a mail of their own"

        def agree() -> bytes:
            self._recipients.append(address)
            return RECIPIENT_OK

        if not self._asking:
            return agree()
        self._pending = agree
        return Recipient(address)

    def _data(self, rest: str) -> bytes | str:
        if self._mail is None or self._counted is not None or rest.strip():
            return "503 5.5.1 MAIL and RCPT come first, and DATA stands alone"
        if not self._recipients:
            return "554 5.5.1 No recipient was taken"
        self._dotted = Dotted(self.bounds.message_bytes)
        self._read = Session._until_dot
        return BEGIN

    def _until_dot(self) -> Event | bytes | str | None:
        assert self._dotted is not None
        whole = self._dotted.take(self._buffer)
        self._starved = not whole
        if self._dotted.hopeless:
            self.closed = True
            return self._too_large()
        return self._whole(self._dotted) if whole else None

    def _bdat(self, rest: str) -> str | None:
        words = rest.split()
        last = len(words) == 2 and words[1].upper() == "LAST"
        if not words or len(words) > 1 + last or not words[0].isdecimal() or len(words[0]) > 12:
            return "501 5.5.4 BDAT takes a number of bytes, and LAST behind the last of them"
        # The bytes come whatever is answered, and must not be taken for commands.
        if self._counted is None:
            self._counted = Counted(self.bounds.message_bytes)
        self._counted.expect(int(words[0]))
        self._last = last
        if self._counted.hopeless:
            self.closed = True
            return self._too_large()
        self._read = Session._until_counted
        return None

    def _until_counted(self) -> Event | bytes | str | None:
        assert self._counted is not None
        whole = self._counted.take(self._buffer)
        self._starved = not whole
        if not whole:
            return None
        self._read = Session._command
        if not self._recipients:
            self._forget_mail()
            return "503 5.5.1 MAIL and RCPT come first"
        return self._whole(self._counted) if self._last else GO_ON

    def _whole(self, collected: Dotted | Counted) -> Event | str:
        """A message has ended; whether it is taken."""
        envelope = Envelope(self._mail or "", tuple(self._recipients), self._utf8)
        self._idle = 0
        self._forget_mail()
        if collected.too_large:
            return self._too_large()
        if has_bare_newline(collected.content):
            self.faults.add("bare_newline")
            return "550 5.6.0 A line ends with CR LF, and has neither inside (RFC 5321 2.3.8)"
        self._pending = _taken
        return Message(envelope, collected.content)

    def _too_large(self) -> str:
        self.faults.add("too_large")
        return f"552 5.3.4 At most {self.bounds.message_bytes} bytes"

    def _forget_mail(self) -> None:
        self._read = Session._command
        self._searched = 0
        self._mail = self._dotted = self._counted = None
        self._recipients = []
        self._utf8 = False

    # ---- the rest ----

    def _rset(self, rest: str) -> bytes | str:
        self._forget_mail()
        return TOO_IDLE if self._is_idle() else OK

    def _noop(self, rest: str) -> bytes | str:
        return TOO_IDLE if self._is_idle() else OK

    def _vrfy(self, rest: str) -> str:
        return TOO_IDLE if self._is_idle() else "252 2.1.5 Send it, and see"

    def _help(self, rest: str) -> str:
        return TOO_IDLE if self._is_idle() else "214 2.0.0 RFC 5321; this server keeps mail, and sends none on"

    def _is_idle(self) -> bool:
        """Whether one command too many has done nothing: replies cost more than the commands that ask for them."""
        self._idle += 1
        if self._idle <= self.bounds.idle_commands:
            return False
        self.faults.add("idle_commands")
        self.closed = True
        return True

    def _quit(self, rest: str) -> str:
        self.closed = True
        return "221 2.0.0 Goodbye"

    # ---- what is said ----

    def _say(self, line: str) -> None:
        self._out.append(f"{line}\r\n".encode())

    def _reply(self, line: str) -> None:
        """What the machine answers by itself; too many mistakes end the session."""
        if line[:3] in MISTAKES:
            self.faults.add("mistake")
            self._mistakes += 1
            if self._mistakes >= self.bounds.mistakes:
                self._end(f"{CLOSING} 4.7.0 Too many mistakes; the last: {line[4:]}")
                return
        self._say(line)

    def _end(self, line: str) -> None:
        self._say(line)
        self.closed = True


def _taken() -> bytes:
    return TAKEN


COMMANDS: dict[bytes, Callable[[Session, str], Event | bytes | str | None]] = {
    b"EHLO": Session._ehlo,
    b"HELO": Session._helo,
    b"STARTTLS": Session._starttls,
    b"AUTH": Session._auth,
    b"MAIL": Session._from,
    b"RCPT": Session._to,
    b"DATA": Session._data,
    b"BDAT": Session._bdat,
    b"RSET": Session._rset,
    b"NOOP": Session._noop,
    b"VRFY": Session._vrfy,
    b"HELP": Session._help,
    b"QUIT": Session._quit,
}
TOO_IDLE = f"{CLOSING} 4.7.0 Too many commands without a mail"
# A short whole line of a command is read in one step; all else is looked at more closely.
USUAL_COMMAND = re.compile(rb"([A-Za-z]{4,8})(?: ([^\r\n\0]{0,480}))?\r\n")
MOST_NAME = 255
