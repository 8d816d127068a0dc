"""One request of HTTP/2 and its answer, as ASGI sees them."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

import h2.errors
import h2.exceptions

from .. import _core
from ..errors import BrokenConnection, ClosedConnection, SocketError, raisable
from .access import Access
from .floods import BYTES_OF_UPDATE
from .scopes import target_of, told

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..limits import Limits
    from .multiplexed import Multiplexed


class Request:
    """Runs the application in the task that `Multiplexed` made for it; the peer's frames come by the other methods."""

    def __init__(
        self, connection: Multiplexed, number: int, headers: Iterable[tuple[bytes, bytes]], *, whole: bool
    ) -> None:
        self.window = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self._connection = connection
        self._number = number
        self._scope, self._fault = scope_of(connection.template, headers, whole=whole)
        self._chunks: deque[tuple[bytes, int]] = deque()
        self._news = asyncio.Event()
        self._whole = False
        self._gone = False
        self._received_bytes = 0
        self._told_end = False
        self._start: tuple[int, list[tuple[bytes, bytes]]] | None = None
        self._begun = False
        self._ended = False
        self._left: int | None = None
        self._too_large = False
        self._waits_for_body = False
        self._looked_bytes = 0
        self._slow = 0
        self._blocked_since: float | None = None
        self._data_bytes = 0
        self._blocked_at_bytes = 0
        self.status = 0
        self.sent_bytes = 0

    async def run(self) -> None:
        with suppress(
            SocketError, ClosedConnection, h2.exceptions.ProtocolError
        ):  # it ends while this still has a word
            await self._run()

    async def _run(self) -> None:
        connection, scope = self._connection, self._scope
        service = connection.service
        began = time.monotonic()
        if "state" in scope:
            scope["state"] = scope["state"].copy()
        try:
            if self._fault:
                await self._say(400, self._fault)
            else:
                await service._app(scope, self.receive, self.send)
                if not self._ended and not self._gone:
                    if not self._too_large:
                        _logger.error("%s: the application ended without a whole answer", self._told())
                    await self._mend()
        except (SocketError, ClosedConnection, h2.exceptions.ProtocolError) as failure:
            if not self._gone:
                _logger.info("%s: %s", self._told(), failure)
                self._reset(h2.errors.ErrorCodes.INTERNAL_ERROR)
        except Exception as failure:
            if not self._gone:
                _logger.error("%s: the application failed", self._told(), exc_info=failure)
                await self._mend()
        finally:
            self._release()
            connection.forget(self._number)
            if service._access is not None:
                seconds, peer = time.monotonic() - began, connection.stream.peer
                method, target = scope["method"], target_of(scope)
                service._access(Access(peer, method, target, self.status, self.sent_bytes, seconds, "2"))
        if not self._whole and not self._gone:
            # Nobody reads the rest (RFC 9113 §8.1).
            self._reset(h2.errors.ErrorCodes.NO_ERROR)
        await self._flush()

    # --- what the application calls

    async def receive(self) -> dict[str, Any]:
        while not self._chunks:
            if self._gone or self._too_large or (self._told_end and self._ended):
                return {"type": "http.disconnect"}
            if self._whole and not self._told_end:
                self._told_end = True
                return {"type": "http.request", "body": b"", "more_body": False}
            self._waits_for_body = not self._whole
            self._news.clear()
            await self._news.wait()
            self._waits_for_body = False
        body, owed = self._chunks.popleft()
        self._connection.acknowledge(owed, self._number)
        with suppress(SocketError, ClosedConnection):  # what came has come, and the next event tells of the end
            await self._flush()
        more = not self._whole or bool(self._chunks)
        self._told_end = not more
        return {"type": "http.request", "body": body, "more_body": more}

    async def send(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "http.response.start":
                if self._start is not None:
                    raise RuntimeError("the answer has started before")
                headers = checked(event.get("headers") or ())
                self.status = status = int(event["status"])
                self._left = length_of(headers) if has_body(status, self._scope["method"]) else None
                self._start = status, headers
            case "http.response.body":
                await self._send_body(event.get("body", b""), bool(event.get("more_body", False)))
            case other:
                raise ValueError(f"{other!r} is no event that a server takes here")

    async def _send_body(self, body: bytes, more: bool) -> None:
        if self._start is None or self._ended:
            raise RuntimeError("the answer has ended before" if self._ended else "http.response.start comes first")
        if self._gone:
            raise raisable(BrokenConnection)("send", self._connection.stream.peer.endpoint, "the request was reset")
        status, headers = self._start
        carries = has_body(status, self._scope["method"])
        if body and not carries and self._scope["method"] != "HEAD":
            raise RuntimeError(f"an answer with status {status} has no body")
        if self._left is not None:
            self._left -= len(body)
            if self._left < 0 or (self._left and not more):
                raise RuntimeError("the body does not have the length that content-length says")
        if not self._begun:
            self._begun = True
            if not more and carries and self._left is None and length_of(headers) is None:
                headers.append((b"content-length", str(len(body)).encode()))
            if not any(name == b"date" for name, _ in headers):
                headers.append((b"date", _core.http_date()))
            first = [(b":status", str(status).encode()), *headers]
            self._connection.h2.send_headers(self._number, first, end_stream=not more and not (body and carries))
            if not more and not (body and carries):
                self._end()
        if carries and body:
            await self._send_data(body, more)
            self.sent_bytes += len(body)
        elif not more and not self._ended:
            self._connection.h2.end_stream(self._number)
            self._end()
        await self._flush()

    async def _send_data(self, body: bytes, more: bool) -> None:
        machine, left, unsent = self._connection.h2, memoryview(body), 0
        while left:
            if self._gone:
                raise raisable(BrokenConnection)("send", self._connection.stream.peer.endpoint, "the request was reset")
            self.window.clear()  # before the look: what opens while this waits for something else must not be missed
            room = min(machine.local_flow_control_window(self._number), machine.max_outbound_frame_size, len(left))
            if room <= 0:
                await self._flush()
                await self._wait_for_window()
                continue
            last = not more and room == len(left)
            machine.send_data(self._number, bytes(left[:room]), end_stream=last)
            self._connection.floods.excuse("window updates", room // BYTES_OF_UPDATE)
            self._data_bytes += room
            left = left[room:]
            if last:
                self._end()
            unsent += room
            if unsent >= SEND_BYTES:
                unsent = 0
                await self._flush()
        self._blocked_since = None

    async def _wait_for_window(self) -> None:
        if self._blocked_since is None:
            self._blocked_since, self._blocked_at_bytes = time.monotonic(), self._data_bytes
        await self.window.wait()

    # --- what the peer does

    def data(self, data: bytes, owed: int) -> None:
        self._received_bytes += len(data)
        if self._received_bytes > self._connection.service._body_bytes:
            self._too_large = True
            self._connection.acknowledge(owed, self._number)
        elif data:
            self._chunks.append((data, owed))
        else:
            self._connection.acknowledge(owed, self._number)
        self._news.set()

    def ended(self) -> None:
        self._whole = True
        self._news.set()

    def gone(self) -> None:
        """The peer has reset it, or the connection has ended."""
        self._gone = True
        self._release()
        self._news.set()
        self.window.set()

    def look(self, limits: Limits) -> None:
        """Whether the peer does his part: a body that comes, a window that opens."""
        late = self._is_blocked(limits)
        came = self._received_bytes - self._looked_bytes
        self._looked_bytes = self._received_bytes
        # The time between two looks is about the window of the limit.
        slow = self._waits_for_body and came < limits.slowest_bytes_per_second * limits.slow_window_seconds
        self._slow = self._slow + 1 if slow else 0
        if late or self._slow >= SLOW_LOOKS:
            self._reset(h2.errors.ErrorCodes.CANCEL)
            self.gone()

    def _is_blocked(self, limits: Limits) -> bool:
        """Whether the window has stayed closed, or opens byte by byte (CVE-2019-9511)."""
        now = time.monotonic()
        if self._blocked_since is None or now - self._blocked_since < limits.write_stalled_seconds:
            return False
        taken = self._data_bytes - self._blocked_at_bytes
        if taken < limits.slowest_bytes_per_second * limits.write_stalled_seconds:
            return True
        self._blocked_since, self._blocked_at_bytes = now, self._data_bytes
        return False

    # --- ends

    async def _mend(self) -> None:
        """The application ended without a whole answer."""
        if self._begun:
            self._reset(h2.errors.ErrorCodes.INTERNAL_ERROR)
        elif self._too_large:
            await self._say(413, "the body is larger than what is taken here")
        else:
            await self._say(500, "Internal Server Error")

    async def _say(self, status: int, words: str) -> None:
        self._start, self._ended, self._left = None, False, None
        await self.send(
            {"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]}
        )
        await self.send({"type": "http.response.body", "body": words.encode() + b"\n"})

    def _end(self) -> None:
        self._ended = True
        self._news.set()

    def _reset(self, code: h2.errors.ErrorCodes) -> None:
        self._connection.reset(self._number, code)

    def _release(self) -> None:
        """Give the connection's window back for what nobody will read."""
        while self._chunks:
            self._connection.acknowledge(self._chunks.popleft()[1], self._number)

    async def _flush(self) -> None:
        await self._connection.flush()

    def _told(self) -> str:
        return told(self._connection.stream, self._scope)


def scope_of(
    template: dict[str, Any], headers: Iterable[tuple[bytes, bytes]], *, whole: bool = False
) -> tuple[dict[str, Any], str]:
    """The scope of a request, and what is wrong with it, if anything is (RFC 9113 §8.3). `whole`: no body comes."""
    pseudo: dict[bytes, bytes] = {}
    fields: list[tuple[bytes, bytes]] = []
    cookies: list[bytes] = []
    hosts: list[bytes] = []
    lengths: list[bytes] = []
    for name, value in headers:
        if name[:1] == b":":
            pseudo[name] = value
        elif name == b"cookie":
            cookies.append(value)
        elif name == b"host":
            hosts.append(value)
        else:
            fields.append((name, value))
            if name == b"content-length":
                lengths.append(value)
    if cookies:
        fields.append((b"cookie", b"; ".join(cookies)))
    authority = pseudo.get(b":authority")
    fault = ""
    if authority is not None:
        if any(host.lower() != authority.lower() for host in hosts):
            fault = ":authority and Host name different hosts"
        hosts = [authority]
    elif len(hosts) != 1:
        fault = "there must be one :authority, or one Host"
    if not fault and not _HOST.fullmatch(hosts[0]):
        fault = "the host is none"
    fields[:0] = [(b"host", host) for host in hosts]
    if pseudo.get(b":scheme") not in (b"https", b"http"):
        fault = fault or "the scheme is none of the web's"
    if len(lengths) > 1 or (whole and any(length.strip(b"0") for length in lengths)):
        fault = fault or "the body does not have the length that content-length says"
    target = pseudo.get(b":path", b"")
    method = pseudo.get(b":method", b"").decode("latin-1")
    if not _TARGET.fullmatch(target) or len(target) > TARGET_BYTES or (target == b"*" and method != "OPTIONS"):
        fault, target = fault or "the path is none", b"/"
    if not _TOKEN.fullmatch(method) or method == "CONNECT":
        fault, method = fault or "the method is none", "GET"
    raw_path, _, query = target.partition(b"?")
    scope = template | {
        "http_version": "2",
        "method": method,
        "path": unquote_to_bytes(raw_path).decode("utf-8", "replace") if b"%" in raw_path else raw_path.decode(),
        "raw_path": raw_path,
        "query_string": query,
        "headers": fields,
    }
    return scope, fault


def checked(headers: Iterable[Any]) -> list[tuple[bytes, bytes]]:
    """An application's fields as HTTP/2 writes them, without those that belong to connections (RFC 9113 §8.2)."""
    fields = []
    for name, value in headers:
        name, value = bytes(name).lower(), bytes(value)
        if not _FIELD_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a header field")
        if _CONTROL.search(value):
            raise ValueError(f"the value of {name!r} has a line's end, or another control character, in it")
        if name not in _OF_CONNECTIONS:
            fields.append((name, value))
    return fields


def length_of(headers: list[tuple[bytes, bytes]]) -> int | None:
    lengths = [value for name, value in headers if name == b"content-length"]
    if not lengths:
        return None
    if len(lengths) > 1 or not lengths[0].isdigit():
        raise ValueError("content-length is given twice, or is no number")
    return int(lengths[0])


def has_body(status: int, method: str) -> bool:
    return method != "HEAD" and status not in (204, 304) and status >= 200


# Host and port as HTTP/1.1 takes them; never empty (RFC 9113 §8.3.1).
_HOST = re.compile(rb"[-A-Za-z0-9._~%!$&'()*+;=\[\]:]+")
_TARGET = re.compile(rb"\*|/[!-\"$-~]*")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}")
_FIELD_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_OF_CONNECTIONS = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))

TARGET_BYTES = 8_192
SEND_BYTES = 65_536
SLOW_LOOKS = 2

_logger = logging.getLogger("socketkit")
