"""What TLS services show when they are asked: `audit --probe`.

Asked are the listeners of this machine, over loopback, and the places whose keys are known (known_peers): a key that
has changed is not seen otherwise. A handshake each, a second one to see whether a broken version of TLS would do; no
byte of data follows, and nothing of what is shown is believed.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from .view import Presented, is_loopback, name_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Sequence

    from .._core import SocketEntry
    from ..known_peers import KnownPeer


def probe(listeners: Iterable[SocketEntry], known: Sequence[KnownPeer] = ()) -> list[Presented]:
    """All that speak TLS; those that do not, or not in time, are left out."""
    from concurrent.futures import ThreadPoolExecutor

    places = dict(_places(listeners))
    for peer in known:
        host, _, port = peer.place.rpartition(":")
        if port.isdecimal() and peer.place != "*":
            places.setdefault(peer.place, (host.strip("[]"), int(port), f"tls://{peer.place}"))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = pool.map(lambda item: shown(item[0], *item[1]), places.items())
    return [one for one in found if one is not None]


def shown(place: str, host: str, port: int, name: str) -> Presented | None:
    """What a service shows; None if it speaks no TLS."""
    from ssl import DER_cert_to_PEM_cert, TLSVersion

    from .. import _core
    from ..inspect.certificates import read

    try:
        version, der = _handshake(host, port)
    except (OSError, ValueError):
        return None
    with suppress(OSError, ValueError):
        version, _ = _handshake(host, port, TLSVersion.TLSv1_1)
    fingerprint = ""
    with suppress(ValueError):
        fingerprint = _core.certificate_fingerprint(DER_cert_to_PEM_cert(der).encode())
    certificate = read(der)
    return Presented(
        place,
        name,
        version,
        fingerprint,
        certificate.subject,
        certificate.expires,
        certificate.key,
        certificate.key_bits,
        certificate.signature,
    )


def _places(listeners: Iterable[SocketEntry]) -> Iterable[tuple[str, tuple[str, int, str]]]:
    for entry in listeners:
        local = entry.local
        if entry.scheme != "tcp" or entry.state != "listening" or entry.namespace_name or local is None:
            continue
        port, host = local.port or 0, str(local.host)
        if host == "*":
            host = "::1" if local.scheme == "tcp6" else "127.0.0.1"
        elif not is_loopback(host) and entry.exposure != "network":
            continue
        # As known_peers calls it when no host is told.
        place = f"localhost:{port}" if is_loopback(host) else f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        yield place, (host, port, name_of(entry))


def _handshake(host: str, port: int, most: ssl.TLSVersion | None = None) -> tuple[str, bytes]:
    context = _context(most)
    with socket.create_connection((host, port), timeout=LONGEST_SECONDS) as plain:
        with context.wrap_socket(plain, server_hostname=host) as tls:
            return tls.version() or "", tls.getpeercert(binary_form=True) or b""


def _context(most: ssl.TLSVersion | None) -> ssl.SSLContext:
    import ssl
    import warnings

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # To see what is there, old versions and forged certificates too.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with suppress(ssl.SSLError, ValueError), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        if most is not None:
            context.maximum_version = most
    return context


AT_ONCE = 8
LONGEST_SECONDS = 2.0
