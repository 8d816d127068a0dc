"""Ethernet frames, whole: `raw+ethernet://INTERFACE`, by a packet socket of the kernel (man 7 packet).

The socket is made deaf (protocol 0), gets its filter, and only then hears: nothing is ever received that the filter
would have refused.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from struct import Struct
from typing import TYPE_CHECKING

from .. import _core
from ..errors import SocketError, Unsupported, explain, raisable
from .filters import ETHERNET, Filter

if TYPE_CHECKING:
    from ..endpoint import Endpoint


def open_socket(endpoint: Endpoint, operation: str = "bind") -> socket.socket:
    """A socket that hears the interface's frames, and does not block.

    `proto` (an EtherType) is what it hears, all protocols without; `filter` lets through what it names; with
    `promiscuous` also what is for other machines; of each frame `snap` bytes are kept. Raises SocketError: CAP_NET_RAW
    is missing, there is no such interface, it does not carry Ethernet.
    """
    name, query = endpoint.host or "", endpoint.query
    try:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
    except PermissionError as failure:
        raise missing_capability(operation, endpoint) from failure
    try:
        _require_ethernet(sock, name, operation, endpoint)
        snap_bytes = int(query.get("snap", LARGEST_FRAME_BYTES))
        program = Filter(query.get("filter", "")).program(name, ETHERNET, snap_bytes)
        if not program:
            program = ((BPF_RET_K, 0, 0, snap_bytes),)
        _core.attach_filter(sock.fileno(), [_keeping(instruction, snap_bytes) for instruction in program])
        if "promiscuous" in query:
            membership = _MEMBERSHIP.pack(socket.if_nametoindex(name), PACKET_MR_PROMISC, 0, b"")
            sock.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, membership)
        sock.bind((name, int(query.get("proto", str(ETH_P_ALL)), 0)))
    except OSError as failure:
        sock.close()
        if isinstance(failure, SocketError):
            raise
        reason = explain(failure.errno) if failure.errno else str(failure)
        raise raisable(SocketError)(operation, endpoint, reason, failure.errno) from failure
    except BaseException:
        sock.close()
        raise
    return sock


def missing_capability(operation: str, endpoint: Endpoint | None, where: str = "") -> SocketError:
    """To see what others say takes CAP_NET_RAW; how to have it."""
    executable = os.path.realpath(sys.executable)
    reason = (
        f"{where}needs CAP_NET_RAW: use sudo, or `sudo setcap cap_net_raw+ep {executable}` "
        "(then every program that this Python runs can listen in)"
    )
    return raisable(SocketError)(operation, endpoint, reason, errno.EPERM)


def no_such_interface(operation: str, endpoint: Endpoint | None, where: str = "") -> SocketError:
    names = ", ".join(name for _, name in socket.if_nameindex())
    return raisable(SocketError)(operation, endpoint, f"{where}no such interface; there are {names}", errno.ENODEV)


def _require_ethernet(sock: socket.socket, name: str, operation: str, endpoint: Endpoint) -> None:
    import fcntl

    try:
        answer = fcntl.ioctl(sock, SIOCGIFHWADDR, _REQUEST.pack(name.encode(), 0))
    except OSError as failure:
        raise no_such_interface(operation, endpoint) from failure
    _, hardware = _REQUEST.unpack(answer)
    if hardware not in (ARPHRD_ETHER, ARPHRD_LOOPBACK):
        reason = (
            f"{name} does not carry Ethernet (its hardware type is {hardware}): `socketkit capture` shows it cooked"
        )
        raise raisable(Unsupported)(operation, endpoint, reason, errno.EOPNOTSUPP)


def _keeping(instruction: tuple[int, int, int, int], snap_bytes: int) -> tuple[int, int, int, int]:
    """A program's end that keeps a packet keeps so much of it."""
    code, _, _, operand = instruction
    return (code, 0, 0, snap_bytes) if code == BPF_RET_K and operand else instruction


LARGEST_FRAME_BYTES = 262_144
ETH_P_ALL = 0x0003
ARPHRD_ETHER, ARPHRD_LOOPBACK = 1, 772
SIOCGIFHWADDR = 0x8927
SOL_PACKET, PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC = 263, 1, 1
BPF_RET_K = 0x06

_REQUEST = Struct("16sH22x")  # struct ifreq, with the address's family
_MEMBERSHIP = Struct("iHH8s")
