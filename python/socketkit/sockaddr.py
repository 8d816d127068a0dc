"""A kernel's address (`struct sockaddr`, in raw bytes) to an Endpoint, and back.

The engine takes and gives addresses as the kernel has them; what they mean to a user is said here. Nothing is resolved
and no socket is opened; of the machine only the numbers of interfaces and its own vsock id are asked for.

- A dual-stack socket has IPv4 addresses mapped into IPv6 (RFC 4291 §2.5.5.2): they are IPv4 endpoints here, and an IPv4
  endpoint is mapped for it.
- No host, `localhost` and `*` are this machine as a destination, as they are for `connect`.
"""

from __future__ import annotations

import errno
import os
from _socket import AF_INET, AF_INET6, AF_UNIX, htons, inet_ntop, inet_pton, ntohs
from _struct import Struct
from contextlib import suppress
from typing import TYPE_CHECKING

from . import grammar
from .endpoint import Endpoint
from .errors import SocketError, raisable
from .schemes import SCHEMES, ip_address

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable


def packed(endpoint: Endpoint, family: int, operation: str = "send") -> bytes:
    """The address of `endpoint` for a socket of this family, of the length that the kernel is to be told.

    EndpointError if it is none for such a socket: a host name, the other version of IP, no path. SocketError for
    `operation` if it names an interface that this machine lacks.
    """
    try:
        kind, pack = _PACKERS[family]
    except KeyError:
        raise ValueError(f"address family {family} has no endpoints") from None
    if SCHEMES[endpoint.scheme].form != kind:
        raise grammar.fault(str(endpoint), 0, f"{endpoint.scheme} is no address for this socket")
    return pack(endpoint, operation)


def unpacked(scheme: str, raw: bytes, protocol: int = 0) -> Endpoint | None:
    """The endpoint of `scheme` at a raw address; None for no address, and for a Unix socket without a name.

    `protocol` is that of a raw+ip socket, whose peers' addresses do not tell it.
    """
    if len(raw) < 2:
        return None
    (family,) = _FAMILY.unpack_from(raw)
    if family == AF_INET:
        _, port, address = _INET.unpack_from(raw)
        return Endpoint.from_sockaddr(scheme, (inet_ntop(AF_INET, address), ntohs(port) or protocol))
    if family == AF_INET6:
        return _unpacked_inet6(scheme, raw, protocol)
    if family == AF_UNIX:  # a path's length may count the NUL behind it
        return Endpoint.from_sockaddr(scheme, raw[2:]) if len(raw) > 2 else None
    if family == AF_PACKET:
        _, ether_type, index = _PACKET.unpack_from(raw)
        return Endpoint.from_sockaddr(scheme, (_interface(index) if index else "", ntohs(ether_type)))
    if family == AF_VSOCK:
        _, _, port, cid = _VSOCK.unpack_from(raw)
        return Endpoint.from_sockaddr(scheme, (cid, port))
    return None


def interface_index(name: str, operation: str, endpoint: Endpoint | None) -> int:
    """The kernel's number of an interface, given by name or number; SocketError if this machine lacks it."""
    from _socket import if_indextoname, if_nametoindex

    with suppress(OSError, OverflowError):
        return if_nametoindex(name)
    with suppress(OSError, OverflowError):
        if name.isascii() and name.isdecimal() and if_indextoname(int(name)):
            return int(name)
    reason = f"this machine has no interface {name}: `ip link` lists them"
    raise raisable(SocketError)(operation, endpoint, reason, errno.ENODEV)


def local_cid() -> int | None:
    """The vsock context id that the host has given this machine; None if it has no host, or that cannot be asked."""
    from fcntl import ioctl

    with suppress(OSError), open("/dev/vsock", "rb") as device:
        (cid,) = _NUMBER.unpack(ioctl(device, IOCTL_VM_SOCKETS_GET_LOCAL_CID, bytes(_NUMBER.size)))
        return None if cid == CID_ANY else int(cid)
    return None


def own_vsock_name(sock: socket.socket, cid: int, port: int) -> tuple[int, int]:
    """The name of a connection's end. The kernel leaves open by which context id this machine calls."""
    if cid == CID_ANY:
        peer = sock.getpeername()[0]
        own = CID_LOCAL if peer == CID_LOCAL else local_cid()
        cid = CID_ANY if own is None else own
    return cid, port


def _packed_inet(endpoint: Endpoint, operation: str) -> bytes:
    host, _ = _numeric(endpoint, 4)
    return _INET.pack(AF_INET, htons(endpoint.port or 0), inet_pton(AF_INET, host)) + bytes(8)


def _packed_inet6(endpoint: Endpoint, operation: str) -> bytes:
    host, zone = _numeric(endpoint, 6)
    address = inet_pton(AF_INET6, host if ":" in host else f"::ffff:{host}")
    scope = interface_index(zone, operation, endpoint) if zone else 0
    return _INET6.pack(AF_INET6, htons(endpoint.port or 0), 0, address, scope)


def _numeric(endpoint: Endpoint, family: int) -> tuple[str, str]:
    """The IP address that it stands for on a socket of this version of IP, and its zone."""
    host = endpoint.host or "localhost"
    own = SCHEMES[endpoint.scheme].family
    if own == 6 > family:
        raise _foreign(endpoint, "an IPv6 address", "IPv4")
    if host.lower() in _HERE:
        return ("::1" if own == 6 else "127.0.0.1"), ""
    address, _, zone = host.partition("%")
    if ":" not in address and ip_address(address) is None:
        remedy = "resolve the name first: a datagram goes to one address"
        raise grammar.fault(str(endpoint), len(endpoint.scheme) + 3, "not an IP address", remedy)
    if ":" in address and family == 4:
        if not address.startswith("::ffff:") or "." not in address:
            raise _foreign(endpoint, "an IPv6 address", "IPv4")
        return address[7:], ""
    return address, zone


def _foreign(endpoint: Endpoint, what: str, spoken: str) -> Exception:
    return grammar.fault(str(endpoint), len(endpoint.scheme) + 3, f"{what}, and this socket speaks {spoken} only")


def _packed_unix(endpoint: Endpoint, operation: str) -> bytes:
    path = endpoint.path or ""
    if not path:
        raise grammar.fault(str(endpoint), len(endpoint.scheme) + 3, "the peer has no name, so nothing can go there")
    if path[0] == "@":
        return _FAMILY.pack(AF_UNIX) + b"\0" + os.fsencode(path[1:])
    # Paths of 108 bytes exist, and have no final NUL (man 7 unix).
    return (_FAMILY.pack(AF_UNIX) + os.fsencode(path) + b"\0")[:_LONGEST_UNIX]


def _packed_packet(endpoint: Endpoint, operation: str) -> bytes:
    host = endpoint.host or "lo"
    index = 0 if host == "*" else interface_index(host, operation, endpoint)
    protocol = htons(int(endpoint.query.get("proto", "0"), 16))
    return _PACKET.pack(AF_PACKET, protocol, index) + bytes(12)


def _packed_vsock(endpoint: Endpoint, operation: str) -> bytes:
    cid = CID_ANY if endpoint.host == "*" else int(endpoint.host or CID_LOCAL)
    return _VSOCK.pack(AF_VSOCK, 0, endpoint.port or PORT_ANY, cid) + bytes(4)


def _unpacked_inet6(scheme: str, raw: bytes, protocol: int) -> Endpoint:
    _, port, _, address, scope = _INET6.unpack_from(raw)
    host = inet_ntop(AF_INET6, address)
    if scope:
        host = f"{host}%{_interface(scope)}"
    return Endpoint.from_sockaddr(scheme, (host, ntohs(port) or protocol))


def _interface(index: int) -> str:
    """The interface's name; its number if it is gone by now."""
    from _socket import if_indextoname

    try:
        return if_indextoname(index)
    except OSError:
        return str(index)


CID_LOCAL = 1  # VMADDR_CID_LOCAL
CID_ANY = 2**32 - 1
PORT_ANY = 2**32 - 1
IOCTL_VM_SOCKETS_GET_LOCAL_CID = 0x7B9
# Python has these names only where it was built with the headers.
AF_PACKET, AF_VSOCK = 17, 40

_HERE = ("localhost", "localhost.", "*")
_LONGEST_UNIX = 110

# Numbers are in the machine's byte order but for ports and EtherTypes, which `htons` brings into the network's.
_FAMILY = Struct("=H")
_NUMBER = Struct("=I")
_INET = Struct("=HH4s")
_INET6 = Struct("=HHI16sI")
_PACKET = Struct("=HHi")
_VSOCK = Struct("=HHII")

_PACKERS: dict[int, tuple[str, Callable[[Endpoint, str], bytes]]] = {
    AF_INET: ("host", _packed_inet),
    AF_INET6: ("host", _packed_inet6),
    AF_UNIX: ("path", _packed_unix),
    AF_PACKET: ("interface", _packed_packet),
    AF_VSOCK: ("cid", _packed_vsock),
}
