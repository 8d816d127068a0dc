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
from ..errors import ListenError, SocketError, Unsupported, from_errno, raisable
from .filters import ETHERNET, Filter
from .options import Opened, nothing

if TYPE_CHECKING:
    from ..drivers import Driver
    from ..endpoint import Endpoint
    from ..limits import Limits


async def open_bound(endpoint: Endpoint, driver: Driver, limits: Limits) -> Opened:
    """A socket that hears the interface's frames; `*` is all interfaces.

    `proto` (an EtherType) is what it hears, all protocols without; `filter` lets through what it names; with
    `promiscuous` also what is for other machines; of each frame `snap` bytes are kept. The outermost VLAN tag is not in
    a frame: the kernel keeps it beside. Raises SocketError: CAP_NET_RAW is missing, there is no such interface, it does
    not carry Ethernet.
    """
    everywhere, protocol = endpoint.host == "*", int(endpoint.query.get("proto", str(ETH_P_ALL)), 0)
    # Python cannot bind to all interfaces: that socket hears at once, and forgets what it heard without the filter.
    sock = _packet_socket(endpoint, protocol if everywhere else DEAF)
    try:
        index = 0 if everywhere else _ethernet_index(sock, endpoint)
        _core.attach_filter(sock.fileno(), await _program(endpoint, driver), drain=everywhere)
        if "promiscuous" in endpoint.query and not everywhere:
            sock.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, _MEMBERSHIP.pack(index, PACKET_MR_PROMISC, 0, b""))
        if not everywhere:
            sock.bind((_interface(endpoint), protocol))
        return Opened(sock, "ethernet", endpoint, nothing)
    except OSError as failure:
        sock.close()
        if isinstance(failure, SocketError):
            raise
        raise from_errno(ListenError, "bind", endpoint, failure.errno or errno.EIO) from failure
    except BaseException:
        sock.close()
        raise


def _interface(endpoint: Endpoint) -> str:
    return endpoint.host or "lo"


def _packet_socket(endpoint: Endpoint, protocol: int) -> socket.socket:
    kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    try:
        return socket.socket(socket.AF_PACKET, kind, socket.htons(protocol))
    except PermissionError as failure:
        raise missing_capability("bind", endpoint) from failure
    except OSError as failure:
        raise from_errno(ListenError, "bind", endpoint, failure.errno or errno.EIO) from failure


def _ethernet_index(sock: socket.socket, endpoint: Endpoint) -> int:
    import fcntl

    name = _interface(endpoint)
    try:
        index = socket.if_nametoindex(name)
        answer = fcntl.ioctl(sock, SIOCGIFHWADDR, _REQUEST.pack(name.encode(), 0))
    except OSError as failure:
        raise no_such_interface("bind", endpoint) from failure
    _, hardware = _REQUEST.unpack(answer)
    if hardware not in (ARPHRD_ETHER, ARPHRD_LOOPBACK):
        reason = f"it does not carry Ethernet (hardware type {hardware}): `socketkit capture {name}` shows what it does"
        raise raisable(Unsupported)("bind", endpoint, reason, errno.EOPNOTSUPP)
    return index


async def _program(endpoint: Endpoint, driver: Driver) -> list[tuple[int, int, int, int]]:
    snap_bytes = int(endpoint.query.get("snap", LARGEST_FRAME_BYTES))
    wanted, link = Filter(endpoint.query.get("filter", "")), (_interface(endpoint), ETHERNET, snap_bytes)
    if not str(wanted):
        return [(BPF_RET_K, 0, 0, snap_bytes)]
    if driver.reactor is None:
        program = wanted.program(*link)
    else:
        from asyncio import to_thread

        program = await to_thread(wanted.program, *link)  # it looks names up
    return [_keeping(instruction, snap_bytes) for instruction in program]


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


def _keeping(instruction: tuple[int, int, int, int], snap_bytes: int) -> tuple[int, int, int, int]:
    """A program's end that keeps a packet keeps so much of it."""
    code, _, _, operand = instruction
    return (code, 0, 0, snap_bytes) if code == BPF_RET_K and operand else instruction


LARGEST_FRAME_BYTES = 262_144
ETH_P_ALL, DEAF = 0x0003, 0
ARPHRD_ETHER, ARPHRD_LOOPBACK = 1, 772
SIOCGIFHWADDR = 0x8927
SOL_PACKET, PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC = 263, 1, 1
BPF_RET_K = 0x06

_REQUEST = Struct("16sH22x")  # struct ifreq, with the address's family
_MEMBERSHIP = Struct("iHH8s")
