"""A caught mail goes on only where it may."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack

import pytest

from socketkit.uses.mail.database import Incoming
from socketkit.uses.mail.release import Gate, Outlet
from socketkit.uses.mail.serving import Catcher
from socketkit.uses.mail.store import Store
from tests.conftest import Run

RAW = b"Subject: hello\r\n\r\n.text\r\n"


@pytest.mark.slow
def test_released_as_it_was_caught(run: Run) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            caught, real = [await stack.enter_async_context(Store()) for _ in range(2)]
            server = await stack.enter_async_context(Catcher(real))
            assert server.smtps is not None
            mail = await caught.add(Incoming(time.time(), "ann@example.org", ("bob@example.org",), RAW, {}))
            gate = Gate([f"localhost:{server.smtps.port}"], ["*@example.org"])
            assert (await gate.release(caught, mail.id, server.smtps))[0].accepted
            (arrived,) = await real.newest()
            assert (arrived.sender, arrived.recipients) == ("ann@example.org", ("bob@example.org",))
            assert await real.raw(arrived.id) == RAW
            assert await caught.get(mail.id) == mail
            with pytest.raises(PermissionError, match=r"eve@other\.example"):
                await gate.release(caught, mail.id, server.smtps, recipients=["eve@other.example"])
            with pytest.raises(PermissionError, match="not on the list"):
                await gate.release(caught, mail.id, "tls://smtp.example.org:465")
            with pytest.raises(PermissionError, match="not on the list"):
                await Gate().release(caught, mail.id, server.smtps)
            with pytest.raises(LookupError, match="no mail 99"):
                await gate.release(caught, 99, server.smtps)
            assert len(await real.newest()) == 1

    run(main())


def test_an_outlet_needs_both_lists() -> None:
    for servers, recipients in ((["tls://smtp.example.org:465"], []), ([], ["*"])):
        with pytest.raises(ValueError, match="nothing may leave"):
            Outlet(servers, recipients)


def test_an_outlet_s_password_goes_to_its_own_servers_only(run: Run) -> None:
    async def main() -> None:
        async with Store() as store:
            outlet = Outlet(["tls://smtp.example.org:465"], ["*"])
            for server in ("tcp://smtp.example.org:465?plaintext=yes", "tls://other.example:465"):
                with pytest.raises(PermissionError, match="is none of"):
                    await outlet.release(store, 1, server=server)

    run(main())
