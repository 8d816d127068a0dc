"""One connection of HTTP/2, by `h2`: its requests run side by side, each in a task that the connection owns.

What a peer can make us do or keep is bounded: `floods` says how often, `h2`'s settings how much. Frames are looked at
by their heads before `h2` works on them.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
from hpack.exceptions import HPACKError
from hyperframe.frame import GoAwayFrame

from ..errors import ClosedConnection, EndOfStream, SocketError
from .conversation import part
from .floods import MOST_OF_HTTP2, UPDATES_OF_REQUEST, Floods, kind_of, kind_of_answer
from .frame_heads import SETTINGS, FrameHeads
from .multiplexed_request import Request
from .scopes import scope_template

if TYPE_CHECKING:
    from ..connection import Stream
    from .frame_heads import FrameHead
    from .service import Service


async def converse_multiplexed(service: Service, stream: Stream) -> None:
    """Serve requests until either side has had enough."""
    connection = Multiplexed(service, stream)
    service._conversing.add(connection)
    try:
        await connection.run()
    finally:
        service._conversing.discard(connection)


class Multiplexed:
    """The state machine of `h2`, the stream below it, and the requests above."""

    def __init__(self, service: Service, stream: Stream) -> None:
        self.service = service
        self.stream = stream
        self.template = scope_template(service, stream)
        # The fields of answers are checked by `multiplexed_request.checked`; once is enough.
        config = h2.config.H2Configuration(client_side=False, header_encoding=None, validate_outbound_headers=False)
        self.h2 = h2.connection.H2Connection(config)
        self.h2.local_settings = h2.settings.Settings(
            client=False,
            initial_values={
                h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: MOST_STREAMS,
                h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE: HEADER_LIST_BYTES,
                h2.settings.SettingCodes.ENABLE_PUSH: 0,
            },
        )
        self.h2.decoder.max_header_list_size = HEADER_LIST_BYTES
        self._requests: dict[int, Request] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.floods = Floods(MOST_OF_HTTP2)
        self._heads = FrameHeads(PREFACE)
        self._begun = False
        self._out = bytearray()
        self._writing = asyncio.Lock()
        self._stopping = False
        self._silent = 0
        self._idle_looks = 0

    async def run(self) -> None:
        try:
            self.h2.initiate_connection()
            self.h2.increment_flow_control_window(CONNECTION_WINDOW - self.h2.inbound_flow_control_window)
            await self.flush()
            if self.service._stopping:
                self._stop_requests()
            await self._read()
        except ClosedConnection:
            if not self._stopping:
                raise
        finally:
            await self._end()

    async def flush(self) -> None:
        """Send what the state machine has to say. Cancelled: it stays for whoever flushes next."""
        self._out += self.h2.data_to_send()
        if not self._out:
            return
        if len(self._tasks) > 1:
            # Other requests of this turn have something to say as well: one record and one call for all of it.
            await asyncio.sleep(0)
        async with self._writing:
            if not self._out:
                return
            taken = bytes(self._out)
            await self.stream.send(taken)
            del self._out[: len(taken)]

    def forget(self, number: int) -> None:
        """A request has its answer."""
        self._requests.pop(number, None)

    # --- reading

    async def _read(self) -> None:
        """Until the peer ends, breaks the rules, or is silent for too long."""
        clock = asyncio.get_running_loop().time
        look_at = clock() + LOOK_SECONDS
        while not self._stopping or self._tasks:
            try:
                async with asyncio.timeout_at(look_at):
                    data = await self.stream.receive(READ_BYTES)
            except (EndOfStream, SocketError):
                # Clients leave as they like, most of them without TLS's goodbye; what they had asked for hears of it.
                return
            except TimeoutError:
                self._silent += 1
            else:
                self._silent = 0
                if not await self._take(data):
                    return
            if clock() >= look_at:
                if not await self._look():
                    return
                look_at = clock() + LOOK_SECONDS

    async def _take(self, data: bytes) -> bool:
        """Handle what came; whether the connection goes on."""
        now = asyncio.get_running_loop().time()
        count = 0
        for head in self._heads.of(data):
            count += 1
            if fault := self._fault_of(head, now):
                await self._leave(*fault)
                return False
        # `h2` takes 0.2 ms for a request: other connections have their turns between them.
        step = len(data) if count <= FRAMES_AT_ONCE else len(data) * FRAMES_AT_ONCE // count
        for at in range(0, len(data), step):
            if at:
                await asyncio.sleep(0)
            if not await self._take_piece(data[at : at + step], now):
                return False
        return True

    async def _take_piece(self, data: bytes, now: float) -> bool:
        try:
            events = self.h2.receive_data(data)
            if self._answers_too_often(now):
                await self._leave(h2.errors.ErrorCodes.ENHANCE_YOUR_CALM, self.floods.told)
                return False
            for event in events:
                if isinstance(event, h2.events.ConnectionTerminated):
                    await self.flush()
                    return False
                self._handle(event)
        except h2.exceptions.ProtocolError as failure:
            self._name_fault(failure)
            _logger.info("%s broke the rules of HTTP/2: %s", self.stream.peer.endpoint, failure)
            await self.flush()
            await part(self.stream)
            return False
        await self.flush()
        return True

    def _fault_of(self, head: FrameHead, now: float) -> tuple[h2.errors.ErrorCodes, str] | None:
        """What is wrong by the head of a frame alone."""
        if head.payload_bytes > self.h2.max_inbound_frame_size:
            return h2.errors.ErrorCodes.FRAME_SIZE_ERROR, f"a frame of {head.payload_bytes} bytes"
        if head.kind == SETTINGS and head.acknowledges and head.payload_bytes:
            return h2.errors.ErrorCodes.FRAME_SIZE_ERROR, "an acknowledgement of settings that has some"
        if not self._begun and (head.kind != SETTINGS or head.acknowledges):
            return h2.errors.ErrorCodes.PROTOCOL_ERROR, "the first frame must have the settings"
        self._begun = True
        if self.floods.passed(kind_of(head), now):
            return h2.errors.ErrorCodes.ENHANCE_YOUR_CALM, self.floods.told
        return None

    def _name_fault(self, failure: h2.exceptions.ProtocolError) -> None:
        """`h2` has written the GOAWAY, but has the same code for compression that went wrong (RFC 9113 §4.3)."""
        farewell = self.h2.data_to_send()
        if isinstance(failure.__cause__, HPACKError) and failure.error_code == h2.errors.ErrorCodes.PROTOCOL_ERROR:
            frame = GoAwayFrame(0, self.h2.highest_inbound_stream_id, h2.errors.ErrorCodes.COMPRESSION_ERROR)
            named = frame.serialize()
            farewell = farewell[: -len(named)] + named
        self._out += farewell

    def _answers_too_often(self, now: float) -> bool:
        """Take over what `h2` answers by itself; whether the peer makes it do so for nothing."""
        answers = self.h2.data_to_send()
        self._out += answers
        return bool(answers) and any(self.floods.passed(kind_of_answer(head), now) for head in FrameHeads().of(answers))

    async def _look(self) -> bool:
        """Time has passed: whether the connection goes on."""
        limits = self.service._limits
        if not self._requests:
            self._idle_looks += 1
            if self._idle_looks * LOOK_SECONDS < limits.idle_seconds:
                return True
            await self._leave(h2.errors.ErrorCodes.NO_ERROR, "no request for a while")
            return False
        self._idle_looks = 0
        for request in list(self._requests.values()):
            request.look(limits)
        # While a request runs the peer waits for us; he must only be there.
        if self._silent > SILENT_LOOKS:
            await self._leave(h2.errors.ErrorCodes.NO_ERROR, "no answer to a ping")
            return False
        self.h2.ping(b"socketkt")
        await self.flush()
        return True

    def _handle(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RequestReceived():
                self._begin(event)
            case h2.events.DataReceived():
                request = self._requests.get(event.stream_id)
                if request is None:
                    self.acknowledge(event.flow_controlled_length, event.stream_id)
                else:
                    request.data(event.data, event.flow_controlled_length)
            case h2.events.StreamEnded():
                if request := self._requests.get(event.stream_id):
                    request.ended()
            case h2.events.StreamReset():
                if request := self._requests.pop(event.stream_id, None):
                    request.gone()
            case h2.events.WindowUpdated(stream_id=number) if number:
                if request := self._requests.get(number):
                    request.window.set()
            case h2.events.WindowUpdated() | h2.events.RemoteSettingsChanged():
                for request in self._requests.values():
                    request.window.set()
            case _:
                pass

    def _begin(self, event: h2.events.RequestReceived) -> None:
        # Tasks, not streams: a stream that is reset is gone at once, what it had begun is not (CVE-2023-44487).
        if len(self._tasks) >= MOST_STREAMS or self._stopping:
            self.reset(event.stream_id, h2.errors.ErrorCodes.REFUSED_STREAM)
            return
        self._idle_looks = 0
        self.floods.excuse("window updates", UPDATES_OF_REQUEST)
        request = Request(self, event.stream_id, event.headers, whole=event.stream_ended is not None)
        self._requests[event.stream_id] = request
        task = asyncio.create_task(request.run())
        request.task = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def acknowledge(self, count: int, number: int) -> None:
        """The peer may send as much again."""
        if count:
            with suppress(h2.exceptions.ProtocolError):  # the connection is over
                self.h2.acknowledge_received_data(count, number)

    def reset(self, number: int, code: h2.errors.ErrorCodes) -> None:
        """End a stream, if it is not over."""
        with suppress(h2.exceptions.ProtocolError):
            self.h2.reset_stream(number, code)

    # --- ending

    def _stop_requests(self) -> None:
        """Announce the end; what runs is finished."""
        if self._stopping:
            return
        self._stopping = True
        # By hand: after `close_connection` the state machine would send nothing more of the running answers.
        frame = GoAwayFrame(0, last_stream_id=self.h2.highest_inbound_stream_id)
        self._out += self.h2.data_to_send() + frame.serialize()
        self._goodbye = asyncio.create_task(self._finish())

    async def _finish(self) -> None:
        try:
            await self.flush()
            while self._tasks:
                await asyncio.wait(self._tasks)
        except (SocketError, ClosedConnection):
            return  # the peer was faster, which whoever reads finds as well
        finally:
            await self.stream.aclose()

    async def _leave(self, code: h2.errors.ErrorCodes, words: str) -> None:
        _logger.info("%s: the connection is ended: %s", self.stream.peer.endpoint, words)
        if code == h2.errors.ErrorCodes.ENHANCE_YOUR_CALM:
            self.stream.penalise()
        self.h2.close_connection(code, words.encode())
        await self.flush()
        await part(self.stream)

    async def _end(self) -> None:
        """No task outlives the connection: each is told of its end, and cancelled where it does not end by that."""
        for request in list(self._requests.values()):
            request.gone()
        try:
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=self.service._limits.grace_seconds)
        finally:
            for task in list(self._tasks):
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks)
        if self._stopping:
            await asyncio.wait([self._goodbye])


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
READ_BYTES = 65_536
FRAMES_AT_ONCE = 32
CONNECTION_WINDOW = 1 << 20
MOST_STREAMS = 100
HEADER_LIST_BYTES = 32_768
LOOK_SECONDS = 10.0
SILENT_LOOKS = 3

_logger = logging.getLogger("socketkit")
