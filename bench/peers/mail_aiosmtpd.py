"""aiosmtpd with its own handlers: one that keeps nothing, or its Maildir (`--mailbox`)."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

from aiosmtpd.handlers import Mailbox
from aiosmtpd.smtp import SMTP
from startup import BACKLOG, announce, run


class Nothing:
    """aiosmtpd's own Sink keeps nothing, but parses the mail first; this does as little as a handler can."""

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802  # aiosmtpd's name
        return "250 OK"


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        handler: Any = Mailbox(str(Path(folder) / "mail")) if "--mailbox" in sys.argv else Nothing()
        loop = asyncio.get_running_loop()
        # A name of its own, so that it does not look for one in DNS at each connection.
        server = await loop.create_server(
            lambda: SMTP(handler, hostname="localhost", loop=loop), "127.0.0.1", 0, backlog=BACKLOG
        )
        async with server:
            announce(server.sockets[0].getsockname()[1])
            await server.serve_forever()


run(main())
