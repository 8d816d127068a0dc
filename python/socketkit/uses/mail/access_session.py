"""What the state machines of IMAP and POP3 have in common: bytes in, questions and bytes out, TLS in between, mistakes.

A protocol says where a line ends (`_line`) and what one means (`_take`). Its handlers are generators: one asks by
`yield`, is sent the answer, and until then nothing behind its command is looked at.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol

from .access import StartTls

if TYPE_CHECKING:
    from collections.abc import Generator

    from . import sasl
    from .access import Question

    Asking = Generator[Question, object, None]


class Received(Protocol):
    """What has come and is not used: a bytearray, or what knows more of its lines. It is true while there is any."""

    def extend(self, data: bytes, /) -> None: ...
    def clear(self) -> None: ...
    def __len__(self) -> int: ...


class AccessSession(ABC):
    """One connection: `receive`, `next_event`, `answer`, `output`. `tls`: whether it can begin TLS."""

    def __init__(self, received: Received, *, tls: bool, encrypted: bool) -> None:
        self.encrypted = encrypted
        self.closed = False
        """Nothing more is read: send the output, then close."""
        self.faults: set[str] = set()
        """What the client did that no client should: `injection`, `long_line`, `mistake`."""
        self._received = received
        self._tls = tls
        self._out: list[bytes] = []
        self._asking: Asking | None = None
        self._injecting = False
        self._mistakes = 0
        self._exchange: sasl.Exchange | None = None

    # ---- for the driver ----

    @abstractmethod
    def greet(self) -> None:
        """The first line that a client sees."""

    @abstractmethod
    def close(self, text: str) -> None:
        """End the session with a word to the client."""

    def receive(self, data: bytes) -> None:
        if self._injecting:
            self.faults.add("injection")
        elif not self.closed:
            self._received.extend(data)

    def next_event(self) -> Question | None:
        """The next question; None: send `output()`, and `receive` more unless it is `closed`."""
        while self._asking is None and not self._injecting and not self.closed:
            line = self._line()
            if line is None:
                return None
            question = self._take(line)
            if question is not None:
                return question
        return None

    def answer(self, answer: object) -> Question | None:
        """Answer the last question; the next one of the same command, if it has one."""
        assert self._asking is not None, "nothing was asked"
        return self._go(self._asking, answer)

    @property
    def said_bytes(self) -> int:
        """How much `output` would give."""
        return sum(map(len, self._out))

    def output(self) -> bytes:
        out = b"".join(self._out)
        self._out.clear()
        return out

    def tls_started(self) -> None:
        """The handshake is done; what was known of the client counts no more."""
        self._injecting = False
        self.encrypted = True

    @property
    def inside(self) -> bool:
        """Whether something has begun to come and is not whole."""
        return len(self._received) > 0 and not self.closed

    # ---- for the protocol ----

    @abstractmethod
    def _line(self) -> bytes | None:
        """The next whole line; None when there is none, or when it was refused."""

    @abstractmethod
    def _take(self, line: bytes) -> Question | None:
        """Do what the line says, up to its first question."""

    def _go(self, asking: Asking, answer: object = None) -> Question | None:
        """Let a handler go on, up to its next question."""
        self._asking = None
        try:
            question = asking.send(answer)
        except StopIteration:
            return None
        if isinstance(question, StartTls):
            self._injecting = True
            if self._received:  # who speaks on before the handshake is not heard (RFC 3207 §5)
                self.faults.add("injection")
                self._received.clear()
        else:
            self._asking = asking
        return question

    def _credentials(self, line: str) -> sasl.Login | None:
        """Who it is, as the mechanism was answered; None: it goes on, and has said so. Raises SaslError."""
        exchange, self._exchange = self._exchange, None
        assert exchange is not None, "no mechanism was chosen"
        step = exchange.answer(line)
        if not isinstance(step, str):
            return step
        self._exchange = exchange
        self._say(f"+ {step}")
        return None

    def _say(self, *lines: str) -> None:
        self._out.extend(f"{line}\r\n".encode() for line in lines)

    def _mistaken(self) -> bool:
        """Count a mistake; whether it was one too many, which closes the session."""
        self.faults.add("mistake")
        self._mistakes += 1
        self.closed |= self._mistakes >= MISTAKES
        return self.closed


MISTAKES = 20
