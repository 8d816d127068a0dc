"""IMAP's server side without I/O (RFC 3501; IDLE RFC 2177, UIDPLUS' EXPUNGE RFC 4315, SASL-IR RFC 4959).

One mailbox, INBOX, with the caught mail. A mail's UID is its id in the store, so it never changes. Flags can be set
and mails deleted; nothing can be put in. A command that needs something of the store asks for it (`next_event`), and
goes on when it is told (`answer`); the driver sees to `idling`, and tells of new mail by `update`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from . import imap_syntax, sasl
from .access import Login, Snapshot, StartTls
from .access_session import AccessSession
from .imap_lines import Lines, TooLong
from .imap_mailbox import FLAGS, Mailbox
from .imap_syntax import Atom, SyntaxFault, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from . import access_session
    from .access import Question
    from .database import Caught
    from .imap_syntax import Command

    # A handler of a command gives what its tagged reply says.
    Asking = Generator[Question, object, str]


class ImapSession(AccessSession):
    """One connection. `made`: when the store was made (UIDVALIDITY)."""

    def __init__(self, *, made: int = 1, tls: bool = False, encrypted: bool = False) -> None:
        self._lines = Lines(COMMAND_BYTES)
        super().__init__(self._lines, tls=tls, encrypted=encrypted)
        self.idling = False
        """The client waits for news: `update` tells it, and what it sends next ends that."""
        self._made = made
        self._tag = ""
        self._login: sasl.Login | None = None
        self._mailbox: Mailbox | None = None

    # ---- for the driver ----

    def greet(self) -> None:
        self._say(f"* OK [CAPABILITY {self._capabilities()}] socketkit")

    def update(self, mails: list[Caught]) -> None:
        """Tell what has changed in the mailbox that is open; `mails` are all, the oldest first."""
        if self._mailbox is not None:
            self._out += self._mailbox.update(mails)

    def still_here(self) -> None:
        """Says so to a client that idles: what stands between forgets connections on which nothing moves."""
        self._say("* OK Still here")

    def close(self, text: str) -> None:
        """End the session with a word to the client."""
        self._say(f"* BYE {text}")
        self.closed = True

    # ---- commands ----

    def _line(self) -> bytes | None:
        """The next whole command."""
        try:
            line = self._lines.next()
        except TooLong:
            self.faults.add("long_line")
            self._say("* BYE the command is too long")
            self.closed = True
            return None
        if self._lines.asked:
            self._lines.asked = 0
            self._say("+ go on")
        return line

    def _take(self, line: bytes) -> Question | None:
        if self.idling:
            self.idling = False
            self._say(f"{self._tag} OK done" if line.upper() == b"DONE" else f"{self._tag} BAD DONE ends it")
            return None
        if self._exchange is not None:
            return self._go(self._replied(self._authenticated(line.decode("ascii", "replace"))))
        try:
            command = imap_syntax.parse(line)
        except SyntaxFault as fault:
            self._mistake("*", str(fault))
            return None
        self._tag = command.tag
        handler = self._handler(command.name)
        if handler is None:
            self._mistake(command.tag, f"no such command, or not now: {command.name[:40]}")
            return None
        return self._go(self._replied(handler(self, command)))

    def _handler(self, name: str) -> Callable[[ImapSession, Command], Asking] | None:
        return (
            ALWAYS.get(name)
            or (BEFORE.get(name) if self._login is None else AFTER.get(name))
            or (SELECTED.get(name) if self._mailbox is not None else None)
        )

    def _replied(self, asking: Asking) -> access_session.Asking:
        """The command, and the reply to it."""
        try:
            said = yield from asking
        except SyntaxFault as fault:
            self._mistake(self._tag, str(fault))
            return
        if said:
            self._say(f"{self._tag} {said}")

    # ---- who is there ----

    def _capability(self, command: Command) -> Asking:
        yield from ()
        self._say(f"* CAPABILITY {self._capabilities()}")
        return "OK done"

    def _capabilities(self) -> str:
        known = ["IMAP4rev1", "IDLE", "LITERAL+", "SASL-IR", "UIDPLUS", "UNSELECT", "NAMESPACE", "ID"]
        known += [f"AUTH={name}" for name in sasl.MECHANISMS]
        return " ".join([*known, "STARTTLS"] if self._tls and not self.encrypted else known)

    def _noop(self, command: Command) -> Asking:
        if self._mailbox is not None:
            self.update(cast("list[Caught]", (yield Snapshot())))
        return "OK done"

    def _logout(self, command: Command) -> Asking:
        yield from ()
        self._say("* BYE goodbye")
        self._say(f"{self._tag} OK done")
        self.closed = True
        return ""

    def _id(self, command: Command) -> Asking:
        yield from ()
        self._say('* ID ("name" "socketkit")')
        return "OK done"

    def _starttls(self, command: Command) -> Asking:
        if self.encrypted or not self._tls:
            raise SyntaxFault("TLS is there, or cannot be")
        self._say(f"{self._tag} OK begin TLS")
        yield StartTls()
        return ""

    def _login_(self, command: Command) -> Asking:
        if len(command.arguments) != 2:
            raise SyntaxFault("LOGIN takes a user and a password")
        self._login = sasl.Login("LOGIN", text_of(command.arguments[0])[:255])
        yield Login(self._login)
        return "OK welcome"

    def _authenticate(self, command: Command) -> Asking:
        yield from ()
        if not command.arguments:
            raise SyntaxFault("AUTHENTICATE takes a mechanism")
        try:
            self._exchange = sasl.Exchange(text_of(command.arguments[0]))
        except sasl.SaslError as failure:
            return f"NO {failure}"
        if len(command.arguments) > 1:
            return (yield from self._authenticated(text_of(command.arguments[1])))
        self._say(f"+ {self._exchange.first}")
        return ""

    def _authenticated(self, line: str) -> Asking:
        try:
            login = self._credentials(line)
        except sasl.SaslError as failure:
            raise SyntaxFault(str(failure)) from None
        if login is None:
            return ""
        self._login = login
        yield Login(login)
        return "OK welcome"

    # ---- mailboxes: there is one ----

    def _list(self, command: Command) -> Asking:
        yield from ()
        if len(command.arguments) < 2:
            raise SyntaxFault(f"{command.name} takes a reference and a name")
        wanted = text_of(command.arguments[1])
        if not wanted:
            self._say(f'* {command.name} (\\Noselect) "/" ""')
        elif wanted.upper() == "INBOX" or set(wanted) & {"*", "%"}:
            self._say(f'* {command.name} (\\HasNoChildren) "/" INBOX')
        return "OK done"

    def _namespace(self, command: Command) -> Asking:
        yield from ()
        self._say('* NAMESPACE (("" "/")) NIL NIL')
        return "OK done"

    def _status(self, command: Command) -> Asking:
        if not self._is_inbox(command) or len(command.arguments) != 2 or not isinstance(command.arguments[1], list):
            return "NO there is INBOX only"
        mails = cast("list[Caught]", (yield Snapshot()))
        known = {
            "MESSAGES": len(mails),
            "RECENT": 0,
            "UIDNEXT": _next_uid(mails),
            "UIDVALIDITY": self._made,
            "UNSEEN": sum(not mail.seen for mail in mails),
        }
        names = [text_of(name).upper() for name in command.arguments[1]]
        if not set(names) <= set(known):
            raise SyntaxFault(f"STATUS knows {', '.join(known)}")
        self._say(f"* STATUS INBOX ({' '.join(f'{name} {known[name]}' for name in names)})")
        return "OK done"

    def _select(self, command: Command) -> Asking:
        self._mailbox = None
        if not self._is_inbox(command):
            return "NO there is INBOX only"
        mails = cast("list[Caught]", (yield Snapshot()))
        read_only = command.name == "EXAMINE"
        self._mailbox = Mailbox(mails, read_only=read_only)
        self._say(f"* {len(mails)} EXISTS", "* 0 RECENT", f"* FLAGS ({' '.join(FLAGS)})")
        unseen = next((number for number, mail in enumerate(mails, 1) if not mail.seen), None)
        if unseen is not None:
            self._say(f"* OK [UNSEEN {unseen}] the first of them")
        kept = "" if read_only else " ".join(FLAGS)
        self._say(f"* OK [PERMANENTFLAGS ({kept})] kept", f"* OK [UIDVALIDITY {self._made}] ids are valid")
        self._say(f"* OK [UIDNEXT {_next_uid(mails)}] the next id")
        return f"OK [{'READ-ONLY' if read_only else 'READ-WRITE'}] done"

    def _is_inbox(self, command: Command) -> bool:
        return bool(command.arguments) and text_of(command.arguments[0]).upper() == "INBOX"

    def _refused(self, command: Command) -> Asking:
        yield from ()
        return "NO [CANNOT] there is INBOX only, and mail comes into it by SMTP"

    # ---- the mailbox that is open ----

    def _close(self, command: Command) -> Asking:
        mailbox = self._open()
        if command.name == "CLOSE" and not mailbox.read_only:
            yield from mailbox.expunge(None)
            mailbox.out.clear()  # CLOSE tells of none
        self._mailbox = None
        return "OK done"

    def _idle(self, command: Command) -> Asking:
        self.update(cast("list[Caught]", (yield Snapshot())))
        self._say("+ idling")
        self.idling = True
        return ""

    def _uid(self, command: Command) -> Asking:
        """A command by ids."""
        if not command.arguments or not isinstance(command.arguments[0], Atom):
            raise SyntaxFault("UID takes a command")
        inner = command._replace(name=command.arguments[0].upper(), arguments=command.arguments[1:])
        if inner.name not in ("FETCH", "STORE", "SEARCH", "EXPUNGE"):
            raise SyntaxFault("UID goes with FETCH, STORE, SEARCH and EXPUNGE")
        return (yield from self._in_mailbox(inner, by_id=True))

    def _in_mailbox(self, command: Command, *, by_id: bool = False) -> Asking:
        mailbox = self._open()
        arguments = command.arguments
        if command.name == "FETCH":
            asking = mailbox.fetch(arguments, by_id=by_id)
        elif command.name == "STORE":
            asking = mailbox.store(arguments, by_id=by_id)
        elif command.name == "SEARCH":
            asking = mailbox.search(arguments, by_id=by_id)
        else:
            asking = mailbox.expunge(arguments if by_id else None)
        answer: object = None
        # By hand and not by `yield from`: what is said between two questions can be sent before the last of them.
        while True:
            try:
                question = asking.send(answer)
            except StopIteration as end:
                return str(end.value)
            finally:
                self._out += mailbox.out
                mailbox.out.clear()
            answer = yield question

    def _open(self) -> Mailbox:
        assert self._mailbox is not None
        return self._mailbox

    # ---- what is said ----

    def _mistake(self, tag: str, text: str) -> None:
        self._say(f"{tag} BAD {text}")
        if self._mistaken():
            self._say("* BYE too many mistakes")


def _next_uid(mails: Sequence[Caught]) -> int:
    return mails[-1].id + 1 if mails else 1


ALWAYS: dict[str, Callable[[ImapSession, Command], Asking]] = {
    "CAPABILITY": ImapSession._capability,
    "NOOP": ImapSession._noop,
    "LOGOUT": ImapSession._logout,
    "ID": ImapSession._id,
}
BEFORE: dict[str, Callable[[ImapSession, Command], Asking]] = {
    "STARTTLS": ImapSession._starttls,
    "LOGIN": ImapSession._login_,
    "AUTHENTICATE": ImapSession._authenticate,
}
AFTER: dict[str, Callable[[ImapSession, Command], Asking]] = {
    "LIST": ImapSession._list,
    "LSUB": ImapSession._list,
    "NAMESPACE": ImapSession._namespace,
    "STATUS": ImapSession._status,
    "SELECT": ImapSession._select,
    "EXAMINE": ImapSession._select,
    **dict.fromkeys(("APPEND", "CREATE", "DELETE", "RENAME", "SUBSCRIBE", "UNSUBSCRIBE"), ImapSession._refused),
}
SELECTED: dict[str, Callable[[ImapSession, Command], Asking]] = {
    "CHECK": ImapSession._noop,
    "CLOSE": ImapSession._close,
    "UNSELECT": ImapSession._close,
    "EXPUNGE": ImapSession._in_mailbox,
    "IDLE": ImapSession._idle,
    "FETCH": ImapSession._in_mailbox,
    "STORE": ImapSession._in_mailbox,
    "SEARCH": ImapSession._in_mailbox,
    "UID": ImapSession._uid,
    "COPY": ImapSession._refused,
}
COMMAND_BYTES = 65_536
