"""Man in the middle: signs that somebody stands between this machine and others.

Prevented by default: a peer proves that it has the key that was meant before anything is sent to it (trusting.py,
known_peers.py, the engine's tls module), and a key that has changed is an error with both fingerprints. Then it does
not matter through whose hands packets go. For programs that are less careful it does: it is found here.
"""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

from ..known_peers import replace_command
from .finding import Check, Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .view import View

PAGE = "man-in-the-middle"
ONE_MAC = Check("MI1", "high", "Two neighbours have the same hardware address", PAGE)
NEW_GATEWAY = Check("MI2", "high", "The gateway has another hardware address than before", PAGE)
NEW_KEY = Check("MI3", "high", "A service shows another key than the one that is known", PAGE)
REDIRECTS = Check("MI4", "medium", "Others may tell this machine which way its packets go", PAGE)
NEW_AUTHORITY = Check("MI5", "high", "There is a root authority that was not there before", PAGE)
PROXY = Check("MI6", "low", "Connections go through a proxy", PAGE)
HOSTS = Check("MI7", "medium", "A public name has an address in the file of hosts", PAGE)
CHECKS = (ONE_MAC, NEW_GATEWAY, NEW_KEY, REDIRECTS, NEW_AUTHORITY, PROXY, HOSTS)


def find(view: View) -> Iterator[Finding]:
    yield from _one_mac(view)
    yield from _new_gateway(view)
    yield from _new_key(view)
    yield from _redirects(view)
    yield from _source_routes(view)
    yield from _new_authority(view)
    yield from _proxies(view)
    yield from _hosts(view)


def _one_mac(view: View) -> Iterator[Finding]:
    """In IPv4 only: in IPv6 each machine has several addresses as a rule."""
    by_hardware: dict[tuple[str, str], list[str]] = {}
    for known in view.neighbours:
        if ":" not in known.address:
            by_hardware.setdefault((known.interface, known.hardware), []).append(known.address)
    gateways = {gateway.address for gateway in view.gateways}
    for (interface, hardware), addresses in sorted(by_hardware.items()):
        if len(addresses) < 2:
            continue
        at_the_gateway = gateways.intersection(addresses)
        yield Finding(
            ONE_MAC,
            f"{interface} {hardware}",
            f"{hardware} answers on {interface} for {', '.join(sorted(addresses))}"
            + (", one of which is the gateway" if at_the_gateway else ""),
            "find the machine that has it; a fixed entry keeps the right one",
            tuple(
                f"ip neigh replace {address} lladdr RIGHT_ADDRESS dev {quote(interface)} nud permanent"
                for address in sorted(at_the_gateway)
            ),
            # A machine may have several addresses; one that has the gateway's, too, is what an attack looks like.
            severity="" if at_the_gateway else "medium",
        )


def _new_gateway(view: View) -> Iterator[Finding]:
    for place, hardware in view.gateway_hardware.items():
        before = view.before.gateways.get(place)
        if before is not None and before != hardware:
            yield Finding(
                NEW_GATEWAY,
                f"{place} {hardware}",
                f"{place} was {before}, and is {hardware}",
                "ask who runs the network whether the router was changed; if it was: socketkit audit --accept",
            )


def _new_key(view: View) -> Iterator[Finding]:
    known: dict[str, list[str]] = {}
    revoked = {(peer.place, peer.fingerprint) for peer in view.known_peers if peer.revoked}
    for peer in view.known_peers:
        if not peer.revoked:
            known.setdefault(peer.place, []).append(peer.fingerprint)
    for shown in view.presented:
        banned = {(place, shown.fingerprint) for place in (shown.place, "*")} & revoked
        pins = known.get(shown.place, [])
        if not shown.fingerprint or not (banned or (pins and shown.fingerprint not in pins)):
            continue
        yield Finding(
            NEW_KEY,
            f"{shown.place} {shown.fingerprint}",
            f"{shown.place} shows {shown.fingerprint}, "
            + ("which was revoked" if banned else f"known is {', '.join(pins)}"),
            # Not among the commands: run unread, it would trust who is in the middle.
            "do not use it before its owner has said whether the key was changed"
            + ("" if banned else f"; if it was: {replace_command(shown.place, shown.fingerprint)}"),
            socket=shown.socket,
            process=view.owner_at(shown.socket),
        )


def _redirects(view: View) -> Iterator[Finding]:
    for family in FAMILIES:
        open_to = [name for kind, name in view.interfaces if kind == family and _takes_redirects(view, family, name)]
        if not open_to:
            continue
        # In IPv6 they must come from the router itself; in IPv4 secure_redirects asks for that.
        careful = family == "ipv6" or all(
            view.conf(family, "all", "secure_redirects") or view.conf(family, name, "secure_redirects")
            for name in open_to
        )
        yield Finding(
            REDIRECTS,
            f"{family} redirects",
            f"{_verb(open_to)} ICMP redirects in {FAMILIES[family]}"
            + (" from its gateways, whose address anybody on the link can forge" if careful else " from anybody"),
            "switch them off: a network with one way out needs none",
            tuple(f"sysctl -w net.{family}.conf.{quote(name)}.accept_redirects=0" for name in ("all", *open_to)),
            severity="low" if careful else "",
        )


def _takes_redirects(view: View, family: str, interface: str) -> bool:
    own, every = (view.conf(family, name, "accept_redirects") for name in (interface, "all"))
    forwards = view.conf(family, interface, "forwarding") == 1
    if family == "ipv6":
        return bool(own) and not forwards
    # Where packets are forwarded all and the interface must say so, elsewhere either (IN_DEV_RX_REDIRECTS).
    return bool(own and every) if forwards else bool(own or every)


def _source_routes(view: View) -> Iterator[Finding]:
    for family in FAMILIES:
        # The lesser of the two counts. In IPv6 0 still accepts what mobile nodes need.
        open_to = [
            name
            for kind, name in view.interfaces
            if kind == family
            and min(view.conf(family, where, "accept_source_route") or 0 for where in (name, "all")) > 0
        ]
        if open_to:
            yield Finding(
                REDIRECTS,
                f"{family} source routing",
                f"{_verb(open_to)} packets of {FAMILIES[family]} whose sender wrote their way into them",
                "switch it off: nothing needs it",
                tuple(f"sysctl -w net.{family}.conf.{quote(name)}.accept_source_route=0" for name in ("all", *open_to)),
            )


def _verb(interfaces: list[str]) -> str:
    return f"{', '.join(interfaces)} {'takes' if len(interfaces) == 1 else 'take'}"


def _new_authority(view: View) -> Iterator[Finding]:
    if view.authorities is None or view.before.authorities is None:
        return
    for digest in sorted(view.authorities.keys() - view.before.authorities):
        yield Finding(
            NEW_AUTHORITY,
            f"root {digest}",
            f"{view.authorities[digest]} (SHA-256 {digest[:16]}...) may vouch for any name since the last audit",
            "take it out if nobody here put it there; if it came with an update: socketkit audit --accept",
            ("ls -lt /usr/local/share/ca-certificates /etc/ssl/certs | head -40", "update-ca-certificates --fresh"),
        )


def _proxies(view: View) -> Iterator[Finding]:
    for place, address in sorted(view.proxies.items()):
        host = address.partition("://")[2] or address
        where = host.rpartition("@")[2]  # a proxy's address may have a password before it
        local = where.startswith(("127.", "localhost", "[::1]"))
        # A name that begins with / is that of a program, which says what the address is.
        open_text = address.startswith("http://") or ("://" not in address and not address.startswith("/"))
        yield Finding(
            PROXY,
            f"{place} {where}",
            f"{place} names {where}" + ("" if local or not open_text else ", and the way to it is not encrypted"),
            "take it out if nobody here put it there",
            severity="info" if local else "",
        )


def _hosts(view: View) -> Iterator[Finding]:
    for name, address in view.hosts:
        last = name.rpartition(".")[2]
        if "." not in name or last in PRIVATE_ENDINGS or name.endswith(".home.arpa") or name in view.own_names:
            continue
        if any(name.startswith(f"{own}.") for own in view.own_names if own):
            continue
        blocked = address in NOWHERE
        yield Finding(
            HOSTS,
            f"hosts {name} {address}",
            f"/etc/hosts says that {name} is {address}" + (": it is blocked" if blocked else ""),
            "take the line out if nobody here put it there",
            severity="info" if blocked else "",
        )


FAMILIES = {"ipv4": "IPv4", "ipv6": "IPv6"}
PRIVATE_ENDINGS = frozenset(
    {"local", "localdomain", "localhost", "internal", "lan", "home", "test", "invalid", "example"}
)
NOWHERE = frozenset({"0.0.0.0", "127.0.0.1", "::", "::1"})
