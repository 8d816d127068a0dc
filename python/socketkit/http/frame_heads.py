"""The heads of HTTP/2's frames (RFC 9113 §4.1), read before `h2` has the frames: no I/O, no clock.

`h2` handles all that one read brought before it tells anything, and waits for the whole of a frame before it looks at
its length: 64 KiB of cheap frames cost it a third of a second, a frame of 16 MB as much memory. Nine bytes tell enough
to stop either. What is in the frames stays `h2`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator


class FrameHead(NamedTuple):
    """What begins here: `content_bytes` are those of the payload, without the padding of DATA."""

    kind: int
    flags: int
    payload_bytes: int
    content_bytes: int

    @property
    def acknowledges(self) -> bool:
        return self.kind in (SETTINGS, PING) and bool(self.flags & ACK)

    @property
    def ends_stream(self) -> bool:
        return self.kind in (DATA, HEADERS) and bool(self.flags & END_STREAM)


class FrameHeads:
    """Walks over what a peer sends, in pieces as they come."""

    def __init__(self, preface: bytes = b"") -> None:
        self._preface = preface
        self._skipped_bytes = 0
        self._part = b""

    def of(self, data: bytes) -> Iterator[FrameHead]:
        """The heads that `data` completes. Behind another preface nothing is a head: `h2` refuses it."""
        if self._preface:
            begun = min(len(self._preface), len(data))
            if data[:begun] != self._preface[:begun]:
                self._skipped_bytes = 1 << 62
            self._preface, data = self._preface[begun:], data[begun:]
        if self._part:
            data, self._part = self._part + data, b""
        at, size = self._skipped_bytes, len(data)
        while at + HEAD_BYTES <= size:
            count, kind, flags = int.from_bytes(data[at : at + 3], "big"), data[at + 3], data[at + 4]
            content = count
            if kind == DATA and flags & PADDED and count:
                if at + HEAD_BYTES == size:
                    break  # how much is padding stands in the next byte
                content = max(count - 1 - data[at + HEAD_BYTES], 0)
            at += HEAD_BYTES + count
            yield FrameHead(kind, flags, count, content)
        if at < size:
            self._part, at = data[at:], size
        self._skipped_bytes = at - size


HEAD_BYTES = 9

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
ACK = END_STREAM = 0x01
PADDED = 0x08
