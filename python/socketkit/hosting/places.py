"""Where a service is opened: from what a person asked for to an address for the verbs, and the links to hand out.

- Without a word it stays on this machine, in plain text: nobody is on the way, and browsers trust it like TLS there.
- `lan` or `on` open it to the network: then it is encrypted, and callers are identified (by the link's token, or their
  keys), unless `plaintext` or `public` say otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..endpoint import Endpoint
from .addresses import choose, reach_of
from .link import Link, new_token, web_base

if TYPE_CHECKING:
    from ..identity import Identity
    from .authority import Shown


class Wanted(NamedTuple):
    """What a person asked for."""

    lan: bool = False
    """Open it to the network, on the address that is best."""
    on: str | None = None
    """Open it to the network on this interface or address; `*`: on all of them."""
    port: int = 0
    """0: a free one."""
    public: bool = False
    """Whoever reaches it is served: no token, no key."""
    plaintext: bool = False
    """Without TLS."""
    tls: bool = False
    """With TLS, on this machine too."""
    token_file: str | None = None
    """The file that keeps the link's token; None: it is new at each start."""
    names: tuple[str, ...] = ()
    """More names by which it is called in plain text, by a proxy before it."""


class Place(NamedTuple):
    """Where a service is opened. `endpoint` and `identity` are for the verbs."""

    endpoint: Endpoint
    identity: Identity | None
    host: str
    """The address or name by which it is called."""
    shown: Shown | None
    """What browsers are shown; None without TLS."""
    token: str | None
    web: bool
    names: tuple[str, ...] = ()
    """More names by which it may be called."""

    def link(self, local: Endpoint) -> Link:
        """The link to it, now that it listens on `local`."""
        if not self.web:
            return Link(str(local.replace(host=self.host) if local.is_wildcard else local))
        return Link(web_base(local.replace(host=self.host, query=None)), self.token)


def place(wanted: Wanted, *, web: bool = True, scheme: str = "tcp") -> Place:
    """Where to open a service. ListenError if this machine has no such address, IdentityError for a bad token file.

    `web`: it is called by browsers, which show a token and no keys. Others may keep borders: `scheme` is then
    `seqpacket+tcp`.
    """
    opened = wanted.lan or wanted.on is not None
    host, bound = "localhost", None
    if opened:
        host = choose(None if wanted.on == "*" else wanted.on).host
        bound = "*" if wanted.on == "*" else host
    here = not opened or (bound != "*" and reach_of(host) == "this machine")
    encrypted = wanted.tls or not (here or wanted.plaintext)
    query = {}
    if encrypted and (web or wanted.public):
        query["public"] = "yes"  # a browser is known by the link's token: TLS asks it for no key
    elif not encrypted and not here:
        query["plaintext"] = "yes"
    scheme = scheme.replace("tcp", "tls") if encrypted else scheme
    endpoint = Endpoint(scheme=scheme, host=bound, port=wanted.port, query=query)
    shown = None
    if encrypted:
        from .authority import local_names, shown_for

        shown = shown_for(local_names([host]))
    token = _token(wanted, web=web)
    return Place(endpoint, shown.identity if shown else None, host, shown, token, web, wanted.names)


def _token(wanted: Wanted, *, web: bool) -> str | None:
    if wanted.token_file is not None:
        if wanted.public or not web:
            why = "it is public" if wanted.public else "no browser calls it"
            raise ValueError(f"a token is kept for the link of a service, and this one has none: {why}")
        from .token_file import kept_token

        return kept_token(wanted.token_file)
    return new_token() if web and not wanted.public else None


def at(endpoint: Endpoint) -> Place:
    """A service on an address that a person has written himself, words and all."""
    return Place(endpoint, None, endpoint.host or "localhost", None, None, False)
