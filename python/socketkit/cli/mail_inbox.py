"""The inbox of `socketkit serve mail`: where it is served, behind a link with a token."""

from __future__ import annotations

from contextlib import asynccontextmanager
from errno import EADDRINUSE
from typing import TYPE_CHECKING

from ..errors import ListenError
from ..hosting import Place, Wanted, host, place
from ..hosting.link import new_token
from ..hosting.token_file import kept_token
from ..hosting.web import web
from ..uses.mail.inbox import Inbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from ..endpoint import Endpoint
    from ..hosting import Link
    from ..uses.mail.store import Store


@asynccontextmanager
async def served(
    store: Store,
    addresses: Mapping[str, Endpoint],
    *,
    asked: Endpoint | None = None,
    token_file: str | None = None,
) -> AsyncIterator[Link]:
    """Serve the inbox for the block, which gets the link to it.

    On `asked`, else on its usual port of loopback, or on a free one where that is taken. `addresses` are what its page
    says of where to send mail.
    """
    application = Inbox(store, addresses={name: str(at.replace(query=None)) for name, at in addresses.items()})
    where = place_of(asked, token_file)
    hosting = host(web(application), where)
    try:
        hosted = await hosting.__aenter__()
    except ListenError as failure:
        if failure.errno != EADDRINUSE or asked is not None:
            raise
        hosting = host(web(application), place(Wanted(token_file=token_file)))
        hosted = await hosting.__aenter__()
    try:
        yield hosted.link
    finally:
        application.end()
        await hosting.__aexit__(None, None, None)


def place_of(asked: Endpoint | None, token_file: str | None = None) -> Place:
    """Where it is opened. Mail has secrets, so its inbox has a token wherever it is."""
    if asked is None:
        return place(Wanted(port=USUAL_PORT, token_file=token_file))
    called = asked.host or "localhost"
    if asked.is_wildcard:
        from ..hosting.addresses import choose

        called = choose().host
    shown = None
    if asked.carrier == "tls":
        from ..hosting.authority import local_names, shown_for

        shown = shown_for(local_names([called]))
    token = new_token() if token_file is None else kept_token(token_file)
    return Place(asked, shown.identity if shown else None, called, shown, token, web=True)


USUAL_PORT = 8025
