"""SMTP on a stream: the state machine (smtp.py) driven with limits, failures that were asked for, TLS and the store."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from ...errors import EndOfStream
from .database import Incoming
from .pace import Pace, TooSlow, first_line, start_tls
from .resting import Resting
from .smtp import Session
from .smtp_events import Hello, Login, Mail, Message, Recipient, StartTls

if TYPE_CHECKING:
    from ...connection import Stream
    from ...identity import Identity
    from ...limits import Limits
    from .failures import Failures, Outcome
    from .seen import Client
    from .smtp_events import Bounds, Event
    from .store import Store


class SmtpService:
    """What all connections share."""

    def __init__(
        self,
        store: Store,
        *,
        host: str,
        bounds: Bounds,
        limits: Limits,
        failures: Failures,
        identity: Identity,
    ) -> None:
        self.store = store
        self.host = host
        self.bounds = bounds
        self.limits = limits
        self.failures = failures
        self.identity = identity
        self.resting = Resting()
        self.under_way_bytes = 0
        """Of mails that have begun, all together."""

    async def serve(self, stream: Stream, client: Client) -> None:
        """One connection, to its end; `client` has what was seen of it."""
        conversation = _Conversation(self, stream, client)
        try:
            with suppress(EndOfStream, TooSlow, _Dropped):
                await conversation.run()
        finally:
            conversation.hold(0)


class _Dropped(Exception):
    """The connection has been reset: a failure that was asked for."""


class _Conversation:
    def __init__(self, service: SmtpService, stream: Stream, client: Client) -> None:
        self.service = service
        self.stream = stream
        # Without rules everybody is accepted, and nobody need be asked.
        asking = bool(service.failures.rules)
        encrypted = stream.encrypted
        self.session = Session(service.host, service.bounds, tls=True, encrypted=encrypted, asking=asking)
        self._held = 0
        self.client = client
        client.faults = self.session.faults
        if encrypted:
            self.client.encrypted_with(stream.ciphers)

    async def run(self) -> None:
        session, stream, service = self.session, self.stream, self.service
        rest = service.resting.until
        if service.failures.rules and not await self._welcome():
            return
        session.greet()
        await stream.send(session.output())
        pace: Pace | None = None
        data = await rest(partial(first_line, stream, service.bounds.line_bytes))
        while True:
            if data is None:
                session.close("4.3.2 The server ends")
            else:
                session.receive(data)
            while (event := session.next_event()) is not None:
                if isinstance(event, Message) and not service.failures.rules:
                    await self._keep(event)
                else:
                    await self._decide(event)
            self.client.hello = session.hello
            if session.closed and session.faults & ABUSES:
                stream.penalise()
            out = session.output()
            if out:
                await stream.send(out)
            if session.closed:
                return
            if not session.inside:
                if self._held:
                    self.hold(0)
                pace = None
                data = await (stream.receive() if session.begun else rest(stream.receive))
                continue
            self.hold(session.held_bytes)
            if self._is_too_much():
                session.close("4.3.1 Too much mail is on its way; come again")
                data = b""
                continue
            if pace is None:
                pace = Pace(stream, service.limits)
            try:
                data = await pace.receive(inside=True)
            except TooSlow:
                session.close("4.4.2 Too slow")
                data = b""

    def hold(self, count: int) -> None:
        """So much of what has come to this connection is not whole."""
        self.service.under_way_bytes += count - self._held
        self._held = count

    def _is_too_much(self) -> bool:
        """Whether it is this connection that must make room: not one that has just begun."""
        return self._held > HELD_BYTES and self.service.under_way_bytes > self.service.bounds.under_way_bytes

    async def _welcome(self) -> bool:
        """Whether the client may speak at all."""
        outcome = await self._outcome("connect")
        if outcome.code:
            await self.stream.send(f"{outcome.code} {outcome.text}\r\n".encode())
        return not outcome.code

    async def _decide(self, event: Event) -> None:
        if isinstance(event, StartTls):
            await self._start_tls()
            return
        stage = STAGES[type(event)]
        outcome = await self._outcome(stage, event[0] if isinstance(event, (Mail, Recipient)) else "")
        if isinstance(event, Login):
            self.client.logged_in(event.login)
        if outcome.code:
            self.session.refuse(outcome.code, outcome.text)
        elif isinstance(event, Message):
            await self._keep(event)
        else:
            self.session.accept()

    async def _outcome(self, stage: str, address: str = "") -> Outcome:
        """What is to happen at this stage; the waiting and dropping of it has happened."""
        outcome = self.service.failures.at(stage, address)
        if outcome.delay_seconds:
            await self.stream.send(self.session.output())  # what was said before does not wait
            await asyncio.sleep(outcome.delay_seconds)
        if outcome.drop:
            self.stream.abort()
            raise _Dropped
        return outcome

    async def _keep(self, message: Message) -> None:
        client, envelope = self.client, message.envelope
        client.mails += 1
        client.hello = self.session.hello
        mail = Incoming(
            time.time(), envelope.sender, envelope.recipients, message.content, client.as_json(), client.as_text()
        )
        try:
            await self.service.store.add(mail)
        except OSError as failure:
            self.session.refuse(451, f"4.3.0 {failure}")
        else:
            self.session.accept()

    async def _start_tls(self) -> None:
        await self.stream.send(self.session.output())
        await start_tls(self.stream, self.service.limits, self.service.identity)
        self.session.tls_started()
        self.client.encrypted_with(self.stream.ciphers)


HELD_BYTES = 65_536
ABUSES = {"idle_commands", "logins"}
STAGES = {Hello: "helo", Login: "auth", Mail: "mail", Recipient: "rcpt", Message: "data"}
