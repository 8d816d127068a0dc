"""`serve`: a catcher of mail and its inbox as one hosted service: what `socketkit serve mail` starts.

    async with Store() as store, serve(store, Wanted(lan=True)) as hosted:
        print(hosted.link.url, hosted.addresses)

The link is the inbox's, which has a token wherever it is: mail has secrets. Where the inbox is opened has nothing to do
with where mail is taken: that is on loopback unless an address says otherwise.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ...hosting import Door, Wanted, host, place
from ...hosting.authority import local_names, shown_for
from ...hosting.web import web
from .inbox import Inbox
from .serving import Catcher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from ...hosting import Happening, Hosted, Place
    from .store import Store


def opened(
    store: Store, place: Place, inbox: Inbox | None, *, usual_port: int | None = None, **options: Any
) -> Callable[[Hosted], AbstractAsyncContextManager[Catcher]]:
    """What `hosting.host` opens; `options` are those of `Catcher`.

    The inbox is at `place`, or where its port is `usual_port` and taken, on a free one. Without an inbox the place is
    not looked at. TLS shows what `shown_for` gives: this user's identity, and what browsers and most programs know.
    """
    options.setdefault("identity", shown_for(local_names(["localhost"])).identity)

    @asynccontextmanager
    async def opening(hosted: Hosted) -> AsyncIterator[Catcher]:
        if inbox is None:
            async with Catcher(store, peers=hosted.peers, **options) as catcher:
                yield catcher
            return
        pages = web(inbox, name="inbox", relative=True)
        door = Door(place.endpoint, lambda where: pages(hosted, where), usual=place.endpoint.port == usual_port)
        async with Catcher(store, peers=hosted.peers, also={"inbox": door}, main="inbox", **options) as catcher:
            told = {name: str(at.replace(query=None)) for name, at in catcher.addresses.items() if name != "inbox"}
            inbox.addresses.update(told)
            try:
                yield catcher
            finally:
                inbox.end()

    return opening


@asynccontextmanager
async def serve(
    store: Store,
    wanted: Wanted | None = None,
    *,
    seconds: float | None = None,
    tell: Callable[[Happening], None] | None = None,
    **options: Any,
) -> AsyncIterator[Hosted]:
    """Catch mail and show it for as long as the block runs; `options` are those of `Catcher`.

    The inbox is where `wanted` says, without it on this machine. The block gets a `Hosted`: `link.url` of the inbox,
    `addresses` of all, `peers`, and `wait()`, which returns after `seconds`. Raises what `Catcher` does.
    """
    where = place((wanted or Wanted())._replace(public=False))
    async with host(opened(store, where, Inbox(store), **options), where, seconds=seconds, tell=tell) as hosted:
        yield hosted
