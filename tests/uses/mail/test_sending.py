"""Mail that leaves: only encrypted, only to who was meant, and each recipient's fate is told."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import dns.asyncresolver
import dns.rdatatype
import dns.resolver
import pytest

from socketkit import ConnectError, Endpoint, Identity, Stream, Trust, Unsupported, UntrustedPeer, serve
from socketkit.uses.mail import sending
from socketkit.uses.mail.failures import Failures
from socketkit.uses.mail.sending import Delivery, DeliveryError, Login, mail_servers, send
from socketkit.uses.mail.serving import Catcher
from socketkit.uses.mail.store import Store
from tests.conftest import Run

pytestmark = pytest.mark.slow

TEXT = b"Subject: hello\r\n\r\n.text\r\n"
BOB = "bob@example.org"


@asynccontextmanager
async def caught_by(*rules: str) -> AsyncIterator[tuple[Store, Catcher]]:
    # Not this user's identity: that would be trusted on loopback.
    async with Store() as store, Catcher(store, failures=Failures(rules, 1), identity=Identity.new()) as catcher:
        yield store, catcher


@pytest.mark.parametrize("way", ["smtp", "smtps"])
def test_encrypted_and_pinned(run: Run, way: str) -> None:
    async def main() -> None:
        async with caught_by() as (store, catcher):
            pin = Trust.pin(catcher.identity.fingerprint)
            where = catcher.addresses[way]
            trust = None if "pin" in where.query else pin
            message = EmailMessage()
            message["Subject"] = "hello"
            message.set_content("text")
            login = Login("ann", "secret")
            people = {"sender": "ann@example.org", "recipients": [BOB]}
            said = await send(message, **people, server=where, trust=trust, login=login)  # type: ignore[arg-type]
            assert [(each.recipient, each.code, each.accepted) for each in said] == [(BOB, 250, True)]
            (mail,) = await store.newest()
            assert (mail.client["tls"], mail.client["user"]) == ("TLSv1.3", "ann")
            assert mail.summary.subject == "hello"

    run(main())


@pytest.mark.parametrize("way", ["smtp", "smtps"])
def test_an_impostor_gets_neither_password_nor_mail(run: Run, way: str) -> None:
    async def main() -> None:
        async with caught_by() as (store, catcher):
            where = catcher.addresses[way].replace(query={})
            for trust in (Trust.pin(Identity.new().fingerprint), None):
                with pytest.raises(UntrustedPeer, match="nothing was sent") as refusal:
                    await send(TEXT, sender="", recipients=[BOB], server=where, trust=trust, login=Login("ann", "x"))
                assert refusal.value.presented == catcher.identity.fingerprint
            assert await store.newest() == []
            while len(catcher.clients) < 2:
                await asyncio.sleep(0.01)
            assert [client.user for client in catcher.clients] == [None, None]

    run(main())


def test_an_authority(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with caught_by() as (_, catcher):
            path = tmp_path / "ca.pem"
            path.write_text(catcher.identity.certificate)
            assert catcher.smtp is not None
            said = await send(TEXT, sender="", recipients=[BOB], server=catcher.smtp, trust=Trust.authority(path))
            assert said[0].accepted
            with pytest.raises(ConnectError, match="certificate"):
                path.write_text(Identity.new().certificate)
                await send(TEXT, sender="", recipients=[BOB], server=catcher.smtp, trust=Trust.authority(path))

    run(main())


async def plain_only(stream: Stream) -> None:
    """A server without TLS."""
    await stream.send(b"220 old\r\n")
    async for line in stream.lines():
        verb = line[:4].upper()
        if verb == b"DATA":
            await stream.send(b"354 go on\r\n")
            await stream.receive_until(b"\r\n.\r\n")
        await stream.send(b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n")


def test_plain_text_must_be_written_out(run: Run) -> None:
    async def main() -> None:
        async with serve("tcp://localhost:0", plain_only) as server:
            with pytest.raises(Unsupported, match="plaintext=yes"):
                await send(TEXT, sender="", recipients=[BOB], server=server.local)
            where = f"{server.local}?plaintext=yes"
            assert (await send(TEXT, sender="", recipients=[BOB], server=where))[0].accepted
            with pytest.raises(Unsupported, match="under TLS only"):
                await send(TEXT, sender="", recipients=[BOB], server=where, login=Login("ann", "x"))

    run(main())


def test_each_recipients_fate(run: Run) -> None:
    async def main() -> None:
        rules = ["rcpt:gone@*=550 no such mailbox", "mail:bad@*=553 not from there"]
        async with caught_by(*rules) as (store, catcher):
            assert catcher.smtps is not None
            people = [BOB, "gone@example.org"]
            sent = await send(TEXT, sender="a@b.org", recipients=people, server=catcher.smtps)
            said = {each.recipient: each for each in sent}
            assert said[BOB].accepted
            gone = said["gone@example.org"]
            assert (gone.code, gone.text, gone.transient) == (550, "no such mailbox", False)
            with pytest.raises(DeliveryError, match=r"gone@example\.org: 550 no such mailbox \(tls://localhost"):
                await send(TEXT, sender="a@b.org", recipients=people[1:], server=catcher.smtps)
            with pytest.raises(DeliveryError, match="553 not from there"):
                await send(TEXT, sender="bad@b.org", recipients=[BOB], server=catcher.smtps)
            assert [mail.recipients for mail in await store.newest()] == [(BOB,)]

    run(main())


def test_transient_failures(run: Run) -> None:
    async def main() -> None:
        async with caught_by("data=451@1x") as (_, catcher):
            assert catcher.smtps is not None
            with pytest.raises(DeliveryError) as failure:
                await send(TEXT, sender="a@b.org", recipients=[BOB], server=catcher.smtps)
            assert failure.value.transient
            assert pickle.loads(pickle.dumps(failure.value)).deliveries == failure.value.deliveries
            assert (await send(TEXT, sender="a@b.org", recipients=[BOB], server=catcher.smtps))[0].accepted

    run(main())


def test_nobody_there(run: Run) -> None:
    async def main() -> None:
        async with serve("tcp://localhost:0", plain_only) as server:
            where = server.local
        with pytest.raises(ConnectError):
            await send(TEXT, sender="", recipients=[BOB], server=where)

    run(main())


@pytest.mark.parametrize("address", ["bob", "b ob@example.org", "bob@example.org>\r\nRCPT TO:<eve@example.org", ""])
def test_what_is_no_address(run: Run, address: str) -> None:
    with pytest.raises(ValueError, match="is no address"):
        run(send(TEXT, sender="", recipients=[address], server="tls://localhost:1"))


def test_nobody_to_send_to(run: Run) -> None:
    with pytest.raises(DeliveryError, match="nobody"):
        run(send(TEXT, sender="", recipients=[], server="tls://localhost:1"))


def test_passwords_are_not_shown() -> None:
    assert repr(Login("ann", "secret")) == "Login('ann', ***)"


# --- the servers of a domain


class Record:
    def __init__(self, preference: int, exchange: str) -> None:
        self.preference, self.exchange = preference, exchange


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What name servers answer: no test asks a real one."""
    records: dict[str, Any] = {}

    async def resolve(domain: str, kind: str, lifetime: float) -> Any:
        assert kind == "MX"
        answer = records.get(domain, dns.resolver.NXDOMAIN())
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(dns.asyncresolver, "resolve", resolve)
    return records


def test_the_best_first(run: Run, zone: dict[str, Any]) -> None:
    zone["example.org"] = [Record(20, "b.example.org."), Record(10, "a.example.org.")]
    zone["own.example"] = dns.resolver.NoAnswer()
    zone["none.example"] = [Record(0, ".")]
    zone["slow.example"] = dns.resolver.LifetimeTimeout()
    assert run(mail_servers("example.org")) == ["a.example.org", "b.example.org"]
    assert run(mail_servers("own.example")) == ["own.example"]
    for domain, words in (("none.example", "takes no mail"), ("gone.example", "no such domain")):
        with pytest.raises(DeliveryError, match=words):
            run(mail_servers(domain))
    with pytest.raises(ConnectError, match=r"slow\.example"):
        run(mail_servers("slow.example"))


def test_the_next_server_if_one_cannot_be_reached(
    run: Run, zone: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    zone["example.org"] = [Record(10, "a.example.org."), Record(20, "b.example.org.")]
    asked: list[str] = []

    async def deliver(self: object, server: Endpoint, recipients: list[str]) -> list[Delivery]:
        asked.append(f"{server.host}:{server.port}")
        if server.host == "a.example.org":
            raise ConnectError("send to", server, "refused")
        return [Delivery(each, 250, "ok", str(server)) for each in recipients]

    monkeypatch.setattr(sending._Mail, "deliver", deliver)
    said = run(send(TEXT, sender="", recipients=[BOB, "eve@example.org"]))
    assert [each.recipient for each in said] == [BOB, "eve@example.org"]
    assert asked == ["a.example.org:25", "b.example.org:25"]


def test_a_missing_package_names_the_remedy(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "aiosmtplib", None)
    with pytest.raises(Unsupported, match=r"pip install 'socketkit\[mail\]'"):
        run(send(TEXT, sender="", recipients=[BOB], server="tls://localhost:1"))
