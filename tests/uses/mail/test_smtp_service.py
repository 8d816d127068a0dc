"""SMTP over real streams: the store, TLS in place, failures that were asked for, clients that are slow or vanish."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest

from socketkit import BrokenConnection, Limits, Trust, connect
from socketkit.uses.mail.failures import Failures
from socketkit.uses.mail.serving import Catcher
from socketkit.uses.mail.smtp_events import Bounds
from socketkit.uses.mail.store import Store
from tests.conftest import Run

T = TypeVar("T")

pytestmark = pytest.mark.slow

TEXT = "Subject: hello\r\nFrom: ann@example.org\r\n\r\n.text\r\n"


@asynccontextmanager
async def caught_by(*rules: str, **options: Any) -> AsyncIterator[tuple[Store, Catcher, int]]:
    async with Store() as store, Catcher(store, failures=Failures(rules, 1), **options) as catcher:
        assert catcher.smtp is not None
        assert catcher.smtp.port is not None
        yield store, catcher, catcher.smtp.port


async def in_thread(call: Callable[[], T]) -> T:
    """Clients that block must not block the catcher's loop."""
    return await asyncio.to_thread(call)


def send(port: int, to: str = "bob@example.org", **options: Any) -> dict[str, tuple[int, bytes]]:
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
        return client.sendmail("ann@example.org", [to, "eve@example.org"], TEXT, **options)


def test_a_mail_is_stored_as_it_was_sent(run: Run) -> None:
    async def main() -> None:
        async with caught_by() as (store, catcher, port):
            assert await in_thread(lambda: send(port)) == {}
            (mail,) = await store.newest()
            assert (mail.sender, mail.recipients) == ("ann@example.org", ("bob@example.org", "eve@example.org"))
            assert await store.raw(mail.id) == TEXT.encode()
            assert mail.summary.subject == "hello"
            assert (mail.client["tls"], mail.client["password_in_clear"]) == (None, False)
            while not catcher.clients:
                await asyncio.sleep(0.01)
            assert [finding.id for finding in catcher.clients[0].findings()] == ["ML4"]

    run(main())


def test_starttls_and_login(run: Run) -> None:
    async def main() -> None:
        async with caught_by() as (store, catcher, port):
            context = ssl.create_default_context(cadata=catcher.identity.certificate)

            def client() -> None:
                with smtplib.SMTP("localhost", port, timeout=20) as smtp:
                    smtp.starttls(context=context)
                    smtp.login("ann", "secret")
                    smtp.sendmail("ann@example.org", ["bob@example.org"], TEXT)

            await in_thread(client)
            (mail,) = await store.newest()
            assert (mail.client["tls"], mail.client["user"]) == ("TLSv1.3", "ann")
            assert not mail.client["password_in_clear"]
            assert "secret" not in repr(mail.client)

    run(main())


def test_implicit_tls(run: Run) -> None:
    async def main() -> None:
        async with caught_by() as (store, catcher, _):
            context = ssl.create_default_context(cadata=catcher.identity.certificate)
            assert catcher.smtps is not None
            port = catcher.smtps.port

            def client() -> None:
                with smtplib.SMTP_SSL("localhost", port or 0, timeout=20, context=context) as smtp:
                    assert not smtp.has_extn("starttls")
                    smtp.sendmail("ann@example.org", ["bob@example.org"], TEXT)

            await in_thread(client)
            assert [mail.client["tls"] for mail in await store.newest()] == ["TLSv1.3"]

    run(main())


def test_a_password_in_the_clear_is_seen(run: Run) -> None:
    async def main() -> None:
        async with caught_by() as (store, _, port):

            def client() -> None:
                with smtplib.SMTP("localhost", port, timeout=20) as smtp:
                    smtp.login("ann", "marker-4711")
                    smtp.sendmail("ann@example.org", ["bob@example.org"], TEXT)

            await in_thread(client)
            (mail,) = await store.newest()
            assert mail.client["password_in_clear"]
            assert "marker-4711" not in repr(mail)

    run(main())


@pytest.mark.parametrize(
    ("rule", "error", "code"),
    [
        ("connect=554", smtplib.SMTPConnectError, 554),
        ("connect=drop", smtplib.SMTPServerDisconnected, None),
        ("helo=550", smtplib.SMTPHeloError, 550),
        ("mail=451", smtplib.SMTPSenderRefused, 451),
        ("data=552", smtplib.SMTPDataError, 552),
        ("data=drop", smtplib.SMTPServerDisconnected, None),
    ],
)
def test_failures(run: Run, rule: str, error: type[smtplib.SMTPException], code: int | None) -> None:
    async def main() -> None:
        async with caught_by(rule) as (store, _, port):
            with pytest.raises((error, ConnectionResetError)) as failure:
                await in_thread(lambda: send(port))
            if code is not None:
                said = getattr(failure.value, "smtp_code", code)
                assert said == code
            assert await store.newest() == []

    run(main())


def test_failures_of_some_recipients(run: Run) -> None:
    async def main() -> None:
        async with caught_by("rcpt:bob@*=450@1x") as (store, _, port):
            refused = await in_thread(lambda: send(port))
            assert [(name, code) for name, (code, _) in refused.items()] == [("bob@example.org", 450)]
            assert await in_thread(lambda: send(port)) == {}
            assert [len(mail.recipients) for mail in await store.newest()] == [2, 1]

    run(main())


def test_a_delay_holds_up_nobody_else(run: Run) -> None:
    async def main() -> None:
        limits = Limits(grace_seconds=0.1)
        async with caught_by("mail:slow@*=delay:10m", limits=limits) as (store, _, port):
            async with connect(f"tcp://127.0.0.1:{port}") as stream:
                await stream.send(b"EHLO c\r\nMAIL FROM:<slow@example.org>\r\n")
                while b"250 HELP" not in await stream.receive():
                    pass
                await in_thread(lambda: send(port))
                assert len(await store.newest()) == 1
                stream.abort()

    run(main())


def test_injection_before_tls(run: Run) -> None:
    """What was sent in the clear behind STARTTLS is never taken for words of the encrypted client."""

    async def main() -> None:
        async with caught_by() as (_, catcher, port):
            async with connect(f"tcp://127.0.0.1:{port}") as stream:
                await stream.send(b"EHLO c\r\n")
                await stream.receive_until(b"250 HELP\r\n")
                await stream.send(b"STARTTLS\r\nEHLO evil\r\nMAIL FROM:<evil@example.org>\r\n")
                await stream.receive_until(b"\r\n")
                await stream.start_tls(trust=Trust.pin(catcher.identity.fingerprint))
                await stream.send(b"NOOP\r\n")
                assert (await stream.receive_until(b"\r\n")).startswith(b"250")
                await stream.send(b"RCPT TO:<bob@example.org>\r\n")
                assert (await stream.receive_until(b"\r\n")).startswith(b"503")
            while not catcher.clients:
                await asyncio.sleep(0.01)
            assert catcher.clients[0].faults >= {"injection"}

    run(main())


def test_bytes_that_come_late_behind_starttls_end_it(run: Run) -> None:
    async def main() -> None:
        async with caught_by() as (_, _, port):
            async with connect(f"tcp://127.0.0.1:{port}") as stream:
                await stream.receive_until(b"\r\n")
                await stream.send(b"STARTTLS\r\n")
                await stream.receive_until(b"\r\n")
                await stream.send(b"MAIL FROM:<evil@example.org>\r\n")
                with pytest.raises((BrokenConnection, EOFError)):
                    while b"250" not in await stream.receive():
                        pass

    run(main())


SHORT = Limits(first_message_seconds=0.5, slow_window_seconds=0.2, slowest_bytes_per_second=10_000)


BEGUN = b"EHLO c\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n"


@pytest.mark.parametrize("opening", [b"", b"EH", BEGUN])
def test_slow_clients_are_cut(run: Run, opening: bytes) -> None:
    async def main() -> None:
        async with caught_by(limits=SHORT) as (store, _, port):
            async with connect(f"tcp://127.0.0.1:{port}") as stream:
                await stream.send(opening)

                async def drip() -> None:
                    while True:
                        await asyncio.sleep(0.02)
                        await stream.send(b"x")

                dripping = asyncio.create_task(drip())
                said = b""
                with pytest.raises((BrokenConnection, EOFError)):
                    while True:
                        said += await stream.receive()
                dripping.cancel()
                await asyncio.gather(dripping, return_exceptions=True)
                assert (b"421" in said) == (b"DATA" in opening)
            assert await store.newest() == []

    run(main())


def test_a_handshake_that_does_not_come(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with caught_by(limits=SHORT) as (_, catcher, port):
            async with connect(f"tcp://127.0.0.1:{port}") as stream:
                await stream.send(b"EHLO c\r\nSTARTTLS\r\n")
                with pytest.raises((BrokenConnection, EOFError)):
                    while True:
                        await stream.receive()
            while not catcher.clients:
                await asyncio.sleep(0.01)

    run(main())
    assert [record for record in caplog.records if record.exc_info] == []


def test_large_mails(run: Run) -> None:
    async def main() -> None:
        async with caught_by(bounds=Bounds(message_bytes=1_000_000)) as (store, _, port):
            fits, over = "x" * 70 + "\r\n", "x" * 78 + "\r\n"

            def client(count: int, line: str, announce: bool) -> None:
                with smtplib.SMTP("localhost", port, timeout=20) as smtp:
                    smtp.ehlo()
                    if not announce:
                        del smtp.esmtp_features["size"]
                    smtp.sendmail("ann@example.org", ["bob@example.org"], line * count)

            await in_thread(lambda: client(13_000, fits, True))
            (mail,) = await store.newest()
            assert mail.size == 13_000 * 72
            with pytest.raises(smtplib.SMTPSenderRefused):
                await in_thread(lambda: client(13_000, over, True))
            with pytest.raises(smtplib.SMTPDataError) as failure:
                await in_thread(lambda: client(13_000, over, False))
            assert failure.value.smtp_code == 552

    run(main())


def test_a_store_that_fails_is_a_reason_to_come_again(run: Run) -> None:
    async def main() -> None:
        async with caught_by() as (store, _, port):

            async def broken(mail: object) -> None:
                raise OSError("the disk is full")

            store.add = broken  # type: ignore[method-assign, assignment]
            with pytest.raises(smtplib.SMTPDataError) as failure:
                await in_thread(lambda: send(port))
            assert failure.value.smtp_code == 451
            assert b"disk is full" in bytes(failure.value.smtp_error)

    run(main())


def test_half_open_clients_hold_up_nobody(run: Run) -> None:
    async def main() -> None:
        async with caught_by() as (store, _, port):
            idle = await asyncio.gather(*(connect(f"tcp://127.0.0.1:{port}").__aenter__() for _ in range(500)))
            for number, stream in enumerate(idle):
                await stream.send(b"EH" if number % 2 else b"EHLO c\r\n")
            for _ in range(5):
                assert await in_thread(lambda: send(port)) == {}
            assert len(await store.newest()) == 5
            for stream in idle:
                stream.abort()

    run(main())
