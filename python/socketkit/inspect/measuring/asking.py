"""Requests and answers over a connection: a line each on a stream, a message each elsewhere.

Over datagrams (`lossy`) a request is sent again until its answer comes, and answered by a cookie at first, which is
then part of every request.
"""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING, Any

from ...connection import Stream
from ...errors import BrokenConnection, EndOfStream, PeerViolation, raisable
from .protocol import MOST_REQUEST_BYTES, VERSION, decode, encode

if TYPE_CHECKING:
    from ...endpoint import Endpoint


class StreamWords:
    """JSON objects, one a line."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    async def send(self, words: dict[str, Any]) -> None:
        await self._stream.send(encode(words))

    async def receive(self) -> dict[str, Any]:
        return decode(await self._stream.receive_until(b"\n", max_bytes=MOST_REQUEST_BYTES))


class MessageWords:
    """JSON objects, one a message."""

    def __init__(self, messages: Any) -> None:
        self._messages = messages

    async def send(self, words: dict[str, Any]) -> None:
        await self._messages.send(encode(words))

    async def receive(self) -> dict[str, Any]:
        return decode(await self._messages.receive())


def words_of(connection: Any) -> StreamWords | MessageWords:
    return StreamWords(connection) if isinstance(connection, Stream) else MessageWords(connection)


class Asking:
    """Asks, and waits for the answer. One request at a time."""

    def __init__(self, connection: Any, *, lossy: bool) -> None:
        self._words = words_of(connection)
        self._endpoint: Endpoint = connection.peer.endpoint
        self._lossy = lossy
        self._number = 0
        self._cookie: dict[str, str] = {}
        self.always: dict[str, str] = {}
        """What is said in every request."""

    async def ask(self, do: str, **words: Any) -> dict[str, Any]:
        """The answer. PeerViolation if the other side refuses, or is no bench; BrokenConnection if none comes."""
        self._number += 1
        request = {"bench": VERSION, "do": do, "id": self._number, **self.always, **words}
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = await self._answered(request)
        except TimeoutError:
            raise raisable(BrokenConnection)(
                "bench",
                self._endpoint,
                f"no answer within {ANSWER_SECONDS:g} s: is `socketkit serve bench` running there?",
                errno.ETIMEDOUT,
            ) from None
        except EndOfStream:
            raise raisable(BrokenConnection)(
                "bench", self._endpoint, "the other side has ended the test", errno.ECONNRESET
            ) from None
        if "error" in answer:
            raise raisable(PeerViolation)(f"bench {self._endpoint}: refused there: {answer['error']}")
        return answer

    async def _answered(self, request: dict[str, Any]) -> dict[str, Any]:
        if not self._lossy:
            await self._words.send(request)
            return self._checked(await self._words.receive())
        while True:
            answer = await self._sent_until_answered(request | self._cookie)
            if "cookie" not in answer:
                return self._checked(answer)
            self._cookie = {"cookie": str(answer["cookie"])}

    async def _sent_until_answered(self, request: dict[str, Any]) -> dict[str, Any]:
        # Long enough for the answer: nobody is answered with more than he has sent before he is known.
        request = {**request, "pad": "." * PAD_BYTES}
        while True:
            await self._words.send(request)
            try:
                async with asyncio.timeout(AGAIN_SECONDS):
                    while True:
                        answer = await self._next_words()
                        if answer.get("id") == request["id"]:
                            return answer
            except TimeoutError:
                continue

    async def _next_words(self) -> dict[str, Any]:
        while True:
            try:
                return await self._words.receive()
            except PeerViolation:  # a measured message, or a stranger's
                continue

    def _checked(self, answer: dict[str, Any]) -> dict[str, Any]:
        if "do" in answer:  # an echo service
            raise raisable(PeerViolation)(
                f"bench {self._endpoint}: what answers there is no bench: run `socketkit serve bench` there"
            )
        return answer


ANSWER_SECONDS = 10.0
AGAIN_SECONDS = 0.2
PAD_BYTES = 64
