"""Packets out of capture files that others made: pcap and pcapng, with their ports as they are or moved to odd ones."""

from __future__ import annotations

import struct
from collections.abc import Iterator

ETHERNET, COOKED = 1, 276


def packets(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(link type, nanoseconds, packet), as they come in the file; what is cut off at the end is left out."""
    if data[:4] == b"\x0a\x0d\x0d\x0a":
        yield from _pcapng(data)
        return
    order = "<" if data[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
    unit = 1 if data[:4] in (b"\x4d\x3c\xb2\xa1", b"\xa1\xb2\x3c\x4d") else 1_000
    link = struct.unpack_from(order + "I", data, 20)[0] & 0xFFFF
    at = 24
    while at + 16 <= len(data):
        seconds, fraction, captured, _ = struct.unpack_from(order + "4I", data, at)
        yield link, seconds * 1_000_000_000 + fraction * unit, data[at + 16 : at + 16 + captured]
        at += 16 + captured


def _pcapng(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    at, order = 0, "<"
    links: list[int] = []
    while at + 12 <= len(data):
        if data[at : at + 4] == b"\x0a\x0d\x0d\x0a":
            order = "<" if data[at + 8 : at + 12] == b"\x4d\x3c\x2b\x1a" else ">"
            links = []
        kind, length = struct.unpack_from(order + "2I", data, at)
        if length < 12:
            return
        body = data[at + 8 : at + length - 4]
        if kind == 1:
            links.append(struct.unpack_from(order + "H", body)[0])
        elif kind == 6:
            interface, high, low, captured, _ = struct.unpack_from(order + "5I", body)
            yield links[interface], ((high << 32) | low) * 1_000 % 2**63, body[20 : 20 + captured]
        at += length


def known_link(link: int, packet: bytes) -> tuple[int, bytes] | None:
    """The packet with a link header that the engine reads: (1 or 276, packet); None for links without IP in them."""
    if link in (ETHERNET, COOKED):
        return link, packet
    if link == 113:  # the first form of the cooked header
        return COOKED, packet[14:16] + bytes(18) + packet[16:]
    if link in (0, 12, 14, 101, 228, 229):
        packet = packet[4:] if link == 0 else packet
        version = packet[0] >> 4 if packet else 4
        return COOKED, (b"\x86\xdd" if version == 6 else b"\x08\x00") + bytes(18) + packet
    return None


def moved(port: int) -> int:
    """Another port for each: none of those that are known stays where it was."""
    return port ^ 0x5A5A


def with_moved_ports(link: int, packet: bytes) -> bytes:
    """The packet with both its ports moved."""
    at, kind = (12, packet[12:14]) if link == ETHERNET else (18, packet[:2])
    while kind == b"\x81\x00" and link == ETHERNET:
        at += 4
        kind = packet[at : at + 2]
    at += 2
    if kind == b"\x08\x00" and len(packet) > at + 20:
        protocol, ports = packet[at + 9], at + (packet[at] & 15) * 4
        if struct.unpack_from(">H", packet, at + 6)[0] & 0x1FFF:
            return packet  # a later fragment has none
    elif kind == b"\x86\xdd" and len(packet) > at + 40:
        protocol, ports = packet[at + 6], at + 40
    else:
        return packet
    if protocol not in (6, 17) or len(packet) < ports + 4:
        return packet
    source, destination = struct.unpack_from(">2H", packet, ports)
    return packet[:ports] + struct.pack(">2H", moved(source), moved(destination)) + packet[ports + 4 :]
