"""What listens on an open TCP port: its greeting, its answer to a request, its TLS version and certificate.

At most two connections to each port, so many at once over all, bounded in time and bytes. Nothing is believed: the
certificate is shown, not verified, and whoever wants it to be the right one compares the fingerprint.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from .. import _core
from . import certificates
from .service_probes import TLS_PORTS, Service, answer, banner, is_tls, request

if TYPE_CHECKING:
    import ssl
    from datetime import datetime


class Tls(NamedTuple):
    """What a port shows in a TLS handshake; nothing of it is verified."""

    version: str
    """As in `TLSv1.3`."""
    fingerprint: str
    """`sk1:...` of its key."""
    subject: str
    issuer: str
    names: tuple[str, ...]
    expires: datetime | None

    @property
    def self_issued(self) -> bool:
        return self.subject == self.issuer


class Identity(NamedTuple):
    service: Service
    tls: Tls | None = None


async def identify(host: str, address: str, port: int, scope: int = 0) -> Identity:
    """What listens there; never raises for what the network or the peer does. It takes LONGEST_SECONDS at most."""
    where = f"{address}%{scope}" if scope else address
    identity = Identity(Service(""))
    with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
        async with asyncio.timeout(LONGEST_SECONDS):
            if port in TLS_PORTS and (found := await _in_tls(host, where, port)):
                return found
            identity, may_be_tls = await _plain(host, where, port)
            if may_be_tls and port not in TLS_PORTS and (found := await _in_tls(host, where, port)):
                return found
    return identity


async def _plain(host: str, where: str, port: int) -> tuple[Identity, bool]:
    reader, writer = await asyncio.open_connection(where, port, limit=MAX_BYTES)
    try:
        if data := await _heard(reader, GREETING_SECONDS):
            return Identity(banner(data)), False
        writer.write(request(host))
        data = await _heard(reader, ANSWER_SECONDS)
        return Identity(answer(data)), not data or is_tls(data)
    finally:
        _leave(writer)


async def _in_tls(host: str, where: str, port: int) -> Identity | None:
    """None: it speaks no TLS."""
    try:
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            reader, writer = await asyncio.open_connection(
                where, port, limit=MAX_BYTES, ssl=_context(), server_hostname=host if host != where else ""
            )
    except (OSError, TimeoutError, ValueError):
        return None
    try:
        tls = _shown(writer)
        service = Service("")
        # Who demands a key of us says so only now, by an alert.
        with suppress(OSError, TimeoutError):
            data = await _heard(reader, GREETING_SECONDS)
            if data:
                service = banner(data)
            else:
                writer.write(request(host))
                service = answer(await _heard(reader, ANSWER_SECONDS))
        return Identity(service, tls)
    finally:
        _leave(writer)


def _context() -> ssl.SSLContext:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # To see what is there, old versions and forged certificates too; no byte of anybody's is sent over it.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with suppress(ssl.SSLError, ValueError):
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_alpn_protocols(["http/1.1"])
    return context


def _shown(writer: asyncio.StreamWriter) -> Tls | None:
    from ssl import DER_cert_to_PEM_cert

    connection = writer.get_extra_info("ssl_object")
    der = connection.getpeercert(binary_form=True) if connection else None
    if not der:
        return None
    try:
        fingerprint = _core.certificate_fingerprint(DER_cert_to_PEM_cert(der).encode())
    except ValueError:
        fingerprint = ""
    certificate = certificates.read(der)
    return Tls(
        connection.version() or "",
        fingerprint,
        certificate.subject,
        certificate.issuer,
        certificate.names,
        certificate.expires,
    )


async def _heard(reader: asyncio.StreamReader, seconds: float) -> bytes:
    """What comes first, for so long; empty if nothing does."""
    try:
        async with asyncio.timeout(seconds):
            return await reader.read(MAX_BYTES)
    except TimeoutError:
        return b""


def _leave(writer: asyncio.StreamWriter) -> None:
    # At once: a peer that does not read would keep a polite end waiting.
    writer.transport.abort()


LONGEST_SECONDS = 6.0
GREETING_SECONDS = 0.5
ANSWER_SECONDS = 1.0
HANDSHAKE_SECONDS = 2.5
MAX_BYTES = 4_096
