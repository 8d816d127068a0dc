"""A password in front of an application (HTTP Basic, RFC 7617), for programs that know no links; any name will do.

Whoever guesses is held up: after some wrong ones his address waits for a minute.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import os
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

from .answers import refuse

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...http.asgi import Application, Receive, Scope, Send

__all__ = ["Password"]


class Password:
    """`application` for who knows the password. `refused` counts wrong ones, and questions that were not let in."""

    def __init__(self, application: Application, password: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        if not password:
            raise ValueError("the password is empty")
        self.refused = 0
        self._application = application
        self._clock = clock
        self._key = os.urandom(32)
        self._digest = self._digested(password.encode())
        # How many wrong ones an address has given since when; the oldest is forgotten first.
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._application(scope, receive, send)
            return
        given = _password_in(scope["headers"])
        host = str((scope.get("client") or ("",))[0])
        if self._is_held_up(host):
            self.refused += 1
            await self._refuse(scope, send, 429, "too many wrong passwords: wait a minute", (b"retry-after", b"60"))
        elif given is not None and hmac.compare_digest(self._digested(given), self._digest):
            self._wrong.pop(host, None)
            await self._application(scope, receive, send)
        else:
            if given is not None:
                self._note_wrong(host)
            self.refused += 1
            asked = (b"www-authenticate", b'Basic realm="socketkit", charset="UTF-8"')
            await self._refuse(scope, send, 401, "this service asks for a password", asked)

    async def _refuse(self, scope: Scope, send: Send, status: int, words: str, header: tuple[bytes, bytes]) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 4401})  # before it is accepted: a 403 (ASGI)
        else:
            await refuse(scope, send, status, words, [header, (b"cache-control", b"no-store")])

    def _digested(self, password: bytes) -> bytes:
        return hmac.new(self._key, password, hashlib.sha256).digest()

    def _is_held_up(self, host: str) -> bool:
        count, since = self._wrong.get(host, (0, 0.0))
        if count and self._clock() - since >= HELD_UP_SECONDS:
            del self._wrong[host]
            return False
        return count >= MOST_WRONG

    def _note_wrong(self, host: str) -> None:
        count, _ = self._wrong.pop(host, (0, 0.0))
        self._wrong[host] = count + 1, self._clock()
        if len(self._wrong) > MOST_HOSTS:
            self._wrong.popitem(last=False)


def _password_in(headers: list[tuple[bytes, bytes]]) -> bytes | None:
    for name, value in headers:
        kind, _, encoded = value.partition(b" ")
        if name == b"authorization" and kind.lower() == b"basic":
            try:
                _, colon, password = binascii.a2b_base64(encoded.strip(), strict_mode=True).partition(b":")
            except binascii.Error:
                return None
            return password if colon else None
    return None


MOST_WRONG = 10
MOST_HOSTS = 4_096
HELD_UP_SECONDS = 60.0
