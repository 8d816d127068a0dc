"""The catcher as a block: what it opens, what it shows, how it ends."""

from __future__ import annotations

import asyncio

import pytest

from socketkit import BrokenConnection, ConnectError, Identity, ListenError, Trust, connect
from socketkit.hosting import Peers
from socketkit.uses.mail.seen import Client
from socketkit.uses.mail.serving import CLIENTS_KEPT, Catcher
from socketkit.uses.mail.store import Store
from tests.conftest import Run


def test_loopback_and_free_ports(run: Run, no_leaks: None) -> None:
    async def main() -> None:
        async with Store() as store, Catcher(store) as catcher:
            assert catcher.smtp is not None
            assert catcher.smtps is not None
            assert (catcher.smtp.scheme, catcher.smtp.host) == ("tcp", "localhost")
            assert catcher.smtps.query["pin"] == Identity.of_user().fingerprint
            assert list(catcher.addresses) == ["smtp", "smtps", "imap", "pop3"]
            assert catcher.stats["smtp"]["accepted"] == 0
            async with connect(catcher.smtps) as stream:
                assert (await stream.receive_until(b"\r\n")).startswith(b"220 localhost ESMTP")
            where = catcher.smtp
        with pytest.raises(ConnectError):
            await connect(where)

    run(main())


def test_only_what_was_asked_for(run: Run) -> None:
    async def main() -> None:
        async with Store() as store, Catcher(store, smtps=None) as catcher:
            assert catcher.smtps is None
            with pytest.raises(ListenError):
                await Catcher(store, smtp=catcher.smtp).open()

    run(main())


def test_plain_text_for_other_machines_must_be_written_out(run: Run) -> None:
    async def main() -> None:
        async with Store() as store:
            with pytest.raises(ListenError, match="plaintext=yes"):
                async with Catcher(store, smtp="tcp://*:0"):
                    pass

    run(main())


def test_who_has_gone_is_told(run: Run) -> None:
    async def main() -> None:
        told: list[Client] = []
        async with Store() as store, Catcher(store, told=told.append) as catcher:
            assert catcher.smtp is not None
            async with connect(catcher.smtp) as stream:
                await stream.send(b"EHLO me\r\nQUIT\r\n")
                while b"221" not in await stream.receive():
                    pass
            while not told:
                await asyncio.sleep(0.01)
            assert [client.hello for client in told] == ["me"]
            assert list(catcher.clients) == told
            assert catcher.clients.maxlen == CLIENTS_KEPT

    run(main())


def test_opened_without_a_block(run: Run) -> None:
    async def main() -> None:
        async with Store() as store:
            catcher = await Catcher(store).open()
            assert catcher.smtp is not None
            await catcher.aclose()
            with pytest.raises(ConnectError):
                await connect(catcher.smtp)

    run(main())


def test_who_is_there(run: Run) -> None:
    async def main() -> None:
        peers = Peers()
        async with Store() as store, Catcher(store, peers=peers) as catcher:
            assert catcher.smtp is not None and catcher.imap is not None
            async with connect(catcher.smtp) as sender, connect(catcher.imap) as reader:
                await sender.receive_until(b"\r\n")
                await sender.send(b"EHLO me\r\n")
                await sender.receive_until(b"250 HELP\r\n")
                await sender.send(b"AUTH PLAIN AGFubgBzZWNyZXQ=\r\n")
                await sender.receive_until(b"235 2.7.0 Welcome\r\n")
                await reader.receive_until(b"\r\n")
                await reader.send(b"a STARTTLS\r\n")
                await reader.receive_until(b"\r\n")
                await reader.start_tls(trust=Trust.pin(catcher.identity.fingerprint))
                await reader.send(b"b NOOP\r\n")
                await reader.receive_until(b"\r\n")
                rows = {row.doing: row for row in peers.rows()}
                assert rows["smtp, plain text, as ann, 0 mails"].warning == "PASSWORD SEEN"
                assert rows["imap, TLS 1.3"].warning == ""
                assert "secret" not in repr(peers.rows())
                assert peers.kick(rows["imap, TLS 1.3"].number)
                with pytest.raises(BrokenConnection):
                    await reader.receive()
                reader.abort()
        assert (len(peers), peers.served) == (0, 2)

    run(main())
