"""Who may see the page, and who may change something. No I/O.

- The address that is printed carries a token. The browser brings it once; it is given a cookie and sent on to an
  address without the token, so that none stays in its history.
- The cookie belongs to a folder whose name cannot be guessed: to browsers all ports of a host are one place for
  cookies, and another program on this machine would be sent ours.
- A name that leads here by somebody's DNS is refused (DNS rebinding): the page is asked for by `127.0.0.1`, `localhost`
  or `[::1]`. Any port will do, so that the page can be seen through `ssh -L`.
- What changes something is a POST from the page itself: its origin, and a key that only the page's scripts know.

Nothing here says which of them was wrong in a way that helps to guess, and no secret is in any text.
"""

from __future__ import annotations

import secrets
from hmac import compare_digest
from typing import TYPE_CHECKING

from ...http.exchange import Answer, plain

if TYPE_CHECKING:
    from ...http.exchange import Request


class Door:
    """The secrets of one run."""

    def __init__(self, token: str | None = None) -> None:
        self.token = token or secrets.token_urlsafe(32)
        self.folder = f"/{secrets.token_urlsafe(12)}/"
        self.key = secrets.token_urlsafe(32)  # of the page's scripts
        self._session = secrets.token_urlsafe(32)

    def refusal(self, request: Request) -> Answer | None:
        """Why nothing at all is answered: the name by which we are asked, or a page of others that asks."""
        host = request.headers.get("host", "")
        if _name(host) not in NAMES:
            return plain(403, "This page answers to 127.0.0.1 and localhost only.")
        # Browsers say which page asks. Where the page itself is asked for, that is a person with an address.
        own = request.headers.get("sec-fetch-site", "same-origin") == "same-origin"
        if not own and request.path.startswith(self.folder) and request.path != self.folder:
            return plain(403, "This is asked for by its own page only.")
        return None

    def entrance(self, request: Request) -> Answer | None:
        """The cookie for whoever brings the token to `/`."""
        given = request.query.get("token")
        if request.path != "/" or request.method != "GET" or given is None or not _same(given, self.token):
            return None
        cookie = f"{COOKIE}={self._session}; Path={self.folder}; HttpOnly; SameSite=Strict"
        return Answer(303, headers=(("location", self.folder), ("set-cookie", cookie)))

    def admits(self, request: Request) -> bool:
        """Whether the caller has the cookie."""
        return any(name == COOKIE and _same(value, self._session) for name, value in request.cookies)

    def admits_reader(self, request: Request) -> bool:
        """Whether a program brings the token itself, as its header or in the address."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _same(given.strip(), self.token):
            return True
        return _same(request.query.get("token", ""), self.token)

    def admits_change(self, request: Request) -> bool:
        """Whether the page itself sends this POST."""
        return (
            self.admits(request)
            and request.headers.get("origin") == f"http://{request.headers.get('host', '')}"
            and request.headers.get("content-type", "").partition(";")[0].strip() == "application/json"
            and _same(request.headers.get("x-socketkit-key", ""), self.key)
        )


def _same(given: str, secret: str) -> bool:
    """In a time that says nothing of the secret."""
    return compare_digest(given.encode("utf-8", "surrogateescape"), secret.encode())


def _name(host: str) -> str:
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        return host.lower()
    return name.lower() if port.isascii() and port.isdigit() else ""


NAMES = ("127.0.0.1", "localhost", "[::1]")
COOKIE = "socketkit-watch"
