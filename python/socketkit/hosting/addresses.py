"""Which address of this machine a service is opened on, and shows to others.

- Without a word: loopback. `lan`: the address by which others on this network reach it. `on`: what was asked for.
- Bridges and pairs of containers, tunnels and VPNs, what is down and what is link-local are not the network. A bridge
  or a veth that has the default route is: such is the network of a virtualisation host, and inside a container.
- A public address is never taken without being named: a service on it is open to the Internet.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, NamedTuple

from ..endpoint import Endpoint
from ..errors import ListenError, raisable
from .interfaces import interfaces

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal

    from .interfaces import Interface

    Reach = Literal["this machine", "this link", "the local network", "everywhere"]


class Address(NamedTuple):
    """An address of this machine."""

    host: str
    interface: str
    reach: Reach
    """From where it can be reached, if nothing on the way forbids it."""
    usable: bool
    """Whether it may be chosen for the network without having been named."""
    why: str
    """Why it may not; "" if it may."""


def addresses(known: Sequence[Interface] | None = None) -> tuple[Address, ...]:
    """Every address of this machine; those that may be chosen come first, the best one at the top."""
    found = []
    for interface in interfaces() if known is None else known:
        for host in interface.addresses:
            reach = reach_of(host)
            why = _why_not(interface, reach)
            metric = NO_ROUTE if interface.default_metric is None else interface.default_metric
            order = (bool(why), metric, ":" in host, REACHES.index(reach))
            found.append((order, Address(host, interface.name, reach, not why, why)))
    return tuple(address for _, address in sorted(found, key=lambda pair: pair[0]))


def choose(on: str | None = None, known: Sequence[Address] | None = None) -> Address:
    """The address to open a service on for the network: the best one, or the one that `on` names.

    `on` is an interface or an address; never a link-local one, which no browser can be told. Raises ListenError, which
    lists what there is, if there is none.
    """
    listed = addresses() if known is None else known
    if on is None:
        fitting = [address for address in listed if address.usable]
    else:
        host = _literal(on)
        named = [address for address in listed if address.reach != LINK]
        fitting = [address for address in named if host is not None and address.host == host]
        fitting = fitting or [address for address in named if address.interface == on]
    if fitting:
        return fitting[0]
    have = ", ".join(f"{address.host} on {address.interface}" + (f" ({address.why})" if address.why else "")
                     for address in listed if address.reach not in ("this machine", LINK))  # fmt: skip
    reason = "no address of this machine is for a local network" if on is None else f"this machine has no {on}"
    remedy = f"name one of these: {have}" if have else "it has none but its own loopback"
    raise raisable(ListenError)("listen", Endpoint.parse("tcp://*:0"), f"{reason}: {remedy}", errno.EADDRNOTAVAIL)


def reach_of(host: str) -> Reach:
    """From where an address can be reached."""
    from ipaddress import IPv6Address, ip_address

    address = ip_address(host.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if address.is_loopback:
        return "this machine"
    if address.is_link_local:
        return LINK
    # 100.64.0.0/10, which providers share among customers (RFC 6598), is neither private nor global: not ours to open.
    return "the local network" if address.is_private else "everywhere"


def _why_not(interface: Interface, reach: Reach) -> str:
    if interface.kind == "loopback" or reach == "this machine":
        return "reached from this machine only"
    if not interface.up:
        return "the interface is down"
    if interface.kind == "vpn":
        return "a VPN or a tunnel"
    if interface.kind == "virtual":
        return "no interface to a network"
    if interface.kind == "container" and interface.default_metric is None:
        return "for containers of this machine"
    if reach == LINK:
        return "reached on its own link only"
    return "open to the Internet" if reach == "everywhere" else ""


def _literal(text: str) -> str | None:
    from ipaddress import ip_address

    try:
        return str(ip_address(text.strip("[]")))
    except ValueError:
        return None


LINK: Reach = "this link"
REACHES: tuple[Reach, ...] = ("the local network", "everywhere", LINK, "this machine")
NO_ROUTE = 1 << 40
