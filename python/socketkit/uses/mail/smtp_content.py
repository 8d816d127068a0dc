"""The bytes of one mail on its way in: where they end, and that they are not too many; without I/O.

`Dotted` is what stands behind DATA (RFC 5321 §4.5.2), `Counted` what stands behind BDAT (RFC 3030). A mail over the
bound is not kept, and listened to until its end, so that the client hears why; one that goes on for several times the
bound is `hopeless`.
"""

from __future__ import annotations


class Content:
    """What both share. `too_large`: nothing was kept."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.content = b""
        self.dropped = 0

    @property
    def too_large(self) -> bool:
        return self.dropped > 0

    @property
    def hopeless(self) -> bool:
        return self.dropped > DROPPED_TIMES * self.most_bytes


class Dotted(Content):
    """Ends with CRLF . CRLF, and in no other way. The bound counts the bytes as they were sent."""

    def __init__(self, most_bytes: int) -> None:
        super().__init__(most_bytes)
        self._searched = 0

    def take(self, buffer: bytearray) -> bool:
        """Take what is there of the mail out of `buffer`; whether it is whole now."""
        if not self.dropped and buffer.startswith(EMPTY):  # the line break before the dot was that of DATA
            del buffer[:3]
            return True
        searched = self._searched
        end = buffer.find(END, searched - len(END) + 1 if searched >= len(END) else 0)
        if end < 0:
            self._searched = len(buffer)
            if len(buffer) > self.most_bytes + len(END):
                self._drop(buffer, len(buffer) - len(END) + 1)
            return False
        if self.dropped or end + 2 > self.most_bytes:
            self._drop(buffer, end + 2)
            del buffer[:3]
            return True
        if len(buffer) == end + len(END):  # nothing behind it: one copy less
            del buffer[end + 2 :]
            content = bytes(buffer)
            buffer.clear()
        else:
            content = bytes(buffer[: end + 2])
            del buffer[: end + len(END)]
        if content.startswith(b"."):
            content = content[1:]
        self.content = content.replace(b"\r\n.", b"\r\n") if b"\r\n." in content else content
        return True

    def _drop(self, buffer: bytearray, count: int) -> None:
        self.dropped += count
        self._searched = 0
        del buffer[:count]


class Counted(Content):
    """So many bytes, and more with each further BDAT, as they are."""

    def __init__(self, most_bytes: int) -> None:
        super().__init__(most_bytes)
        self.remaining = 0
        self._kept = bytearray()

    @property
    def held_bytes(self) -> int:
        return len(self._kept)

    def expect(self, count: int) -> None:
        """A chunk of so many bytes begins."""
        self.remaining = count
        if self.dropped + count > DROPPED_TIMES * self.most_bytes:
            self.dropped += count  # refused on its number, before it comes

    def take(self, buffer: bytearray) -> bool:
        """As `Dotted.take`; whole is the chunk."""
        count = min(len(buffer), self.remaining)
        self.remaining -= count
        if self.dropped or len(self._kept) + count > self.most_bytes:
            self.dropped += count + len(self._kept)
            self._kept.clear()
        else:
            self._kept += buffer[:count]
        del buffer[:count]
        if self.remaining == 0:
            self.content = bytes(self._kept)
        return self.remaining == 0


def has_bare_newline(content: bytes) -> bool:
    """Whether a CR or an LF stands alone."""
    # In one pass: what is left without all other bytes must be pairs.
    ends = content.translate(None, ALL_OTHERS)
    return ends != b"\r\n" * (len(ends) // 2)


END = b"\r\n.\r\n"
EMPTY = b".\r\n"
ALL_OTHERS = bytes(set(range(256)) - set(b"\r\n"))
DROPPED_TIMES = 4
