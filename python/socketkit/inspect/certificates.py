"""A certificate's subject, names and dates, out of its DER (X.690, RFC 5280). Nothing is verified: it is shown.

The key's fingerprint is read by the engine, with the parser that TLS uses. What cannot be read here is left empty.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from .service_probes import printable

if TYPE_CHECKING:
    from collections.abc import Iterator


class Certificate(NamedTuple):
    subject: str
    issuer: str
    names: tuple[str, ...]
    """DNS names and addresses that it is for."""
    expires: datetime | None


def read(der: bytes) -> Certificate:
    """What a certificate says. Raises nothing: a broken one says nothing."""
    try:
        return _read(der)
    except (ValueError, IndexError, StopIteration):
        return Certificate("", "", (), None)


def _read(der: bytes) -> Certificate:
    body = next(_items(next(_items(der))[1]))[1]
    items = list(_items(body))
    if items[0][0] == VERSION:
        del items[0]
    _serial, _algorithm, issuer, validity, subject, *_ = [content for _, content in items]
    _, (kind, end) = list(_items(validity))[:2]
    extensions = next((content for tag, content in items[6:] if tag == EXTENSIONS), b"")
    return Certificate(_name(subject), _name(issuer), tuple(_alternatives(extensions)), _time(kind, end))


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The elements that stand side by side: tag and content."""
    at = 0
    while at < len(data):
        tag, length = data[at], data[at + 1]
        at += 2
        if length & 0x80:
            count = length & 0x7F
            if not 1 <= count <= 3:
                raise ValueError("a length that no certificate has")
            length = int.from_bytes(data[at : at + count], "big")
            at += count
        if at + length > len(data):
            raise ValueError("it ends too early")
        yield tag, data[at : at + length]
        at += length


def _name(content: bytes) -> str:
    """The common name, or the organisation."""
    found: dict[bytes, str] = {}
    for _, part in _items(content):
        for _, pair in _items(part):
            (_, kind), (tag, value) = list(_items(pair))[:2]
            text = value.decode("utf-16-be", "replace").encode() if tag == BMP_STRING else value
            found.setdefault(kind, printable(text))
    return found.get(COMMON_NAME) or found.get(ORGANISATION) or ""


def _alternatives(extensions: bytes) -> Iterator[str]:
    from ipaddress import ip_address

    for _, listed in _items(extensions):
        for _, extension in _items(listed):
            (_, kind), *_, (_, value) = list(_items(extension))
            if kind != ALTERNATIVE_NAMES:
                continue
            for tag, name in list(_items(next(_items(value))[1]))[:MAX_NAMES]:
                if tag == DNS_NAME:
                    yield printable(name)
                elif tag == IP_ADDRESS and len(name) in (4, 16):
                    yield str(ip_address(name))


def _time(kind: int, text: bytes) -> datetime | None:
    # UTCTime has two digits of the year: 50 to 99 are of the last century (RFC 5280 §4.1.2.5.1).
    digits = text.decode("ascii", "replace").removesuffix("Z")
    if kind == UTC_TIME:
        digits = ("19" if digits[:2] >= "50" else "20") + digits
    try:
        return datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None


VERSION, EXTENSIONS, UTC_TIME, BMP_STRING = 0xA0, 0xA3, 0x17, 0x1E
DNS_NAME, IP_ADDRESS = 0x82, 0x87
COMMON_NAME, ORGANISATION, ALTERNATIVE_NAMES = b"\x55\x04\x03", b"\x55\x04\x0a", b"\x55\x1d\x11"
MAX_NAMES = 100
