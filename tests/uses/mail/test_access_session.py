"""What IMAP and POP3 have in common, seen with a protocol that has three commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from socketkit.uses.mail import sasl
from socketkit.uses.mail.access import Content, Question, StartTls
from socketkit.uses.mail.access_session import MISTAKES, AccessSession

if TYPE_CHECKING:
    from socketkit.uses.mail.access_session import Asking


class Plain(AccessSession):
    """`GET` asks twice, `TLS` begins it, `LOG` chooses a mechanism; all else is a mistake."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        super().__init__(self._buffer, tls=True, encrypted=False)
        self.logins: list[sasl.Login] = []

    def greet(self) -> None:
        self._say("hello")

    def close(self, text: str) -> None:
        self._say(text)
        self.closed = True

    def _line(self) -> bytes | None:
        line, end, rest = self._buffer.partition(b"\n")
        if not end:
            return None
        self._buffer[:] = rest
        return bytes(line)

    def _take(self, line: bytes) -> Question | None:
        if self._exchange is not None:
            login = self._credentials(line.decode())
            self.logins += [login] if login else []
        elif line == b"GET":
            return self._go(self._get())
        elif line == b"TLS":
            return self._go(self._begin())
        elif line == b"LOG":
            self._exchange = sasl.Exchange("LOGIN")
        elif self._mistaken():
            self._say("goodbye")
        return None

    def _get(self) -> Asking:
        for number in (1, 2):
            self._say(f"{number} is {(yield Content(number))!r}")

    def _begin(self) -> Asking:
        yield StartTls()


def test_nothing_behind_a_question_is_looked_at() -> None:
    session = Plain()
    session.greet()
    session.receive(b"GET\nGET\nG")
    assert session.next_event() == Content(1)
    assert session.next_event() is None
    assert session.answer(b"a") == Content(2)
    assert session.answer(None) is None
    assert session.said_bytes == len(b"hello\r\n1 is b'a'\r\n2 is None\r\n")
    assert session.output() == b"hello\r\n1 is b'a'\r\n2 is None\r\n"
    assert (session.output(), session.said_bytes) == (b"", 0)
    assert session.next_event() == Content(1)
    assert session.inside  # half a command


def test_what_came_before_the_handshake_is_dropped() -> None:
    session = Plain()
    session.receive(b"TLS\nGET\n")
    assert session.next_event() == StartTls()
    session.receive(b"GET\n")
    assert session.next_event() is None
    session.tls_started()
    assert (session.encrypted, session.faults, session.inside) == (True, {"injection"}, False)
    assert session.next_event() is None
    session.receive(b"GET\n")
    assert session.next_event() == Content(1)


def test_mistakes_are_counted() -> None:
    session = Plain()
    session.receive(b"?\n" * (MISTAKES - 1))
    assert (session.next_event(), session.closed, session.output()) == (None, False, b"")
    session.receive(b"?\nGET\n")
    assert (session.next_event(), session.closed, session.inside, session.output()) == (
        None,
        True,
        False,
        b"goodbye\r\n",
    )
    session.receive(b"GET\n")
    assert (session.next_event(), session.faults) == (None, {"mistake"})


def test_a_login_in_two_steps() -> None:
    session = Plain()
    session.receive(b"LOG\nYW5u\nc2VjcmV0\n")
    assert session.next_event() is None
    assert session.logins == [sasl.Login("LOGIN", "ann")]
    assert session.output().startswith(b"+ ")


def test_a_login_that_is_none_is_forgotten() -> None:
    session = Plain()
    session.receive(b"LOG\n*\nGET\n")
    with pytest.raises(sasl.SaslError):
        session.next_event()
    assert session.next_event() == Content(1)
