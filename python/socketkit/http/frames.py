"""WebSocket's frames, by `wsproto`, as ASGI's events: no I/O. Messages are bounded, also those that are deflated."""

from __future__ import annotations

import io
import zlib
from typing import TYPE_CHECKING, Any

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage
from wsproto.events import Message as _Message
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import LocalProtocolError

from .floods import MOST_OF_WEBSOCKET, SMALL_BYTES, Floods

if TYPE_CHECKING:
    from collections.abc import Iterator


class Frames:
    """A server's side of one WebSocket; a message may have `most_bytes`, inflated."""

    def __init__(self, most_bytes: int) -> None:
        self.close_code = 1006
        self.close_reason = ""
        self.fault = ""
        self.flooded = False
        self._most_bytes = most_bytes
        self._deflate: BoundedDeflate | None = None
        self._made: Connection | None = None
        # One buffer: a million fragments of a byte must not be a million objects.
        self._begun: io.StringIO | io.BytesIO | None = None
        self._bytes = 0
        self._floods = Floods(MOST_OF_WEBSOCKET)
        self._out = bytearray()
        self._refused = False

    def accept(self, offers: str) -> str | None:
        """Which of the extensions that were offered is spoken, as the handshake writes it; before anything else."""
        for offer in offers.split(","):
            if offer.split(";")[0].strip().lower() != "permessage-deflate":
                continue
            # The window of the other side is given up after each message: ten thousand idle sockets would keep
            # ten thousand of them.
            deflate = BoundedDeflate(self._most_bytes)
            try:
                accepted = deflate.accept(offer)
            except ValueError:  # a parameter that is no number
                continue
            if isinstance(accepted, str):
                self._deflate = deflate
                return "permessage-deflate" + (f"; {accepted}" if accepted else "")
        return None

    @property
    def _connection(self) -> Connection:
        if self._made is None:
            self._made = Connection(ConnectionType.SERVER, [self._deflate] if self._deflate else [])
        return self._made

    @property
    def closed(self) -> bool:
        """Whether nothing more is to be received."""
        return self._refused or self._connection.state in (ConnectionState.CLOSED, ConnectionState.REMOTE_CLOSING)

    def received(self, data: bytes, now: float = 0.0) -> Iterator[dict[str, Any]]:
        """The messages that `data` completes, at `now`. What must be answered is in `answers` afterwards."""
        if self._refused or self._connection.state is ConnectionState.CLOSED:
            return
        self._connection.receive_data(data)
        for event in self._connection.events():
            if self._floods.passed(kind_of(event), now):
                self.flooded = True
                self._refuse(CloseReason.POLICY_VIOLATION, self._floods.told)
            elif isinstance(event, (TextMessage, BytesMessage)):
                message = self._collected(event)
                if message is not None:
                    yield message
            elif isinstance(event, Ping):
                self._answer_ping(event)
            elif isinstance(event, CloseConnection):
                self._ended(event)
            if self._refused:
                return

    def answers(self) -> bytes:
        """What is owed to the peer since the last call."""
        owed = bytes(self._out)
        self._out.clear()
        return owed

    def message(self, data: bytes | str) -> bytes:
        event: _Message[Any] = TextMessage(data) if isinstance(data, str) else BytesMessage(bytes(data))
        return self._connection.send(event)

    def ping(self) -> bytes:
        return self._connection.send(Ping())

    def close(self, code: int, reason: str) -> bytes:
        """The close frame, once."""
        try:
            return self._connection.send(CloseConnection(code, reason))
        except LocalProtocolError:
            return b""

    def _answer_ping(self, ping: Ping) -> None:
        # Not every ping must have its pong (RFC 6455 §5.5.3): so many cannot fill memory.
        if len(self._out) < MOST_OWED_BYTES and self._connection.state is ConnectionState.OPEN:
            self._out += self._connection.send(Pong(ping.payload))

    def _collected(self, event: TextMessage | BytesMessage) -> dict[str, Any] | None:
        self._bytes += len(event.data)
        if self._bytes > self._most_bytes:
            self._refuse(CloseReason.MESSAGE_TOO_BIG, f"a message is larger than {self._most_bytes} bytes")
            return None
        begun = self._begun
        if not event.message_finished:
            if begun is None:
                begun = self._begun = io.StringIO() if isinstance(event, TextMessage) else io.BytesIO()
            begun.write(event.data)  # type: ignore[arg-type]  # a message is all of one kind
            return None
        whole: Any = event.data
        if begun is not None:
            begun.write(whole)
            whole = begun.getvalue()
        self._begun, self._bytes = None, 0
        if self._deflate is not None:
            self._deflate.inflated = 0
        if isinstance(event, TextMessage):
            return {"type": "websocket.receive", "text": whole}
        return {"type": "websocket.receive", "bytes": bytes(whole)}

    def _ended(self, event: CloseConnection) -> None:
        if self._connection.state is ConnectionState.OPEN:
            # The peer did not close it: what it sent made no sense.
            self._refuse(event.code, event.reason or "frames that are none")
            return
        self.close_code, self.close_reason = int(event.code), event.reason or ""
        if self._connection.state is ConnectionState.REMOTE_CLOSING:
            self._out += self._connection.send(event.response())

    def _refuse(self, code: int, reason: str) -> None:
        self.fault = reason
        self._refused = True
        self.close_code, self.close_reason = int(code), reason
        self._out += self.close(code, reason[:100])


def kind_of(event: Event) -> str | None:
    """What brings no message nearer, or hardly."""
    if isinstance(event, Ping):
        return "pings"
    if isinstance(event, Pong):
        return "pongs"
    if isinstance(event, (TextMessage, BytesMessage)) and not event.message_finished:
        if len(event.data) >= SMALL_BYTES:
            return None
        return "small fragments" if event.data else "empty fragments"
    return None


class BoundedDeflate(PerMessageDeflate):
    """permessage-deflate (RFC 7692) that inflates no more than a message may have."""

    def __init__(self, most_bytes: int) -> None:
        super().__init__(client_no_context_takeover=True, server_no_context_takeover=True)
        self._most_bytes = most_bytes
        self.inflated = 0

    def frame_inbound_payload_data(self, proto: Any, data: bytes) -> bytes | CloseReason:
        if not self._inbound_compressed or not self._inbound_is_compressible:
            return data
        assert self._decompressor is not None
        left = self._most_bytes - self.inflated
        try:
            inflated = self._decompressor.decompress(bytes(data), left + 1)
        except zlib.error:
            return CloseReason.INVALID_FRAME_PAYLOAD_DATA
        self.inflated += len(inflated)
        if self._decompressor.unconsumed_tail or self.inflated > self._most_bytes:
            return CloseReason.MESSAGE_TOO_BIG
        return inflated


MOST_OWED_BYTES = 4096
