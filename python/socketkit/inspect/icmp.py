"""ICMP for IPv4 (RFC 792) and IPv6 (RFC 4443): echo messages as bytes, and errors in words.

No I/O. The family is `AF_INET` or `AF_INET6` everywhere.
"""

from __future__ import annotations

import struct
from socket import AF_INET, AF_INET6
from typing import NamedTuple

ECHO_REQUEST: dict[int, int] = {AF_INET: 8, AF_INET6: 128}
ECHO_REPLY: dict[int, int] = {AF_INET: 0, AF_INET6: 129}
HEADER_BYTES = 8


class Echo(NamedTuple):
    """An echo request or its reply."""

    kind: int
    identifier: int
    sequence: int
    payload: bytes


def echo_request(family: int, identifier: int, sequence: int, payload: bytes) -> bytes:
    """The message with its checksum; over IPv6 the kernel fills that in, for it covers the addresses as well."""
    kind = ECHO_REQUEST[family]
    unsummed = struct.pack("!BBHHH", kind, 0, 0, identifier, sequence) + payload
    if family == AF_INET6:
        return unsummed
    return struct.pack("!BBHHH", kind, 0, checksum(unsummed), identifier, sequence) + payload


def parse_echo(data: bytes) -> Echo | None:
    """What stands in the message; None if it is too short for an echo."""
    if len(data) < HEADER_BYTES:
        return None
    kind, _, _, identifier, sequence = _HEADER.unpack_from(data)
    return Echo(kind, identifier, sequence, data[HEADER_BYTES:])


def without_ip_header(data: bytes) -> bytes:
    """What an IPv4 packet carries: raw sockets give the header with it. Nothing if the header is cut."""
    return data[(data[0] & 15) * 4 :] if data else b""


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    # The sum of 16-bit words with end-around carry is the remainder by 0xffff of the whole as one number.
    number = int.from_bytes(data + b"\0" if len(data) % 2 else data, "big")
    return 0xFFFF - number % 0xFFFF


class Refusal(NamedTuple):
    """What an ICMP error says."""

    family: int
    kind: int
    code: int
    mtu_bytes: int = 0

    @property
    def expired(self) -> bool:
        """Whether the packet's hops were used up on the way."""
        return (self.kind, self.code) == ((11, 0) if self.family == AF_INET else (3, 0))

    @property
    def port_unreachable(self) -> bool:
        return (self.kind, self.code) == ((3, 3) if self.family == AF_INET else (1, 4))

    @property
    def too_big(self) -> bool:
        return (self.kind, self.code) == (3, 4) if self.family == AF_INET else self.kind == 2

    @property
    def words(self) -> str:
        if self.too_big:
            return f"too large for the next network (MTU {self.mtu_bytes})"
        known = _WORDS[self.family].get((self.kind, self.code))
        return known or f"ICMP error of type {self.kind}, code {self.code}"

    @property
    def mark(self) -> str:
        """As traceroute prints it: `!H`, `!N`, `!X`; nothing for what ends a trace in the ordinary way."""
        if self.expired or self.port_unreachable:
            return ""
        if self.too_big:
            return f"!F-{self.mtu_bytes}"
        return _MARKS[self.family].get((self.kind, self.code)) or f"!<{self.kind}-{self.code}>"


_HEADER = struct.Struct("!BBHHH")

_WORDS: dict[int, dict[tuple[int, int], str]] = {
    AF_INET: {
        (3, 0): "network unreachable",
        (3, 1): "host unreachable",
        (3, 2): "protocol unreachable",
        (3, 3): "port unreachable",
        (3, 5): "source route failed",
        (3, 6): "network unknown",
        (3, 7): "host unknown",
        (3, 9): "network administratively prohibited",
        (3, 10): "host administratively prohibited",
        (3, 11): "network unreachable for this type of service",
        (3, 12): "host unreachable for this type of service",
        (3, 13): "administratively prohibited",
        (3, 14): "precedence violation",
        (3, 15): "precedence cut off",
        (11, 0): "hop limit exceeded",
        (11, 1): "fragments did not arrive in time",
        (12, 0): "parameter problem in the header",
    },
    AF_INET6: {
        (1, 0): "no route to the destination",
        (1, 1): "administratively prohibited",
        (1, 2): "beyond the scope of the source address",
        (1, 3): "address unreachable",
        (1, 4): "port unreachable",
        (1, 5): "source address refused by policy",
        (1, 6): "route to the destination rejected",
        (3, 0): "hop limit exceeded",
        (3, 1): "fragments did not arrive in time",
        (4, 0): "parameter problem: a field of the header",
        (4, 1): "parameter problem: the next header",
        (4, 2): "parameter problem: an option",
    },
}
_MARKS: dict[int, dict[tuple[int, int], str]] = {
    AF_INET: {
        (3, 0): "!N",
        (3, 1): "!H",
        (3, 2): "!P",
        (3, 5): "!S",
        (3, 6): "!N",
        (3, 7): "!H",
        (3, 9): "!X",
        (3, 10): "!X",
        (3, 11): "!N",
        (3, 12): "!H",
        (3, 13): "!X",
        (3, 14): "!V",
        (3, 15): "!C",
    },
    AF_INET6: {(1, 0): "!N", (1, 1): "!X", (1, 2): "!S", (1, 3): "!H", (1, 5): "!X", (1, 6): "!X"},
}
