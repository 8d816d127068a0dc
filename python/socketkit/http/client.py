"""`Client`: asks servers over HTTP/1.1, with the trust, limits and connections of `connect`.

- `https` is TLS 1.3, and the server proves itself in the order of docs/identity.md: a pin in the address (behind `#`),
  a key that is known, an authority for a name, first use for an address. `http` beyond this machine must be asked for.
- A redirect is followed ten times at most, never from https to http, and takes credentials to no other server.
- Nothing is decompressed: the client asks for content as it is, so no small answer becomes a large one.
- Waiting for a server is bounded (`stall_seconds`), and so is the head of an answer.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import h11

from ..errors import BrokenConnection, ClosedConnection, ConnectError, EndOfStream, PeerViolation, raisable
from ..limits import Limits
from ..verbs import connect
from .url import Url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from types import TracebackType
    from typing import Self

    from ..connection import Stream
    from ..identity import Identity
    from ..trust import Trust

    Headers = Iterable[tuple[str, str]]


class Client:
    """Keeps connections to servers open, so that the next request finds one. `async with` closes them.

    `trust` and `identity` are `connect`'s, for https; `plaintext` allows http beyond this machine. `stall_seconds`: so
    long a server may be silent while it is waited for.
    """

    def __init__(
        self,
        *,
        trust: Trust | None = None,
        identity: Identity | None = None,
        limits: Limits = Limits(),
        plaintext: bool = False,
        stall_seconds: float = 60.0,
    ) -> None:
        self.stall_seconds = stall_seconds
        self._trust = trust
        self._identity = identity
        self._limits = limits
        self._plaintext = plaintext
        self._idle: dict[object, list[_Wire]] = {}

    def request(self, method: str, url: str | Url, headers: Headers = (), content: bytes = b"") -> Asking:
        """Ask, and follow where the answer leads: `async with` gives the `Response`.

        Raises what `connect` raises, BrokenConnection when the server goes away, PeerViolation for an answer that
        breaks the rules or leads where it must not, TimeoutError when the server is silent for too long. A status such
        as 404 is an answer.
        """
        return Asking(self, method, Url.parse(url) if isinstance(url, str) else url, list(headers), content)

    def get(self, url: str | Url, headers: Headers = ()) -> Asking:
        """`request` with GET."""
        return self.request("GET", url, headers)

    async def aclose(self) -> None:
        """Close the connections that are kept."""
        for wires in self._idle.values():
            for wire in wires:
                wire.stream.abort()
        self._idle.clear()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _ask(self, method: str, url: Url, headers: list[tuple[str, str]], content: bytes) -> Response:
        """One question and its answer's head, on a kept connection or a new one."""
        kept = self._idle.get(url.endpoint, [])
        while kept:
            wire = kept.pop()
            if method in ("GET", "HEAD"):  # what may be asked twice, should the server just have closed it
                try:
                    return await wire.ask(self, method, url, headers, content)
                except (BrokenConnection, ClosedConnection, TimeoutError):
                    continue
            wire.stream.abort()
        wire = _Wire(await self._connect(url))
        return await wire.ask(self, method, url, headers, content)

    async def _connect(self, url: Url) -> Stream:
        endpoint = url.endpoint
        if url.secure:
            # Without the protocol's name: some servers end the handshake over one that they were not told of.
            return await connect(endpoint, limits=self._limits, trust=self._trust, identity=self._identity)
        if self._plaintext:
            endpoint = endpoint.replace(query={"plaintext": "yes"})
        return await connect(endpoint, limits=self._limits)

    def _keep(self, url: Url, wire: _Wire) -> None:
        wires = self._idle.setdefault(url.endpoint, [])
        if len(wires) < KEPT_A_SERVER:
            wires.append(wire)
        else:
            wire.stream.abort()


class Asking:
    """A request that is about to be made: enter it with `async with`."""

    def __init__(self, client: Client, method: str, url: Url, headers: list[tuple[str, str]], content: bytes) -> None:
        self._client = client
        self._method, self._url, self._headers, self._content = method, url, headers, content
        self._response: Response | None = None

    async def __aenter__(self) -> Response:
        method, url, headers, content = self._method, self._url, self._headers, self._content
        for _ in range(MOST_REDIRECTS + 1):
            response = await self._client._ask(method, url, headers, content)
            location = response.header("location")
            if response.status not in REDIRECTS or location is None:
                self._response = response
                return response
            await response.aclose()
            before, url = url, _followed(url, location)
            if url.origin != before.origin:
                headers = [pair for pair in headers if pair[0].lower() not in CREDENTIALS]
            if response.status == 303 or (response.status in (301, 302) and method == "POST"):
                method, content = "HEAD" if method == "HEAD" else "GET", b""
        raise raisable(PeerViolation)(f"{self._url.authority} redirects more than {MOST_REDIRECTS} times")

    async def __aexit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._response is not None:
            await self._response.aclose()


def _followed(url: Url, location: str) -> Url:
    try:
        following = url.joined(location)
    except ValueError as failure:
        raise raisable(PeerViolation)(
            f"{url.authority} redirects to what is no address of the web: {failure}"
        ) from None
    if url.secure and not following.secure:
        raise raisable(PeerViolation)(
            f"{url.authority} redirects from https to {following}, in plain text: ask for that if it is what you want"
        )
    return following


class Response:
    """An answer: its head, and its body as it comes (`async for chunk in response`)."""

    def __init__(self, client: Client, wire: _Wire, url: Url, event: h11.Response) -> None:
        self.status = event.status_code
        self.reason = bytes(event.reason).decode("latin-1")
        self.headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers]
        """Names in lower case, in the order in which they came."""
        self.url = url
        """Where it came from, behind all redirects."""
        self._client = client
        self._wire: _Wire | None = wire

    @property
    def stream(self) -> Stream | None:
        """The connection that it comes over; None when all of it is there."""
        return self._wire.stream if self._wire else None

    def header(self, name: str) -> str | None:
        """The value of a header; of several, the first."""
        return next((value for known, value in self.headers if known == name), None)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self._wire is not None:
            chunk = await self._wire.next_chunk(self._client.stall_seconds)
            if chunk is None:
                self._done()
                return
            yield chunk

    async def read(self, max_bytes: int = 16_777_216) -> bytes:
        """All of the body. PeerViolation if it has more than `max_bytes`."""
        body = bytearray()
        async for chunk in self:
            body += chunk
            if len(body) > max_bytes:
                raise raisable(PeerViolation)(f"{self.url.authority} answers with more than {max_bytes:,} bytes")
        return bytes(body)

    async def aclose(self) -> None:
        """Let go of it: a body that has not been read to its end takes its connection with it. Idempotent."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.stream.abort()

    def _done(self) -> None:
        wire, self._wire = self._wire, None
        if wire is None:
            return
        if wire.reusable():
            self._client._keep(self.url, wire)
        else:
            wire.stream.abort()


class _Wire:
    """A connection with the state of HTTP on it.

    h11 reads the heads, and bodies in chunks. A body whose length is known passes it by: those are the large ones, and
    each byte of them would be copied three times.
    """

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._state = _fresh()
        self._left: int | None = None
        """How much is missing of a body whose length is known; None of another one."""
        self._early = b""
        """What has come of it, and behind it, along with the head."""
        self._kept_alive = False

    async def ask(
        self, client: Client, method: str, url: Url, headers: list[tuple[str, str]], content: bytes
    ) -> Response:
        try:
            async with asyncio.timeout(client.stall_seconds):
                await self._send(method, url, headers, content)
                event = await self._head(url)
                self._weigh(method, event)
                return Response(client, self, url, event)
        except BaseException:
            self.stream.abort()
            raise

    async def next_chunk(self, stall_seconds: float) -> bytes | None:
        """The next piece of the body; None at its end."""
        try:
            async with asyncio.timeout(stall_seconds):
                if self._left is not None:
                    return await self._next_of_known_length(self._left)
                event = await self._next_event()
        except BaseException:
            self.stream.abort()
            raise
        return bytes(event.data) if isinstance(event, h11.Data) else None

    async def _next_of_known_length(self, left: int) -> bytes | None:
        if not left:
            return None
        if self._early:
            chunk, self._early = self._early[:left], self._early[left:]
        else:
            try:
                chunk = await self.stream.receive(min(left, CHUNK_BYTES))
            except EndOfStream:
                raise self._cut() from None
        self._left = left - len(chunk)
        return chunk

    def _weigh(self, method: str, event: h11.Response) -> None:
        """Look for the length of the body (RFC 9112 §6.3), which h11 has checked."""
        self._left = None
        headers = dict(event.headers)
        bodiless = method == "HEAD" or event.status_code in (204, 304)
        if bodiless or b"content-length" not in headers or b"transfer-encoding" in headers:
            return
        self._left = int(headers[b"content-length"])
        self._early = self._state.trailing_data[0]
        options = headers.get(b"connection", b"").lower().replace(b" ", b"").split(b",")
        self._kept_alive = event.http_version == b"1.1" and b"close" not in options

    def reusable(self) -> bool:
        """Whether another question can be asked on it; if so, it is ready for that."""
        if self._left is not None:
            if self._left or self._early or not self._kept_alive:
                return False
            self._state = _fresh()
            return True
        if self._state.our_state is not h11.DONE or self._state.their_state is not h11.DONE:
            return False
        if self._state.trailing_data[0]:  # what nobody has asked for: the answer to the next question, by his word
            return False
        self._state.start_next_cycle()
        return True

    async def _send(self, method: str, url: Url, headers: list[tuple[str, str]], content: bytes) -> None:
        given = {name.lower() for name, _ in headers}
        own = [("host", url.authority), ("accept", "*/*"), ("accept-encoding", "identity"), ("user-agent", USER_AGENT)]
        if content or method in ("POST", "PUT", "PATCH"):
            own.append(("content-length", str(len(content))))
        complete = [pair for pair in own if pair[0] not in given] + headers
        try:
            request = h11.Request(method=method, target=url.target, headers=complete)
        except h11.LocalProtocolError as failure:
            raise ValueError(f"a request cannot be written like this: {failure}") from None
        parts = [self._state.send(request)]
        if content:
            parts.append(self._state.send(h11.Data(data=content)))
        parts.append(self._state.send(h11.EndOfMessage()))
        await self.stream.send(b"".join(part for part in parts if part))

    async def _head(self, url: Url) -> h11.Response:
        for _ in range(MOST_INTERIM):
            event = await self._next_event()
            if isinstance(event, h11.Response):
                return event
            if not isinstance(event, h11.InformationalResponse):
                break
            if event.status_code == 101:
                raise raisable(PeerViolation)(f"{url.authority} changes to a protocol that nobody asked for")
        raise raisable(PeerViolation)(f"{url.authority} gives no answer, but interim ones only")

    async def _next_event(self) -> Any:
        """What comes next. BrokenConnection if the server ends in the middle."""
        ended = False
        try:
            while (event := self._state.next_event()) is h11.NEED_DATA:
                try:
                    data = await self.stream.receive()
                except EndOfStream:
                    data, ended = b"", True
                self._state.receive_data(data)
        except h11.RemoteProtocolError as failure:
            if ended:
                raise self._cut() from None
            raise raisable(PeerViolation)(f"{self.stream.peer.endpoint} does not speak HTTP/1.1: {failure}") from None
        if isinstance(event, h11.ConnectionClosed):
            raise self._cut()
        return event

    def _cut(self) -> BrokenConnection:
        where = self.stream.peer.endpoint
        return raisable(BrokenConnection)("receive", where, "the server ended in the middle of its answer")


def _fresh() -> h11.Connection:
    return h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES)


def is_transient(failure: BaseException) -> bool:
    """Whether asking again may help."""
    if isinstance(failure, ConnectError):
        return failure.transient
    return isinstance(failure, (BrokenConnection, TimeoutError))


REDIRECTS = frozenset({301, 302, 303, 307, 308})
MOST_REDIRECTS = 10
MOST_INTERIM = 16
CREDENTIALS = frozenset({"authorization", "cookie", "proxy-authorization"})
HEAD_BYTES = 65_536
CHUNK_BYTES = 262_144
KEPT_A_SERVER = 8
USER_AGENT = "socketkit"
