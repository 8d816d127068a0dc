"""Who asks, by what a browser says of it: a person who opens a page, a page of ours, a page of another site. No I/O.

To browsers all ports of a host are one place for cookies, and `localhost:3000` is the same site as `localhost:8000`: so
a cookie, even a strict one, does not say that our own page asks. Sec-Fetch-Site (Fetch Metadata) does, and Origin where
that is missing: over plain text from another machine, and for WebSockets. Programs say neither of the two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .asgi import Scope


def is_foreign(scope: Scope) -> bool:
    """Whether another site's page asks for this. A link in one, which a person follows, is not meant by that."""
    headers = dict(scope["headers"])
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        return site not in (b"same-origin", b"none") and not _is_visit(scope, headers)
    origin = headers.get(b"origin")
    # Whether it was https is not compared: a proxy before us may have taken TLS off.
    return origin is not None and origin.partition(b"://")[2] != headers.get(b"host")


def is_page_of_browser(headers: Iterable[tuple[bytes, bytes]] | Mapping[bytes, bytes]) -> bool:
    """Whether a person opens this in a browser, which will keep a cookie."""
    found = dict(headers)
    mode = found.get(b"sec-fetch-mode")
    return mode == b"navigate" if mode else b"text/html" in found.get(b"accept", b"")


def _is_visit(scope: Scope, headers: dict[bytes, bytes]) -> bool:
    """Whether it is to be a page of its own: neither in a frame of the other one, nor sent by its form."""
    return (
        scope.get("method") in ("GET", "HEAD")
        and headers.get(b"sec-fetch-mode") == b"navigate"
        and headers.get(b"sec-fetch-dest", b"document") == b"document"
    )
