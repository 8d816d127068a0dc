"""The catcher of socketkit with its store: in a file of its own folder, or in memory (`--memory`)."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from startup import announce, run

from socketkit import Identity, Limits
from socketkit.uses.mail import Catcher, Keep, Store


async def main() -> None:
    # Every mail of a run is kept; the load leaves from many addresses of loopback, all of which are trusted.
    keep = Keep(most_mails=10_000_000, most_bytes=1 << 34)
    with tempfile.TemporaryDirectory() as folder:
        path = None if "--memory" in sys.argv else str(Path(folder) / "mail.db")
        async with Store(path, keep=keep) as store:
            limits = Limits(message_bytes=26_214_400)
            options = {"smtps": None, "imap": None, "pop3": None, "limits": limits, "identity": Identity.new()}
            async with Catcher(store, smtp="tcp://127.0.0.1:0", **options) as catcher:  # type: ignore[arg-type]
                announce(catcher.smtp.port if catcher.smtp else None)
                await asyncio.Event().wait()


run(main())
