"""An `http` or `https` address: where to connect, and what to ask for.

What stands behind `#` is never sent to a server, so that is where whom to trust is written, in the words of our
addresses: `https://192.168.1.7:8443/film.mkv#pin=sk1:...` (also `ca`, `trust`, `sni` and `key`).
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote, urljoin, urlsplit

from ..endpoint import Endpoint
from ..errors import EndpointError


class Url(NamedTuple):
    """A frozen, checked address."""

    endpoint: Endpoint
    """Where to connect: `tls://` or `tcp://`, with what was written of whom to trust."""
    target: str
    """What to ask for: the path and the query."""
    default_port: bool

    @staticmethod
    def parse(text: str) -> Url:
        """The address that `text` writes. EndpointError says what is wrong with it, and never shows a password."""
        scheme, separator, _ = text.partition("://")
        if not separator or scheme.lower() not in PORTS:
            raise EndpointError("an address of the web begins with http:// or https://", text, 0)
        if any(ord(letter) <= 0x20 or ord(letter) == 0x7F for letter in text):
            raise EndpointError("a space or a control character", quote(text), 0, "write %20 for a space")
        try:
            parts = urlsplit(text)
            host = _host(parts.hostname or "")
        except ValueError as failure:  # a bracket that is not closed, a label that no name has
            raise EndpointError(f"no host: {failure}", text, len(scheme) + 3) from None
        if parts.username is not None or parts.password is not None:
            raise EndpointError(
                "a name or a password in an address", f"{scheme}://...@{parts.hostname}", len(scheme) + 3,
                "send it as a header: Authorization",
            )  # fmt: skip
        if not host:
            raise EndpointError("no host", text, len(scheme) + 3)
        try:
            port = parts.port
        except ValueError:
            raise EndpointError("no port (0 to 65535)", text, len(scheme) + 3) from None
        secure = scheme.lower() == "https"
        own = PORTS[scheme.lower()]
        words = _words(parts.fragment)
        if words and not secure:
            raise EndpointError("who is called in plain text proves nothing", text, len(text), "write https")
        endpoint = Endpoint(scheme="tls" if secure else "tcp", host=host, port=port or own, query=words)
        target = quote(parts.path or "/", safe=SAFE) + (f"?{quote(parts.query, safe=SAFE)}" if parts.query else "")
        return Url(endpoint, target, (port or own) == own)

    @property
    def secure(self) -> bool:
        return self.endpoint.scheme == "tls"

    @property
    def authority(self) -> str:
        """Host and port as the `Host` header has them."""
        host = self.endpoint.host or ""
        host = f"[{host.partition('%')[0]}]" if ":" in host else host  # a zone is this machine's own word
        return host if self.default_port else f"{host}:{self.endpoint.port}"

    @property
    def origin(self) -> tuple[str, str | None, int | None]:
        """What tells one server from another (RFC 6454 §4)."""
        return self.endpoint.scheme, (self.endpoint.host or "").lower(), self.endpoint.port

    def joined(self, location: str) -> Url:
        """Where `location`, an answer's, leads from here; whom to trust goes along to the same server only."""
        cleaned = quote(location.strip(), safe=SAFE + "#")
        url = Url.parse(urljoin(str(self), cleaned).partition("#")[0])
        return url._replace(endpoint=self.endpoint) if url.origin == self.origin else url

    def __str__(self) -> str:
        """The address without what stands behind `#`."""
        return f"{'https' if self.secure else 'http'}://{self.authority}{self.target}"


def _words(fragment: str) -> dict[str, str]:
    """Whom to trust, if that is what stands there; the name of a place in a page says nothing to us."""
    pairs = [part.partition("=") for part in fragment.split("&")]
    if not all(name in WORDS and separator for name, separator, _ in pairs):
        return {}
    return {name: value for name, _, value in pairs}


def _host(host: str) -> str:
    return host if host.isascii() else host.encode("idna").decode()


PORTS = {"http": 80, "https": 443}
WORDS = frozenset({"pin", "ca", "trust", "sni", "key"})
SAFE = "/?:@!$&'()*+,;=-._~%[]"
