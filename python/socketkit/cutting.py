"""Bytes cut into messages, and messages put into bytes: for where one of two sides keeps borders and one does not.

`Lines`: a message is a line, without its end. `Lengths`: a message comes behind its length, a big-endian u32. `Whole`:
everything up to the end is one message. None does I/O, and none keeps more than one message that is not whole yet.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from struct import Struct
from typing import TYPE_CHECKING

from .errors import MessageTooLarge, PeerViolation

if TYPE_CHECKING:
    from collections.abc import Sequence


class Cut(ABC):
    """One way to cut, for one direction each.

    `fault`: why nothing more can be cut. The messages before it are given out first, so whoever feeds sends these and
    raises then.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._rest = bytearray()
        self.fault: ValueError | None = None

    @abstractmethod
    def feed(self, chunk: bytes) -> list[bytes]:
        """The messages that are whole by now."""

    @abstractmethod
    def end(self) -> list[bytes]:
        """No more bytes will come: what is left, if that is a message."""

    @abstractmethod
    def joined(self, messages: Sequence[bytes]) -> bytes:
        """The bytes of these messages."""

    def keeps(self, message: bytes) -> bool:
        """Whether who cuts the bytes of this message gets it back as one."""
        return True

    def _refuse(self, count: int, *, more: bool = False) -> None:
        self._rest.clear()
        over = f"more than {self._max_bytes:,} bytes" if more else f"{count:,} bytes, more than {self._max_bytes:,}"
        self.fault = MessageTooLarge(f"a message of {over}, which is the most that can be sent in one", self._max_bytes)


class Lines(Cut):
    """A message is a line, its end (LF) left out; a message that ends with one already gets no second one."""

    def feed(self, chunk: bytes) -> list[bytes]:
        if self.fault is not None:
            return []
        *lines, rest = chunk.split(b"\n")
        if lines and self._rest:
            lines[0] = bytes(self._rest) + lines[0]
            self._rest.clear()
        for number, line in enumerate(lines):
            if len(line) > self._max_bytes:
                self._refuse(len(line))
                return lines[:number]
        self._rest += rest
        if len(self._rest) > self._max_bytes:
            self._refuse(len(self._rest), more=True)
        return lines

    def end(self) -> list[bytes]:
        line, self._rest = bytes(self._rest), bytearray()
        return [line] if line else []

    def joined(self, messages: Sequence[bytes]) -> bytes:
        return b"".join(message if message.endswith(b"\n") else message + b"\n" for message in messages)

    def keeps(self, message: bytes) -> bool:
        return b"\n" not in message[:-1]


class Lengths(Cut):
    """Each message with its length in front, a big-endian u32."""

    def feed(self, chunk: bytes) -> list[bytes]:
        if self.fault is not None:
            return []
        messages: list[bytes] = []
        rest = self._rest
        rest += chunk
        at = 0
        while len(rest) - at >= LENGTH.size:
            (count,) = LENGTH.unpack_from(rest, at)
            if count > self._max_bytes:
                self._refuse(count)
                return messages
            if len(rest) - at - LENGTH.size < count:
                break
            at += LENGTH.size
            messages.append(bytes(rest[at : at + count]))
            at += count
        del rest[:at]
        return messages

    def end(self) -> list[bytes]:
        if self._rest and self.fault is None:
            self.fault = PeerViolation(f"it ends inside a message, after {len(self._rest):,} bytes of it")
        self._rest.clear()
        return []

    def joined(self, messages: Sequence[bytes]) -> bytes:
        return b"".join(part for message in messages for part in (LENGTH.pack(len(message)), message))


class Whole(Cut):
    """All bytes up to the end are one message; messages are put one behind the other."""

    def feed(self, chunk: bytes) -> list[bytes]:
        if self.fault is None:
            self._rest += chunk
            if len(self._rest) > self._max_bytes:
                self._refuse(len(self._rest), more=True)
        return []

    def end(self) -> list[bytes]:
        message, self._rest = bytes(self._rest), bytearray()
        return [] if self.fault is not None else [message]

    def joined(self, messages: Sequence[bytes]) -> bytes:
        return b"".join(messages)


CUTS: dict[str, type[Cut]] = {"lines": Lines, "lengths": Lengths, "whole": Whole}
RELAYED_CUTS = ("lines", "lengths")
"""Those under which a stream carries more than one message."""

LENGTH = Struct(">I")
