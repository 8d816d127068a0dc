"""A pytest fixture that catches mail: `from socketkit.uses.mail.testing import mail` in a conftest.py.

    async def test_welcome(mail):
        await register("ann@example.org", smtp_port=mail.port)
        message = await mail.wait(to="ann@example.org")
        assert "welcome" in message.text

The catcher runs in a thread with a loop of its own: so a program that blocks while it sends is caught as well, and a
test may be a plain function (`mail.wait_blocking`). Each test has its own, empty, on free ports of loopback.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from .addresses import matches
from .failures import Failures
from .parsed import Parsed
from .serving import Catcher
from .store import Store

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from typing import Self

    from ...identity import Identity
    from .database import Caught
    from .seen import Client


_T = TypeVar("_T")


class Message(Parsed):
    """A caught mail: `subject`, `text`, `html`, `links`, `attachments`, `headers`, and who sent it to whom."""

    def __init__(self, caught: Caught, raw: bytes) -> None:
        super().__init__(raw)
        self.caught = caught

    @property
    def subject(self) -> str:
        return self.caught.summary.subject

    @property
    def sender(self) -> str:
        """Of the envelope: what MAIL FROM said."""
        return self.caught.sender

    @property
    def recipients(self) -> tuple[str, ...]:
        """Of the envelope: what RCPT TO said."""
        return self.caught.recipients

    @property
    def encrypted(self) -> bool:
        return self.caught.client.get("tls") is not None

    def __repr__(self) -> str:
        return f"<Message from {self.sender or '<>'} to {', '.join(self.recipients)}: {self.subject!r}>"


class Mail:
    """What the fixture gives. `host`, `port`: SMTP with STARTTLS; `tls_port`: SMTP under TLS.

    `certificate`: the server's, as PEM, for `ssl.create_default_context(cadata=...)`.
    """

    def __init__(self, identity: Identity | None = None) -> None:
        self._identity = identity
        self._catcher: Catcher
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="mail catcher", daemon=True)
        self._store = Store()
        self._failures = _Changing()
        self._taken: set[int] = set()

    host = "localhost"

    @property
    def port(self) -> int:
        return self._port("smtp")

    @property
    def tls_port(self) -> int:
        return self._port("smtps")

    @property
    def certificate(self) -> str:
        return self._catcher.identity.certificate

    @property
    def clients(self) -> list[Client]:
        """Who has come and gone: `client.password_in_clear`, `client.findings()`."""
        return list(self._catcher.clients)

    def fail(self, *rules: str, seed: int = 0) -> None:
        """From now on fail by these rules (`rcpt=451@10%`), and by no others; without one do not fail."""
        self._failures.become(Failures(rules, seed))

    async def wait(self, to: str = "*", *, subject: str = "", seconds: float = 10.0) -> Message:
        """The oldest mail that was not given before, to an address like `to`, with this in its subject; waits for it.

        Raises AssertionError after `seconds`, and says which mails there were.
        """
        return await asyncio.wrap_future(self._begun(self._wait(to, subject, seconds)))

    def wait_blocking(self, to: str = "*", *, subject: str = "", seconds: float = 10.0) -> Message:
        """`wait` for a test without a loop."""
        return self._begun(self._wait(to, subject, seconds)).result()

    def messages(self) -> list[Message]:
        """All that were caught, the oldest first, given or not."""
        return self._begun(self._messages()).result()

    def __enter__(self) -> Self:
        self._thread.start()
        self._catcher = self._begun(self._open()).result()
        return self

    def __exit__(self, *_: object) -> None:
        self._begun(self._close()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _begun(self, work: Coroutine[Any, Any, _T]) -> concurrent.futures.Future[_T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _open(self) -> Catcher:
        await self._store.__aenter__()
        catcher = Catcher(self._store, failures=self._failures, imap=None, pop3=None, identity=self._identity)
        return await catcher.open()

    async def _close(self) -> None:
        await self._catcher.aclose()
        await self._store.aclose()

    async def _wait(self, to: str, subject: str, seconds: float) -> Message:
        changes = self._store.changes()
        changed = asyncio.ensure_future(anext(changes))
        try:
            async with asyncio.timeout(seconds):
                while True:
                    await asyncio.sleep(0)  # the subscription is there before the store is looked at
                    for message in await self._messages():
                        if message.caught.id not in self._taken and _fits(message, to, subject):
                            self._taken.add(message.caught.id)
                            return message
                    await changed
                    changed = asyncio.ensure_future(anext(changes))
        except TimeoutError:
            there = "\n  ".join(map(repr, await self._messages())) or "none"
            raise AssertionError(f"no mail to {to} within {seconds:g} s; caught were:\n  {there}") from None
        finally:
            changed.cancel()
            await asyncio.gather(changed, return_exceptions=True)
            await changes.aclose()

    async def _messages(self) -> list[Message]:
        found = []
        for caught in reversed(await self._store.newest(10_000)):
            raw = await self._store.raw(caught.id)
            if raw is not None:
                found.append(Message(caught, raw))
        return found

    def _port(self, name: str) -> int:
        port = self._catcher.addresses[name].port
        assert port is not None
        return port


class _Changing(Failures):
    """Failures that a test changes while the catcher runs."""

    def become(self, other: Failures) -> None:
        self.__dict__.update(other.__dict__)


def _fits(message: Message, to: str, subject: str) -> bool:
    return any(matches(address, to) for address in message.recipients) and subject in message.subject


@pytest.fixture
def mail() -> Iterator[Mail]:
    """A catcher of mail for this test; see `Mail`."""
    with Mail() as catching:
        yield catching
