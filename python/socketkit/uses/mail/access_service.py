"""IMAP and POP3 on a stream: their state machines driven with limits, TLS and the store; and news for who idles."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from functools import partial
from typing import TYPE_CHECKING

from ...errors import EndOfStream
from .access import Content, Delete, Flag, Login, Snapshot, StartTls
from .imap import ImapSession
from .pace import Pace, TooSlow, first_line, start_tls
from .pop3 import Pop3Session
from .resting import Resting

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ...connection import Stream
    from ...identity import Identity
    from ...limits import Limits
    from .access import Question
    from .access_session import AccessSession
    from .database import Caught
    from .seen import Client
    from .store import Store


class AccessService:
    """What all connections share."""

    def __init__(self, store: Store, *, limits: Limits, identity: Identity) -> None:
        self.store = store
        self.limits = limits
        self.identity = identity
        self.resting = Resting()

    async def serve_imap(self, stream: Stream, client: Client) -> None:
        """One connection, to its end; `client` has what was seen of it."""
        session = ImapSession(made=self.store.made, tls=True, encrypted=stream.encrypted)
        with suppress(EndOfStream, TooSlow):
            await _Conversation(self, stream, session, client).run()

    async def serve_pop3(self, stream: Stream, client: Client) -> None:
        """One connection, to its end; `client` has what was seen of it."""
        with suppress(EndOfStream, TooSlow):
            await _Conversation(self, stream, Pop3Session(tls=True, encrypted=stream.encrypted), client).run()


class _Conversation:
    def __init__(self, service: AccessService, stream: Stream, session: AccessSession, client: Client) -> None:
        self.service = service
        self.stream = stream
        self.session = session
        self.pace = Pace(stream, service.limits)
        self.client = client
        client.faults = session.faults
        if stream.encrypted:
            self.client.encrypted_with(stream.ciphers)

    async def run(self) -> None:
        session = self.session
        session.greet()
        await self._flush(0)
        data = await self._rested(partial(first_line, self.stream, FIRST_LINE_BYTES))
        while True:
            session.receive(data)
            question = session.next_event()
            while question is not None:
                if isinstance(question, StartTls):
                    await self._start_tls()
                    question = None
                else:
                    question = session.answer(await self._answered(question))
                if question is None:
                    question = session.next_event()
                await self._flush(FLUSHED_BYTES)  # a client that fetches everything must read it, too
            await self._flush(0)
            if session.closed:
                return
            if isinstance(session, ImapSession) and session.idling:
                data = await self._rested(partial(self._while_idle, session))
            elif session.inside:
                data = await self.pace.receive(inside=True)
            else:
                data = await self._rested(partial(self.pace.receive, inside=False))

    async def _rested(self, receive: Callable[[], Awaitable[bytes]]) -> bytes:
        data = await self.service.resting.until(receive)
        if data is None:
            self.session.close("the server ends")
            return b""
        return data

    async def _answered(self, question: Question) -> object:
        store = self.service.store
        match question:
            case Login(login):
                self.client.logged_in(login)
            case Snapshot():
                return await self._mails()
            case Content(number):
                return await store.raw(number)
            case Flag(number, flags):
                return await store.flag(number, flags)
            case Delete(numbers):
                await store.delete(numbers)
        return None

    async def _mails(self) -> list[Caught]:
        return (await self.service.store.newest(MOST_SHOWN))[::-1]

    async def _while_idle(self, session: ImapSession) -> bytes:
        """Tells of every change, until the client says something."""
        changes = self.service.store.changes()
        async with aclosing(changes):
            heard = asyncio.ensure_future(self._received())
            changed = asyncio.ensure_future(anext(changes))
            try:
                await asyncio.sleep(0)  # from here on no change is missed; what was before is looked up
                session.update(await self._mails())
                while not heard.done():
                    await self._flush(0)
                    done, _ = await asyncio.wait(
                        [heard, changed], timeout=STILL_HERE_SECONDS, return_when=asyncio.FIRST_COMPLETED
                    )
                    if changed in done:
                        session.update(await self._mails())
                        changed = asyncio.ensure_future(anext(changes))
                    elif not done:
                        session.still_here()
                return heard.result()
            finally:
                for task in (heard, changed):
                    task.cancel()
                await asyncio.gather(heard, changed, return_exceptions=True)

    async def _received(self) -> bytes:
        return await self.stream.receive()

    async def _start_tls(self) -> None:
        await self._flush(0)
        await start_tls(self.stream, self.service.limits, self.service.identity)
        self.session.tls_started()
        self.client.encrypted_with(self.stream.ciphers)

    async def _flush(self, least: int) -> None:
        """Send what is said, if it is so much."""
        if self.session.said_bytes >= least:
            out = self.session.output()
            if out:
                await self.stream.send(out)


FIRST_LINE_BYTES = 8_192
FLUSHED_BYTES = 65_536
MOST_SHOWN = 100_000
STILL_HERE_SECONDS = 120.0
