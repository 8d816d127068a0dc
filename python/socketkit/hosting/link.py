"""The link to a service: where it is, and a token that nobody can guess.

The token is the first part of the path, `https://192.168.1.7:8443/~k3v.../`: who has the link is let in, and who finds
the port is not. It is no part of what is logged or listed: `hidden` takes it out.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from typing import NoReturn

    from ..endpoint import Endpoint


@final
class Link:
    """Where a service is called, and with which token (None: it has none): a frozen value that does not show it."""

    __slots__ = ("_token", "base")

    base: str
    """`https://HOST:PORT`, or the address for programs that speak no HTTP."""
    _token: str | None

    def __init__(self, base: str, token: str | None = None) -> None:
        object.__setattr__(self, "base", base)
        object.__setattr__(self, "_token", token)

    @property
    def url(self) -> str:
        """All of it, to be handed to those who may come in."""
        return self.base if self._token is None else f"{self.base}{self.prefix}/"

    @property
    def prefix(self) -> str:
        """What its paths begin with: `/~TOKEN`; "" without one."""
        return "" if self._token is None else f"/~{self._token}"

    def admits(self, token: str) -> bool:
        """Whether this is its token. Takes the same time whatever is wrong with it."""
        return self._token is not None and hmac.compare_digest(self._token.encode(), token.encode())

    def hidden(self, text: str) -> str:
        """The text without the token, for logs and lists, however the token is written in it."""
        from urllib.parse import unquote

        if self._token is None:
            return text
        if self._token not in text and self._token in unquote(text):
            text = unquote(text)
        return text.replace(self._token, "...")

    def __repr__(self) -> str:
        return f"<Link {self.base}{'' if self._token is None else '/~...'}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Link):
            return NotImplemented
        return (self.base, self._token) == (other.base, other._token)

    def __hash__(self) -> int:
        return hash((self.base, self._token))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a Link is frozen")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a Link is frozen")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Link cannot be pickled: its token would travel with it")


def new_token() -> str:
    """130 bits, in letters and digits that a person can read out and type."""
    import secrets

    return "".join(secrets.choice(ALPHABET) for _ in range(TOKEN_LETTERS))


def web_base(endpoint: Endpoint) -> str:
    """`https://HOST:PORT` for an address under TLS, else `http://`; the scheme's own port is left out."""
    secure = endpoint.carrier == "tls"
    host = endpoint.host or "localhost"
    host = f"[{host.replace('%', '%25')}]" if ":" in host else host
    port = "" if endpoint.port == (443 if secure else 80) else f":{endpoint.port}"
    return f"http{'s' if secure else ''}://{host}{port}"


ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"  # without l, o, 0 and 1, which are taken for one another
TOKEN_LETTERS = 26
