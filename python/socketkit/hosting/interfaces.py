"""The interfaces of this machine with their addresses, as rtnetlink tells them (man 7 rtnetlink).

Not /sys/class/net: that shows the namespace in which it was mounted, which may be another one.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal

    Kind = Literal["network", "loopback", "container", "vpn", "virtual"]


class Interface(NamedTuple):
    """One interface. `up`: it is switched on, and has a carrier as far as that is known."""

    name: str
    kind: Kind
    up: bool
    addresses: tuple[str, ...]
    """In the order of the kernel; none that is still being checked, or about to go (RFC 4862 §5.5.4)."""
    default_metric: int | None
    """How far down the list its default route stands (the lowest is taken); None if it has none."""


def interfaces() -> tuple[Interface, ...]:
    """All of them, in the order in which they were made. OSError if the kernel does not tell."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as asking:
        asking.bind((0, 0))
        links = list(_asked(asking, GETLINK, IFINFOMSG.pack(0, 0, 0, 0, 0)))
        addresses = _addresses(_asked(asking, GETADDR, IFADDRMSG.pack(0, 0, 0, 0, 0)))
        defaults = _defaults(_asked(asking, GETROUTE, RTMSG.pack(0, 0, 0, 0, 0, 0, 0, 0, 0)))
    found = []
    for body in links:
        _, hardware, number, flags, _ = IFINFOMSG.unpack_from(body)
        attributes = dict(_attributes(body[IFINFOMSG.size :]))
        name = os.fsdecode(attributes.get(IFLA_IFNAME, b"").rstrip(b"\0"))
        information = dict(_attributes(attributes.get(IFLA_LINKINFO, b"")))
        made_as = information.get(IFLA_INFO_KIND, b"").rstrip(b"\0").decode("ascii", "replace")
        state = attributes.get(IFLA_OPERSTATE, b"\0")[0]
        # Tunnels and dummies do not know whether they have a carrier.
        up = bool(flags & IFF_UP) and (state in (OPERSTATE_UNKNOWN, OPERSTATE_UP) or bool(flags & IFF_LOOPBACK))
        kind = _kind(made_as, hardware, flags)
        found.append(Interface(name, kind, up, tuple(addresses.get(number, ())), defaults.get(number)))
    return tuple(found)


def _kind(made_as: str, hardware: int, flags: int) -> Kind:
    """What it is there for. Wires, radio, and what is laid over them (vlan, bond, macvlan) are the network."""
    if flags & IFF_LOOPBACK:
        return "loopback"
    if made_as in VPN_KINDS or hardware in TUNNEL_HARDWARE:
        return "vpn"
    if made_as in CONTAINER_KINDS:
        return "container"
    return "virtual" if made_as in ("dummy", "ifb", "nlmon", "vrf") else "network"


def _addresses(messages: Iterator[bytes]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for body in messages:
        family, _, flags, _, number = IFADDRMSG.unpack_from(body)
        attributes = dict(_attributes(body[IFADDRMSG.size :]))
        if IFA_FLAGS in attributes:
            flags = int.from_bytes(attributes[IFA_FLAGS], "little" if LITTLE else "big")
        # IFA_ADDRESS is the peer's on a link between two.
        raw = attributes.get(IFA_LOCAL) or attributes.get(IFA_ADDRESS)
        if raw is not None and family in (socket.AF_INET, socket.AF_INET6) and not flags & UNUSABLE:
            found.setdefault(number, []).append(socket.inet_ntop(family, raw))
    return found


def _defaults(messages: Iterator[bytes]) -> dict[int, int]:
    found: dict[int, int] = {}
    for body in messages:
        family, length, _, _, table, _, _, kind, _ = RTMSG.unpack_from(body)
        attributes = dict(_attributes(body[RTMSG.size :]))
        if length or kind != RTN_UNICAST or table != RT_TABLE_MAIN or RTA_OIF not in attributes:
            continue
        (number,) = struct.unpack("=I", attributes[RTA_OIF])
        (metric,) = struct.unpack("=I", attributes.get(RTA_PRIORITY, bytes(4)))
        # Where only IPv6 has a way out it counts, behind every one of IPv4.
        metric += 0 if family == socket.AF_INET else 1 << 32
        found[number] = min(metric, found.get(number, metric))
    return found


def _asked(asking: socket.socket, kind: int, question: bytes) -> Iterator[bytes]:
    """The bodies of the kernel's answer to a request for everything of one kind."""
    asking.send(NLMSG.pack(NLMSG.size + len(question), kind, NLM_F_REQUEST | NLM_F_DUMP, 1, 0) + question)
    while True:
        data = asking.recv(RECEIVE_BYTES)
        at = 0
        while at + NLMSG.size <= len(data):
            length, answered, _, _, _ = NLMSG.unpack_from(data, at)
            if answered == NLMSG_DONE:
                return
            if answered == NLMSG_ERROR:
                (number,) = struct.unpack_from("=i", data, at + NLMSG.size)
                raise OSError(-number, os.strerror(-number))
            if length < NLMSG.size:
                raise OSError(errno.EPROTO, "rtnetlink gave a message without a head")
            yield data[at + NLMSG.size : at + length]
            at += -(-length // 4) * 4


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4:
            return
        yield kind & 0x3FFF, data[at + 4 : at + length]  # without the marks for nesting and byte order
        at += -(-length // 4) * 4


NLMSG, IFINFOMSG = struct.Struct("=IHHII"), struct.Struct("=BxHiII")
IFADDRMSG, RTMSG = struct.Struct("=BBBBI"), struct.Struct("=BBBBBBBBI")
NLMSG_ERROR, NLMSG_DONE, NLM_F_REQUEST, NLM_F_DUMP = 2, 3, 0x1, 0x300
GETLINK, GETADDR, GETROUTE = 18, 22, 26
IFLA_IFNAME, IFLA_OPERSTATE, IFLA_LINKINFO, IFLA_INFO_KIND = 3, 16, 18, 1
IFF_UP, IFF_LOOPBACK = 0x1, 0x8
OPERSTATE_UNKNOWN, OPERSTATE_UP = 0, 6
IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS = 1, 2, 8
UNUSABLE = 0x08 | 0x20 | 0x40  # IFA_F_DADFAILED, IFA_F_DEPRECATED, IFA_F_TENTATIVE
RTA_OIF, RTA_PRIORITY, RTN_UNICAST, RT_TABLE_MAIN = 4, 6, 1, 254
RECEIVE_BYTES = 65_536  # the kernel fills at most 32 KiB (netlink_recvmsg)
LITTLE = struct.pack("=H", 1) == b"\1\0"

CONTAINER_KINDS = frozenset({"bridge", "veth", "openvswitch", "netkit"})
VPN_KINDS = frozenset(
    {"tun", "wireguard", "ipip", "ip6tnl", "sit", "gre", "gretap", "ip6gre", "vti", "vti6", "xfrm", "ppp", "vxlan"}
    | {"geneve", "amneziawg", "ovpn", "bareudp"}
)
TUNNEL_HARDWARE = frozenset({512, 768, 769, 776, 778, 65534})  # ARPHRD_PPP, TUNNEL(6), SIT, IPGRE, NONE
