"""Which addresses are meant: literals, names, and networks that are swept.

How many one run may have is bounded, and refused before anything is made of them.
"""

from __future__ import annotations

from ipaddress import ip_network
from socket import AF_INET, AF_INET6, SOCK_DGRAM, gaierror
from typing import TYPE_CHECKING, Any, NamedTuple

from ..schemes import ip_address

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_TARGETS = 65_536


class Target(NamedTuple):
    """One address. `host` is what was written for it; `swept` if that was a network."""

    host: str
    family: int
    sockaddr: tuple[Any, ...]
    swept: bool = False

    @property
    def address(self) -> str:
        return str(self.sockaddr[0])

    @property
    def scope(self) -> int:
        """The number of the interface that a link-local address is on; 0 for any other."""
        return int(self.sockaddr[3]) if len(self.sockaddr) > 3 else 0

    @property
    def key(self) -> tuple[Any, ...]:
        return key_of(self.sockaddr)


class TargetError(ValueError):
    """The host, or what was asked of it, cannot be; the text says what can."""


def key_of(sockaddr: Sequence[Any]) -> tuple[Any, ...]:
    """What is the same in every socket address of one machine: the address, and the zone of a link-local one."""
    return (sockaddr[0], sockaddr[3] if len(sockaddr) > 3 else 0)


def read(hosts: Iterable[str], family: int | None = None) -> tuple[list[Target], list[str]]:
    """What is clear without asking anybody, and the names that must be resolved.

    Raises TargetError for what can be neither, and for more than MAX_TARGETS addresses.
    """
    known: list[Target] = []
    names: list[str] = []
    for host in dict.fromkeys(hosts):
        if "/" in host:
            known += _swept(host, family, MAX_TARGETS - len(known) - len(names))
        elif literal := _literal(host):
            known.append(_of_family(literal, family))
        elif not host or not host.isprintable() or " " in host or len(host) > MAX_NAME_CHARACTERS:
            raise TargetError(f"{host!r:.80} is no host: write a name, an address, or a network such as 192.0.2.0/24")
        else:
            names.append(host)
        if len(known) + len(names) > MAX_TARGETS:
            raise TargetError(f"more than {MAX_TARGETS:,} hosts at once: sweep them in parts")
    if not known and not names:
        raise TargetError("no host: write a name, an address, or a network such as 192.0.2.0/24")
    return known, names


async def resolve(host: str, family: int | None = None) -> Target:
    """The best address of a name (RFC 6724); raises OSError (`socket.gaierror`) if it has none."""
    from asyncio import get_running_loop

    found = await get_running_loop().getaddrinfo(host, None, family=family or 0, type=SOCK_DGRAM)
    for kind, _, _, _, sockaddr in found:
        if kind in (AF_INET, AF_INET6):
            return Target(host, kind, _without_zone_name(sockaddr))
    raise gaierror(f"{host} has no address")


def _literal(host: str) -> Target | None:
    text = host[1:-1] if host[:1] == "[" and host[-1:] == "]" else host
    address, _, zone = text.partition("%")
    canonical = ip_address(address)
    if canonical is None:
        return None
    if ":" not in canonical:
        return None if zone else Target(host, AF_INET, (canonical, 0))
    return Target(host, AF_INET6, (canonical, 0, 0, _zone_index(zone, host)))


def _zone_index(zone: str, host: str) -> int:
    from socket import if_nametoindex

    if not zone:
        return 0
    try:
        return int(zone) if zone.isdecimal() else if_nametoindex(zone)
    except OSError:
        raise TargetError(f"{host}: this machine has no interface {zone} (`ip link` lists them)") from None


def _of_family(target: Target, family: int | None) -> Target:
    if family is not None and target.family != family:
        raise TargetError(f"{target.host} is no IPv{4 if family == AF_INET else 6} address")
    return target


def _swept(text: str, family: int | None, room: int) -> list[Target]:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise TargetError(f"{text!r:.80} is no network: write ADDRESS/BITS, such as 192.0.2.0/24") from None
    if network.num_addresses > room:
        bits = network.max_prefixlen - MAX_TARGETS.bit_length() + 1
        raise TargetError(
            f"{text} has {network.num_addresses:,} addresses, and one run at most {MAX_TARGETS:,}: "
            f"sweep it in parts of /{bits} or smaller"
        )
    kind = AF_INET if network.version == 4 else AF_INET6
    rest = () if kind == AF_INET else (0, 0)
    _of_family(Target(text, kind, (text,)), family)
    return [Target(str(address), kind, (str(address), 0, *rest), swept=True) for address in network.hosts()]


def _without_zone_name(sockaddr: tuple[Any, ...]) -> tuple[Any, ...]:
    return (str(sockaddr[0]).partition("%")[0], *sockaddr[1:])


MAX_NAME_CHARACTERS = 253
