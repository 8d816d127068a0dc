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
    key: str = ""
    """RSA, DSA, EC, Ed25519 or Ed448."""
    key_bits: int = 0
    signature: str = ""
    """By what it is signed, if that is weak or usual: `SHA-256 with RSA`."""


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
    _serial, algorithm, issuer, validity, subject, key, *_ = [content for _, content in items]
    _, (kind, end) = list(_items(validity))[:2]
    extensions = next((content for tag, content in items[6:] if tag == EXTENSIONS), b"")
    names = tuple(_alternatives(extensions))
    signature = SIGNATURES.get(next(_items(algorithm))[1], "")
    return Certificate(_name(subject), _name(issuer), names, _time(kind, end), *_key(key), signature)


def _key(content: bytes) -> tuple[str, int]:
    """Kind and size of a SubjectPublicKeyInfo; ("", 0) of one that is not known."""
    (_, algorithm), (_, bits) = list(_items(content))[:2]
    parts = [part for _, part in _items(algorithm)]
    kind, bits = KEYS.get(parts[0], ""), bits[1:]  # the first byte counts bits that are not used
    if kind == "RSA":
        return kind, int.from_bytes(next(_items(next(_items(bits))[1]))[1], "big").bit_length()
    if kind == "DSA":
        return kind, int.from_bytes(next(_items(parts[1]))[1], "big").bit_length()
    if kind == "EC":
        # A point is two numbers as large as the field behind a byte; P-521's have 66 bytes.
        return kind, min((len(bits) - 1) // 2 * 8, 521)
    return kind, len(bits) * 8


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
KEYS = {
    bytes.fromhex("2a864886f70d010101"): "RSA",
    bytes.fromhex("2a8648ce380401"): "DSA",
    bytes.fromhex("2a8648ce3d0201"): "EC",
    bytes.fromhex("2b6570"): "Ed25519",
    bytes.fromhex("2b6571"): "Ed448",
}
SIGNATURES = {
    bytes.fromhex("2a864886f70d010104"): "MD5 with RSA",
    bytes.fromhex("2a864886f70d010105"): "SHA-1 with RSA",
    bytes.fromhex("2a864886f70d01010b"): "SHA-256 with RSA",
    bytes.fromhex("2a8648ce3d0401"): "SHA-1 with ECDSA",
    bytes.fromhex("2a8648ce3d040302"): "SHA-256 with ECDSA",
    bytes.fromhex("2b6570"): "Ed25519",
}
MAX_NAMES = 100
