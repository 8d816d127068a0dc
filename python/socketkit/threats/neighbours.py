"""Neighbours, gateways, and the files of Unix sockets, as the kernel tells them by netlink (man 7 rtnetlink).

The parsers take bytes; `read` asks. All of it is of the network namespace of the thread that asks.
"""

from __future__ import annotations

import socket
from struct import Struct
from typing import TYPE_CHECKING, Any

from .view import Gateway, Neighbour

if TYPE_CHECKING:
    from collections.abc import Iterator


def read(unknown: list[str]) -> dict[str, Any]:
    """The fields of a `View` that rtnetlink tells."""
    try:
        found = [*neighbours(_dump(NETLINK_ROUTE, RTM_GETNEIGH, _NEIGHBOUR.pack(0, 0, 0, 0, 0)))]
        gateways = [*default_gateways(_dump(NETLINK_ROUTE, RTM_GETROUTE, _ROUTE.pack(0, 0, 0, 0, 0, 0, 0, 0, 0)))]
    except OSError as failure:
        unknown.append(f"neighbours and routes: {failure.strerror}")
        return {}
    return {"neighbours": found, "gateways": gateways}


def unix_files() -> dict[int, int]:
    """For each listening Unix socket with a file: its inode, and that of the file which it made."""
    request = _UNIX.pack(socket.AF_UNIX, 0, 0, 1 << LISTEN, 0, UDIAG_SHOW_VFS, ANY, ANY)
    try:
        return dict(_files(_dump(NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, request)))
    except OSError:
        return {}


def neighbours(messages: list[tuple[int, bytes]]) -> Iterator[Neighbour]:
    """Those that have answered: of the rest there is no hardware address."""
    for kind, body in messages:
        if kind != RTM_NEWNEIGH or len(body) < _NEIGHBOUR.size:
            continue
        family, index, state, *_ = _NEIGHBOUR.unpack_from(body)
        values = attributes(body, _NEIGHBOUR.size)
        address, hardware = values.get(NDA_DST), values.get(NDA_LLADDR)
        if state & (NUD_INCOMPLETE | NUD_FAILED | NUD_NOARP) or not address or not hardware or not any(hardware):
            continue
        if text := _address(family, address):
            yield Neighbour(text, hardware.hex(":"), _interface(index))


def default_gateways(messages: list[tuple[int, bytes]]) -> Iterator[Gateway]:
    for kind, body in messages:
        if kind != RTM_NEWROUTE or len(body) < _ROUTE.size:
            continue
        family, destination_bits, *_ = _ROUTE.unpack_from(body)
        values = attributes(body, _ROUTE.size)
        gateway, index = values.get(RTA_GATEWAY), values.get(RTA_OIF)
        if destination_bits == 0 and gateway and index and (text := _address(family, gateway)):
            yield Gateway(text, _interface(_NUMBER.unpack_from(index)[0]))


def attributes(body: bytes, at: int) -> dict[int, bytes]:
    """The attributes behind a message's fixed part; what is cut off is left out."""
    found = {}
    while at + _ATTRIBUTE.size <= len(body):
        length, name = _ATTRIBUTE.unpack_from(body, at)
        if not _ATTRIBUTE.size <= length <= len(body) - at:
            break
        found[name & 0x3FFF] = body[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
    return found


def parsed(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The messages of one datagram: kind and body."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, at)
        if not _HEADER.size <= length <= len(data) - at:
            return
        yield kind, data[at + _HEADER.size : at + length]
        at += (length + 3) & ~3


def _files(messages: list[tuple[int, bytes]]) -> Iterator[tuple[int, int]]:
    for kind, body in messages:
        file = attributes(body, _UNIX_MESSAGE.size).get(UNIX_DIAG_VFS)
        if kind == SOCK_DIAG_BY_FAMILY and file is not None and len(file) >= _NUMBER.size:
            yield _UNIX_MESSAGE.unpack_from(body)[4], _NUMBER.unpack_from(file)[0]


def _dump(protocol: int, kind: int, request: bytes) -> list[tuple[int, bytes]]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol) as netlink:
        netlink.settimeout(LONGEST_SECONDS)
        netlink.send(_HEADER.pack(_HEADER.size + len(request), kind, NLM_F_REQUEST | NLM_F_DUMP, 1, 0) + request)
        found: list[tuple[int, bytes]] = []
        while True:
            for answer, body in parsed(netlink.recv(MAX_BYTES)):
                if answer == NLMSG_DONE:
                    return found
                if answer == NLMSG_ERROR:
                    number = -Struct("=i").unpack_from(body)[0]
                    raise OSError(number, "the kernel refuses to tell them")
                found.append((answer, body))


def _address(family: int, data: bytes) -> str | None:
    right = (family, len(data)) in ((socket.AF_INET, 4), (socket.AF_INET6, 16))
    return socket.inet_ntop(family, data) if right else None


def _interface(index: int) -> str:
    try:
        return socket.if_indextoname(index)
    except OSError:  # it is gone
        return str(index)


NETLINK_ROUTE, NETLINK_SOCK_DIAG = 0, 4
NLM_F_REQUEST, NLM_F_DUMP, NLMSG_ERROR, NLMSG_DONE = 1, 0x300, 2, 3
RTM_NEWROUTE, RTM_GETROUTE, RTM_NEWNEIGH, RTM_GETNEIGH = 24, 26, 28, 30
NDA_DST, NDA_LLADDR, RTA_OIF, RTA_GATEWAY = 1, 2, 4, 5
NUD_INCOMPLETE, NUD_FAILED, NUD_NOARP = 0x01, 0x20, 0x40
SOCK_DIAG_BY_FAMILY, UDIAG_SHOW_VFS, UNIX_DIAG_VFS, LISTEN = 20, 0x2, 1, 10
ANY = 0xFFFFFFFF
MAX_BYTES = 262_144
LONGEST_SECONDS = 5.0

_HEADER = Struct("=IHHII")
_NEIGHBOUR = Struct("=BxxxiHBB")
_ROUTE = Struct("=BBBBBBBBI")
_UNIX = Struct("=BBHIIIII")
_UNIX_MESSAGE = Struct("=BBBBIII")
_ATTRIBUTE = Struct("=HH")
_NUMBER = Struct("=I")
