"""Commands of IMAP out of a stream of bytes: a line, or several with literals between them (RFC 3501 §4.3)."""

from __future__ import annotations

from .imap_syntax import literal


class TooLong(ValueError):
    """The command is longer than anybody's need."""


class Lines:
    """Collects bytes; `next` gives whole commands. `asked`: so many literals wait until the client is told to go on."""

    def __init__(self, most_bytes: int) -> None:
        self.asked = 0
        self._most_bytes = most_bytes
        self._buffer = bytearray()
        self._start = 0
        """Where the line begins that is looked at: behind the last literal."""
        self._searched = 0
        self._literal_end = 0

    def extend(self, data: bytes, /) -> None:
        self._buffer += data

    def clear(self) -> None:
        self._buffer.clear()
        self._start = self._searched = self._literal_end = 0

    def __len__(self) -> int:
        return len(self._buffer)

    def next(self) -> bytes | None:
        """The next command without its end, its literals in it; None if it is not whole. Raises TooLong."""
        buffer = self._buffer
        while True:
            if self._literal_end:
                if len(buffer) < self._literal_end:
                    return None
                self._start = self._searched = self._literal_end
                self._literal_end = 0
            end = buffer.find(b"\r\n", self._searched)
            if (len(buffer) if end < 0 else end) > self._most_bytes:
                raise TooLong
            if end < 0:
                self._searched = max(self._start, len(buffer) - 1)
                return None
            announced = literal(bytes(buffer[self._start : end]))
            if announced is None:
                line = bytes(buffer[:end])
                del buffer[: end + 2]
                self._start = self._searched = 0
                return line
            count, waits = announced
            self.asked += waits
            self._literal_end = end + 2 + count
            if self._literal_end > self._most_bytes:
                raise TooLong
