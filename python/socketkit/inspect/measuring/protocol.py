"""What both sides of a bench say to each other, byte for byte: docs/protocols/bench.md. No I/O.

Requests and answers are JSON objects, a line each on a stream and a message each elsewhere. Measured messages and
probes begin with a header of 24 bytes, whose first byte no JSON begins with.
"""

from __future__ import annotations

import json
import os
from struct import Struct, pack
from typing import TYPE_CHECKING, Any

from ...errors import PeerViolation, raisable

if TYPE_CHECKING:
    from collections.abc import Sequence

VERSION = 1
MOST_REQUEST_BYTES = 8192

DATA, PROBE = 1, 2
WARM_UP, MEASURED = 0, 1

HEADER = Struct(">BBHIQQ")
"""Kind, phase, flow, session, number, time of sending in nanoseconds."""
PROBE_BYTES = 64


def encode(words: dict[str, Any]) -> bytes:
    """A request or an answer, with the end of its line."""
    return json.dumps(words, separators=(",", ":")).encode() + b"\n"


def decode(data: bytes) -> dict[str, Any]:
    """What `encode` made; PeerViolation if the other side speaks something else."""
    try:
        words = json.loads(data)
    except (ValueError, RecursionError):  # 8,192 bytes are enough to nest it deeper than the parser goes
        words = None
    if not isinstance(words, dict):
        raise raisable(PeerViolation)(
            "the other side does not speak the bench protocol: run `socketkit serve bench` there"
        )
    return words


def session_number(token: str) -> int:
    """How a session is called in a header, which has no room for its token."""
    return int(token, 16) & 0xFFFFFFFF


class Batch:
    """Messages of one flow in one piece of memory, made once: numbers and times are written into it for each batch.

    Eight writes for all numbers together, each of one byte of every message: nothing is done per message.
    """

    def __init__(self, session: int, flow: int, message_bytes: int) -> None:
        self.most = max(1, min(MOST_MESSAGES, MOST_BYTES // message_bytes))
        self._stride = message_bytes
        self._memory = bytearray(os.urandom(message_bytes) * self.most)
        view = memoryview(self._memory)
        self._messages = [view[at : at + message_bytes] for at in range(0, len(view), message_bytes)]
        for message in self._messages:
            HEADER.pack_into(message, 0, DATA, WARM_UP, flow, session, 0, 0)

    def stamped(self, number: int, count: int, phase: int, now_ns: int) -> Sequence[memoryview]:
        """Messages `number`, `number + 1`, ..., of this phase, sent now. Valid until the next call."""
        memory, stride, end = self._memory, self._stride, count * self._stride
        numbers = pack(f">{count}Q", *range(number, number + count))
        times = now_ns.to_bytes(8, "big")
        memory[1:end:stride] = bytes((phase,)) * count
        for column in range(8):
            memory[NUMBER_AT + column : end : stride] = numbers[column::8]
            memory[TIME_AT + column : end : stride] = times[column : column + 1] * count
        return self._messages if count == self.most else self._messages[:count]


NUMBER_AT, TIME_AT = 8, 16
MOST_MESSAGES = 64
MOST_BYTES = 1_048_576
