"""Hijacking: who else could get a port, a path or a connection.

Prevented by default: no listener shares its port, and no datagram socket sets SO_REUSEADDR (opening.py; the engine's
listeners); `localhost` takes both families or fails (opening.py); a Unix socket replaces no live one and is made in a
folder that only its owner may write to, and clients ask the kernel who listens (types/unix.py, types/owner.py). Forged
segments are an error under TLS (securing.py). What other programs do is found here.
"""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

from .finding import Check, Finding
from .view import name_of, owner_of, plain_port, subject_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._core import SocketEntry
    from .view import View

PAGE = "hijacking"
TWO_OWNERS = Check("HJ1", "high", "Two users share a port", PAGE)
REUSED = Check("HJ2", "medium", "Any user may take the datagrams of a port", PAGE)
OPEN_FOLDER = Check("HJ3", "medium", "A Unix socket lies where everybody may write", PAGE)
REPLACED = Check("HJ4", "high", "The path of a Unix socket leads to another one", PAGE)
ABSTRACT = Check("HJ5", "low", "A Unix socket has a name that any user may take", PAGE)
CHALLENGES = Check("HJ6", "medium", "Somebody guesses at the sequence numbers of connections", PAGE)
DEALT_PORT = Check("HJ7", "low", "A service has a port that the kernel deals out", PAGE)
CHECKS = (TWO_OWNERS, REUSED, OPEN_FOLDER, REPLACED, ABSTRACT, CHALLENGES, DEALT_PORT)


def find(view: View) -> Iterator[Finding]:
    yield from _two_owners(view)
    for entry in view.listeners:
        if entry.scheme == "udp":
            yield from _reused(view, entry)
        elif entry.scheme in ("unix", "seqpacket+unix"):
            yield from _unix(view, entry)
        elif entry.scheme == "tcp":
            yield from _dealt(view, entry)
    yield from _challenges(view)


def _two_owners(view: View) -> Iterator[Finding]:
    by_port: dict[tuple[object, ...], list[SocketEntry]] = {}
    for entry in view.listeners:
        if entry.scheme in ("tcp", "udp") and entry.local is not None and entry.local.port:
            by_port.setdefault((entry.namespace, plain_port(entry)), []).append(entry)
    for entries in by_port.values():
        found = next(((one, two) for one in entries for two in entries if _clash(one, two)), None)
        if found is not None:
            one, two = found
            yield Finding(
                TWO_OWNERS,
                f"{plain_port(one)[1]}/{plain_port(one)[0]} {one.namespace_name}".strip(),
                f"{_user(one)} has {name_of(one)}, {_user(two)} has {name_of(two)}: either may get what is the other's",
                "end the one that is not meant, and have the other bind without SO_REUSEADDR and SO_REUSEPORT",
                tuple(f"kill {process.pid}" for process in two.processes or ()),
                socket=name_of(two),
                process=owner_of(two),
            )


def _clash(one: SocketEntry, two: SocketEntry) -> bool:
    """Different users, and an address at which either could be meant. Root may: it has everything already."""
    if one.uid is None or two.uid is None or one.uid >= two.uid or one.local is None or two.local is None:
        return False
    families = {_family(one), _family(two)}
    if len(families) == 2 and "" not in families:
        return False
    return "*" in (one.local.host, two.local.host) or one.local.host == two.local.host


def _family(entry: SocketEntry) -> str:
    local = entry.local
    assert local is not None
    if local.host == "*":
        return local.scheme[3:]  # tcp4, tcp6; tcp is both
    return "6" if local.host is not None and ":" in local.host else "4"


def _user(entry: SocketEntry) -> str:
    return entry.user or f"uid {entry.uid}"


def _reused(view: View, entry: SocketEntry) -> Iterator[Finding]:
    if not entry.reuse_address or entry.local is None:
        return
    multicast = plain_port(entry)[1] in MULTICAST_PORTS or _is_multicast(entry.local.host)
    yield Finding(
        REUSED,
        subject_of(entry),
        "it has SO_REUSEADDR: another user's socket on the same port gets all that is sent to one address"
        + (", but the protocol is multicast, and needs it" if multicast else ""),
        "bind it without SO_REUSEADDR; SO_REUSEPORT shares a port among one user's processes",
        socket=name_of(entry),
        process=owner_of(entry),
        severity="info" if multicast else "",
    )


def _is_multicast(host: str | None) -> bool:
    if host is None:
        return False
    first = host.partition(".")[0]
    return (host.lower().startswith("ff") and ":" in host) or (first.isdecimal() and 224 <= int(first) < 240)


def _unix(view: View, entry: SocketEntry) -> Iterator[Finding]:
    path = entry.local.path if entry.local is not None else None
    if path is None:
        return
    if not path.startswith("/"):
        if len(path) > 1 and not _by_chance(path):
            yield Finding(
                ABSTRACT,
                subject_of(entry),
                "an abstract name has no folder, and no permissions: whoever is first has it",
                "use a path in a folder of its own, as in /run/NAME",
                socket=name_of(entry),
                process=owner_of(entry),
            )
        return
    place = view.unix_places.get(entry.inode)
    if place is None:
        return
    if place.bound_inode is not None and place.inode != place.bound_inode:
        gone = place.inode is None
        yield Finding(
            REPLACED,
            subject_of(entry),
            "nothing is at its path any more" if gone else "another socket was put at its path while it listens",
            "restart it" if gone else f"look whose the new one is (ls -l {path}), and restart what belongs there",
            socket=name_of(entry),
            process=owner_of(entry),
            severity="low" if gone else "",
        )
    if place.open_folder is not None:
        yield Finding(
            OPEN_FOLDER,
            subject_of(entry),
            f"everybody may write to {place.open_folder}"
            + (": its name is free for whoever is first" if place.sticky else ", and replace what is in it"),
            "have it listen in a folder of its own, as in /run/NAME",
            () if place.sticky else (f"chmod o-w {quote(place.open_folder)}",),
            socket=name_of(entry),
            process=owner_of(entry),
            severity="low" if place.sticky else "high",
        )


def _by_chance(path: str) -> bool:
    """Whether the kernel made the name up (autobind: five hexadecimal digits, man 7 unix)."""
    name = path.lstrip("\0@")
    return len(name) == 5 and set(name) <= set("0123456789abcdef")


def _challenges(view: View) -> Iterator[Finding]:
    seconds, before = view.seconds_since_counters, view.before.counters
    if seconds is None or any(name not in view.counters or name not in before for name in (ANSWERED, UNANSWERED)):
        return
    # The kernel answers one each half second of a connection (tcp_invalid_ratelimit). So one connection under attack
    # shows in those that it did not answer, however long ago the last audit was.
    answered, unanswered = (view.counters[name] - before[name] for name in (ANSWERED, UNANSWERED))
    rate = (answered + unanswered) / seconds
    if rate >= CHALLENGES_PER_SECOND or unanswered >= MANY_UNANSWERED:
        yield Finding(
            CHALLENGES,
            "challenge ACKs",
            f"{answered + unanswered:,} segments were almost right, in {seconds:,.0f} s; "
            f"{unanswered:,} of them came at a connection that had just got one",
            "encrypt what matters (TLS, QUIC), and look who sends them: "
            "socketkit capture any 'tcp[tcpflags] & (tcp-syn|tcp-rst) != 0'",
        )


def _dealt(view: View, entry: SocketEntry) -> Iterator[Finding]:
    port = plain_port(entry)[1]
    if entry.namespace != view.namespace or entry.exposure == "loopback" or port not in view.ephemeral:
        return
    if port in ports(view.sysctls.get("net.ipv4.ip_local_reserved_ports", "")):
        return
    yield Finding(
        DEALT_PORT,
        subject_of(entry),
        f"{port} lies among {view.ephemeral.start} to {view.ephemeral.stop - 1}: "
        "any program's connection may have it when the service starts",
        "choose another port, or reserve this one",
        (f"sysctl -w net.ipv4.ip_local_reserved_ports={_more(view, port)}",),
        socket=name_of(entry),
        process=owner_of(entry),
    )


def ports(text: str) -> set[int]:
    """Those in a list as sysctl has it: `8080,9000-9010`."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        if first.strip().isdecimal():
            found.update(range(int(first), int(last or first) + 1))
    return found


def _more(view: View, port: int) -> str:
    before = view.sysctls.get("net.ipv4.ip_local_reserved_ports", "")
    return f"{before},{port}" if before else str(port)


MULTICAST_PORTS = frozenset({1_900, 3_702, 5_353, 5_355, 427, 320, 319})
ANSWERED, UNANSWERED = "TcpExt.TCPChallengeACK", "TcpExt.TCPACKSkippedChallenge"
CHALLENGES_PER_SECOND, MANY_UNANSWERED = 1, 100
